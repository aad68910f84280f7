"""`python -m deployments.leaving`: empty a node of its replicas before its pod ends.

As a pod's preStop hook this asks Ray to drain the node: Serve then starts a replacement of each
replica elsewhere, waits until it is ready, and lets the old one finish what it has. Meanwhile
Kubernetes has taken the pod out of its Services already, and sends its SIGTERM only afterwards.
Ray 2.60 would drain on that by itself, for 30 s in all, where a gateway alone may need 75.

A pod sees only processes of its own, but tests run several nodes on one machine: so a process
belongs to us if it has our POD_NAME.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

POD_VARIABLE = "POD_NAME"
"""Set by the manifests, from the pod's own metadata."""

REPLICA_TITLE = "ray::ServeReplica:"
"""How Ray titles the processes of Serve's replicas."""

NODE_ID = "--node_id="
GCS_ADDRESS = "--gcs-address="
"""Arguments of the raylet, of which each node has one (`ray._private.services`, Ray 2.60)."""

POLL_S = 1.0

MOST_S = 3600.0
"""Longest wait that can be asked for; Kubernetes ends it before."""


@dataclass(frozen=True, slots=True)
class Running:
    """A process, as far as it matters here."""

    words: Sequence[str]
    """Its command line; Ray overwrites it with a title."""

    pod: str | None
    """Its POD_NAME."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Ray node, and where its cluster is asked to drain it."""

    node_id: str
    gcs_address: str


def own_node(processes: Iterable[Running], pod: str | None) -> Node | None:
    """The node that runs in this pod; None if there is none any more."""
    for process in processes:
        if process.pod == pod and Path(process.words[0] if process.words else "").name == "raylet":
            node_id, address = _argument(process, NODE_ID), _argument(process, GCS_ADDRESS)
            if node_id is not None and address is not None:
                return Node(node_id, address)
    return None


def count_replicas(processes: Iterable[Running], pod: str | None) -> int:
    """Replicas of Serve that still run in this pod."""
    return sum(
        process.pod == pod and " ".join(process.words).startswith(REPLICA_TITLE)
        for process in processes
    )


def leave(
    look: Callable[[], Iterable[Running]],
    drain: Callable[[Node], None],
    pod: str | None,
    within_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Ask for a drain and wait for it.

    Args:
        look: The processes that run now.
        drain: Asks the cluster to drain a node.
        pod: Ours.
        within_s: Longest wait, seconds.
        clock: Monotonic time, seconds.
        sleep: Waits.

    Returns:
        Replicas that are still there.
    """
    node = own_node(look(), pod)
    if node is None:
        return 0
    deadline_s = clock() + within_s
    drain(node)
    while (left := count_replicas(look(), pod)) and clock() < deadline_s:
        sleep(POLL_S)
    return left


def drain(node: Node, within_s: float) -> None:
    """Ask the cluster to drain a node, for `within_s` seconds at most; say so if it does not."""
    command = [
        str(Path(sys.executable).with_name("ray")), "drain-node",
        f"--address={node.gcs_address}", f"--node-id={node.node_id}",
        # Of its two reasons, the one that a node cannot refuse for being busy.
        "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=the pod ends",
        f"--deadline-remaining-seconds={round(within_s)}",
    ]  # fmt: skip
    try:
        # While the head is away, the command itself waits for it.
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within_s)
    except subprocess.TimeoutExpired:
        print(f"leaving: cannot drain: no answer within {within_s:g} s", file=sys.stderr)
        return
    if run.returncode != 0:
        lines = (run.stderr or run.stdout).strip().splitlines() or ["no reason given"]
        print(f"leaving: cannot drain: {lines[-1]}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Leave; the exit status is 0 whatever happens, since the pod ends anyway."""
    parser = argparse.ArgumentParser(prog="python -m deployments.leaving", allow_abbrev=False)
    parser.add_argument("--within-s", type=float, default=120.0, help="longest wait, seconds")
    within_s = min(parser.parse_args(arguments).within_s, MOST_S)
    pod = os.environ.get(POD_VARIABLE)
    started_at_s = time.monotonic()
    left = leave(_processes, lambda node: drain(node, within_s), pod, within_s)
    took_s = time.monotonic() - started_at_s
    print(f"leaving: {left} replicas left after {took_s:.0f} s", file=sys.stderr)
    return 0


def _argument(process: Running, name: str) -> str | None:
    return next((w.removeprefix(name) for w in process.words if w.startswith(name)), None)


def _processes() -> Iterator[Running]:
    for process in psutil.process_iter(["cmdline", "environ"]):
        variables: Mapping[str, str] = process.info["environ"] or {}
        yield Running(process.info["cmdline"] or (), variables.get(POD_VARIABLE))


if __name__ == "__main__":
    sys.exit(main())
