"""Our log lines where Ray keeps a replica's."""

import logging
import traceback
from logging.handlers import MemoryHandler

from ray import serve
from ray.serve.exceptions import RayServeException

OURS = ("deployments", "tuning")
"""Packages of whose modules the loggers are named; spans are sent by one of the second."""

REQUESTS = "request_ids"
"""Attribute of a record: ids of the requests that it is about, see `Batch.request_ids`."""


def log_as_serve_does() -> None:
    """Write what this process logs to the replica's own file, at once.

    Serve 2.60 takes other loggers' lines from stderr as information, whatever their level,
    and holds up to a thousand back in throughput mode until an error of its own: a line would
    not be in the file when somebody looks, and be lost with the process. Outside of a replica
    this does nothing.
    """
    try:
        context = serve.get_replica_context()
    except RayServeException:
        return
    named = _Named(context.app_name)
    serves = logging.getLogger("ray.serve")
    for package in OURS:
        ours = logging.getLogger(package)
        ours.handlers = [_prompt(handler, named) for handler in serves.handlers]
        ours.setLevel(logging.INFO)
        ours.propagate = False


class _Named(logging.Filter):
    """Says whose lines they are, and writes tracebacks as they should be.

    Serve 2.60 names the application only for requests at its own doors, and its stand-in for
    `print`, by which Python writes tracebacks, makes a tuple of each of their lines. As a
    replica's request it names the call of a handle, which no caller has ever heard of.
    """

    def __init__(self, application: str) -> None:
        super().__init__()
        self._application = application

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line pass."""
        record.application = self._application
        named = record.__dict__.pop(REQUESTS, b"").decode("latin-1").split("\n")
        if named != [""]:
            record.request_id = named if len(named) > 1 else named[0]
        if record.exc_info and not record.exc_text:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return True


def _prompt(handler: logging.Handler, named: logging.Filter) -> logging.Handler:
    """The same handler, if it holds lines back then without doing so."""
    if not isinstance(handler, MemoryHandler) or handler.target is None:
        return handler
    prompt = MemoryHandler(capacity=1, target=handler.target)
    for each in handler.filters:  # Serve puts them here, not on the file's own handler
        prompt.addFilter(each)
    prompt.addFilter(named)
    return prompt
