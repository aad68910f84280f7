"""Our log lines where Ray keeps a replica's."""

import logging

from ray import serve
from ray.serve.exceptions import RayServeException


def log_as_serve_does() -> None:
    """Write what this process logs to the replica's own file.

    Serve 2.60 takes other loggers' lines from stderr as information, whatever their level,
    and holds up to a thousand back in throughput mode: an error would not be in the file
    when somebody looks, and be lost with the process. Outside of a replica this does nothing.
    """
    try:
        serve.get_replica_context()
    except RayServeException:
        return
    ours, serves = logging.getLogger("deployments"), logging.getLogger("ray.serve")
    ours.handlers = list(serves.handlers)
    ours.setLevel(logging.INFO)
    ours.propagate = False
