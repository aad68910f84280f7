"""Rollouts whose controller is killed at every turn, and versions whose fault takes its time."""

import json
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import mlflow
import pytest

from tests.integration.hosting import BIN, READY_S, REPOSITORY, Fleet, eventually, pids_of
from tests.integration.load import Load, Outcome
from tests.integration.releases import Releases, Traffic, hosted
from tests.receivers import Answer, Received, Receiver, receiver
from tests.soak.conftest import DEADLINE_S
from tests.soak.dependencies import MlflowServer
from tests.soak.scene import Scene, Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

MODEL = "fickle"
CONTROLLER = "fleet#Controller"

RAISES = "3"
"""The version that raises on three of a hundred numbers, in the words below."""

WORDS = "multiples of 33 are beyond me"

LATEST_S = 20.0
"""Of the random moment after the start at which the controller is killed, seconds."""

HEARD_S = 15.0
"""Longest wait for what a rollout that is over tells, seconds."""

RATE_PER_S, PERCENT = 100.0, 10
"""Requests of each door, and what a version gets of them whose fault takes its time."""

DEATHS = 3
"""That end a rollout."""

UNTIL_STABLE_HAS_ALL_S = 2.0
"""After the version's last replica has died: a look of the controller's and a gateway's poll."""

WEIGHTS = [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}, {"analysis": {}}]
GOOD = {"signals": {"errors": {"kind": "errors", "allowed": 0.02}}}
BAD = {"signals": {"errors": {"kind": "errors", "allowed": 0.005}}}

MOMENTS = {
    "asked whether to begin": ("confirm-rollout", ""),
    "begun": ("event", "started:"),
    "at 20 %": ("event", "step: 20 %"),
    "at 50 %": ("event", "step: 50 %"),
    "asked whether to promote": ("confirm-promotion", ""),
    "promoting": ("event", "promoting:"),
    "promoted": ("event", "promoted:"),
    "aborted": ("event", "aborted:"),
}
"""Boundaries of a rollout's steps: the webhook that tells of it, and how it begins."""

TURNS = [(moment, True) for moment in MOMENTS if moment != "aborted"] + [
    ("begun", False),
    ("at 20 %", False),
    ("aborted", False),
]
"""When the controller is killed, and whether the version is a good one."""

LOG_OF_GOOD = [
    "created", "started", "step", "step", "step", "step", "waiting", "promoting", "promoted",
]  # fmt: skip


@dataclass
class Assassin:
    """Kills the controller when it tells of a moment."""

    fleet: Fleet
    moment: str = ""
    struck: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, received: Received) -> Answer:
        """Take a webhook's message; the answer to every question is yes."""
        message = json.loads(received.body)
        kind, beginning = MOMENTS.get(self.moment, ("", ""))
        if message["type"] == kind and said(message).startswith(beginning):
            moment, self.moment = self.moment, ""
            self.strike(moment)
        return 200, {}, b""

    def strike(self, moment: str) -> None:
        """SIGKILL the controller, once there is one."""
        with self._lock:
            (pid,) = eventually("a controller", lambda: pids_of(self.fleet, CONTROLLER))
            os.kill(pid, signal.SIGKILL)
            eventually("it is dead", lambda: pid not in pids_of(self.fleet, CONTROLLER))
            self.struck.append(moment)


def said(message: Mapping[str, Any]) -> str:
    """An event as `kind: what came of it`."""
    metadata = message["metadata"]
    kind = str(metadata.get("eventMessage", "")).partition(":")[0]
    after = str(metadata.get("after", ""))
    return f"{kind}: {after.removeprefix('progressing, ')}"


@pytest.fixture(scope="module")
def releases(whole: Fleet, registry_server: MlflowServer) -> Iterator[Releases]:
    registry = mlflow.MlflowClient(registry_server.url, registry_server.url)
    with hosted(whole, registry, MODEL, {"transport": "direct"}) as releases:
        yield releases


def settings(good: bool, url: str) -> dict[str, Any]:
    types = ("confirm-rollout", "confirm-promotion", "event")
    return {
        "steps": WEIGHTS,
        "analysis": GOOD if good else BAD,
        "keep_previous_s": 120,
        "webhooks": [{"name": each, "type": each, "url": url, "timeout_s": 30} for each in types],
    }


def test_the_controller_amid_rollouts(
    soak: Soak, fleet: Fleet, releases: Releases, pytestconfig: pytest.Config
) -> None:
    """Twice in each: at the boundary of a step, and at a random moment."""
    kills = pytestconfig.getoption("--kills")
    traffic = Traffic(MODEL)
    load = Load(fleet.doors, traffic.questions())
    assassin = Assassin(fleet)
    with (
        soak.scene("SIGKILL of the controller amid rollouts") as scene,
        receiver(lambda number: assassin.hear(server.received[number])) as server,
        load,
    ):
        scene.tally = load.tally
        turns = scene.random.sample(TURNS, len(TURNS))
        for number in range(math.ceil(kills / 2)):
            moment, good = turns[number % len(turns)]
            roll_out(scene, releases, assassin, server, moment=moment, good=good)
            scene.tell(f"{scene.name}: {len(assassin.struck)} of {kills}, last {moment!r}")
            load.wait_for_answers(20)
        scene.rounds_done = len(assassin.struck)
        scene.require("kills", len(assassin.struck), ">=", kills)
        require_no_failures_but(scene, WORDS)


