"""A node that leaves: whom it asks, and how long it waits."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from deployments.leaving import Node, Running, count_replicas, drain, leave, own_node

RAYLET = Running(
    ("/opt/ray/core/src/ray/raylet/raylet", "--gcs-address=10.0.0.1:6379", "--node_id=ab12"), "mine"
)
AGENT = Running(("python", "agent.py", "--gcs-address=10.0.0.1:6379", "--node_id=ab12"), "mine")
OTHERS = Running(("raylet", "--gcs-address=10.0.0.1:6379", "--node_id=cd34"), "other")
REPLICA = Running(("ray::ServeReplica:fleet:Gateway",), "mine")
OTHERS_REPLICA = Running(("ray::ServeReplica:fleet:Gateway",), "other")
IDLE = Running(("ray::IDLE",), "mine")
KERNEL = Running((), None)

NODE = Node("ab12", "10.0.0.1:6379")


@pytest.mark.parametrize(
    ("processes", "node"),
    [
        pytest.param([KERNEL, AGENT, OTHERS, RAYLET], NODE, id="own-raylet-among-others"),
        pytest.param([AGENT, OTHERS, REPLICA], None, id="raylet-is-gone"),
        pytest.param([Running(("raylet", "--node_id=ab12"), "mine")], None, id="half-a-raylet"),
    ],
)
def test_own_node_is_the_raylet_of_this_pod(processes: list[Running], node: Node | None) -> None:
    assert own_node(processes, "mine") == node


def test_only_replicas_of_this_pod_count() -> None:
    assert count_replicas([REPLICA, IDLE, OTHERS_REPLICA, KERNEL, REPLICA], "mine") == 2


class Leaving:
    """A pod whose replicas go one after the other, at each look."""

    def __init__(self, *n_replicas: int) -> None:
        self.drained: list[Node] = []
        self.slept_s = 0.0
        self._counts = iter(n_replicas)

    def look(self) -> Iterable[Running]:
        return [RAYLET, *[REPLICA] * next(self._counts)]

    def sleep(self, time_s: float) -> None:
        self.slept_s += time_s

    def run(self, within_s: float) -> int:
        return leave(
            self.look, self.drained.append, "mine", within_s,
            clock=lambda: self.slept_s, sleep=self.sleep,
        )  # fmt: skip


def test_waits_until_the_last_replica_is_gone() -> None:
    pod = Leaving(3, 3, 2, 0)

    assert pod.run(within_s=60) == 0
    assert pod.drained == [NODE]
    assert pod.slept_s == 2


def test_gives_up_at_the_deadline() -> None:
    pod = Leaving(*[1] * 10)

    assert pod.run(within_s=5) == 1
    assert pod.slept_s == 5


def test_a_pod_without_a_node_is_left_at_once() -> None:
    drained: list[Node] = []

    def look() -> Iterator[Running]:
        yield IDLE

    assert leave(look, drained.append, "mine", 60) == 0
    assert drained == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param("exec sleep 60", "no answer within 0.5 s", id="head-is-away"),
        pytest.param("echo no such node >&2; exit 1", "no such node", id="refused"),
        pytest.param("exit 0", "", id="agreed"),
    ],
)
def test_a_drain_is_asked_for_and_not_waited_for_longer_than_the_pod_has(
    script: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ray = tmp_path / "ray"
    ray.write_text(f"#!/bin/sh\n{script}\n")
    ray.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    drain(NODE, 0.5)

    printed = capsys.readouterr().err
    assert printed == (f"leaving: cannot drain: {said}\n" if said else "")