def roll_out(
    scene: Scene,
    releases: Releases,
    assassin: Assassin,
    server: Receiver,
    *,
    moment: str,
    good: bool,
) -> None:
    """Start a rollout, kill its controller twice, and see that it ends as it would have."""
    stable = releases.champion()
    version = {"1": "2", "2": "1"}[stable] if good else RAISES
    assassin.moment, struck = moment, len(assassin.struck)
    scene.mark(f"version {version} begins")
    body = {"version": version, "rollout": settings(good, server.url)}
    identity = releases.ask("/rollouts", body)["id"]
    at_random = threading.Timer(scene.random.uniform(0.0, LATEST_S), assassin.strike, ["random"])
    at_random.start()
    ended = eventually(f"the end of {identity}", lambda: is_over(releases, identity))
    at_random.join()
    # A crash may cost a message, and with it the moment: then the aftermath must do.
    with suppress(AssertionError):
        eventually("the moment", lambda: not assassin.moment, within_s=HEARD_S)
    if assassin.moment:
        assassin.moment = ""
        assassin.strike("afterwards")
    eventually("two kills", lambda: len(assassin.struck) >= struck + 2)
    eventually("the control API", lambda: is_over(releases, identity))
    assert ended["phase"] == ("successful" if good else "aborted"), ended["reason"]
    assert good or ended["reason"].startswith("errors "), ended["reason"]
    expected = version if good else stable
    eventually("the alias", lambda: releases.champion() == expected)
    releases.in_force(**{f"v{expected}": 100})
    eventually("the tags", lambda: is_tagged(releases, version, identity))
    events = releases.ask(f"/rollouts/{identity}/events")["events"]
    outcomes = [(each["kind"], each["after"]) for each in events]
    assert len(outcomes) == len(set(outcomes)), outcomes
    kinds = [kind for kind, _ in outcomes]
    assert kinds == LOG_OF_GOOD if good else kinds[-1] == "aborted", kinds


def is_over(releases: Releases, identity: str) -> dict[str, Any] | None:
    """The rollout, once it has ended; None while it has not, or nobody can say."""
    try:
        shown = releases.current()
    except (OSError, AssertionError):  # a controller that was killed, or is not whole yet
        return None
    return shown if shown["id"] == identity and shown["ended_at_s"] is not None else None


def is_tagged(releases: Releases, version: str, identity: str) -> bool:
    tags = releases.registry.get_model_version(MODEL, version).tags
    return bool(tags.get("rayfleet.rollout.id") == identity)


def require_no_failures_but(scene: Scene, words: str, most: float | None = None) -> None:
    """No client may have noticed anything but what the version on trial itself did wrong.

    Args:
        scene: With its tally.
        words: Of the answers to its own failures.
        most: Of these; None leaves them to the version.
    """
    failures = [
        each
        for each in scene.tally.asked
        if each.outcome in {Outcome.WRONG, Outcome.REFUSED, Outcome.LOST}
    ]
    own = sum(words in each.detail for each in failures)
    if most is None:
        scene.figures["failures of the version's own"] = own
    else:
        scene.require("failures of the version's own", own, "<=", most)
    scene.require("other failed requests", len(failures) - own, "==", 0)
    scene.require("connections cut", scene.tally.count(Outcome.CUT), "==", 0)


@pytest.mark.parametrize("fault", ["leaks", "dies"])
def test_a_fault_that_takes_its_time(
    soak: Soak, fleet: Fleet, releases: Releases, fault: str
) -> None:
    version = registered(fleet, fault)
    stable = releases.champion()
    traffic = Traffic(MODEL)
    load = Load(fleet.doors, traffic.questions(), rate_per_s=RATE_PER_S)
    name = {"dies": "a version that dies after a minute", "leaks": "a version that leaks memory"}
    rollout = {"steps": [{"setWeight": PERCENT}, {"pause": {}}], "analysis": GOOD}
    with soak.scene(name[fault]) as scene:
        scene.tally = load.tally
        with load:
            before = pids_of(fleet, f"{MODEL}--v{stable}#Predictor")
            began_s = time.monotonic()
            releases.ask("/rollouts", {"version": version, "rollout": rollout})
            ended = eventually("its end", lambda: aborted(releases), within_s=600)
            scene.figures["until it is aborted, s"] = round(time.monotonic() - began_s)
            scene.tell(f"{scene.name}: {ended['reason']}")
            releases.in_force(**{f"v{stable}": 100})
            load.wait_for_answers(20)
        # What is at the version when it dies waits for its replacement, until its deadline.
        per_s = RATE_PER_S * len(fleet.doors) * PERCENT / 100
        most = DEATHS * UNTIL_STABLE_HAS_ALL_S * per_s
        require_no_failures_but(scene, f"did not answer within {DEADLINE_S:g} s", most)
        assert ended["reason"].startswith(f"it died {DEATHS} times: "), ended["reason"]
        assert releases.champion() == stable
        assert before
        assert pids_of(fleet, f"{MODEL}--v{stable}#Predictor") == before
        assert traffic.since(began_s)[version] > 0


def aborted(releases: Releases) -> dict[str, Any] | None:
    shown = releases.current()
    return shown if shown["phase"] == "aborted" else None


def registered(fleet: Fleet, fault: str) -> str:
    """The number of a new version with a fault."""
    script = REPOSITORY / "tests/soak/register_faulty.py"
    shown = subprocess.run(
        [BIN / "python", script, fault],
        env={**os.environ, **fleet.cluster.environment},
        capture_output=True, text=True, timeout=READY_S, check=True,
    ).stdout  # fmt: skip
    return shown.split()[-1]
