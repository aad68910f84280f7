"""Rollouts whose controller is killed at every turn, and versions whose fault takes its time."""

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import mlflow
import pytest

from tests.integration.hosting import BIN, READY_S, REPOSITORY, Fleet, eventually, pids_of
from tests.integration.load import Load, Outcome
from tests.integration.releases import Releases, Traffic, hosted, other_than
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

GOOD: dict[str, Any] = {"errors": {"kind": "errors", "allowed": 0.02}}
BAD: dict[str, Any] = {"errors": {"kind": "errors", "allowed": 0.005}}

Message = tuple[str, str]
"""Type of the webhook that tells of a moment, and how what it says begins."""

ASKED = {
    "asked whether to begin": ("confirm-rollout", ""),
    "begun": ("event", "started:"),
    "asked whether to promote": ("confirm-promotion", ""),
    "promoting": ("event", "promoting:"),
    "promoted": ("event", "promoted:"),
    "aborted": ("event", "aborted:"),
}
"""Boundaries that every rollout has."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Of a rollout, and what it tells of them."""

    settings: Mapping[str, Any]
    signals: Mapping[str, Any]
    """Beside that for errors."""

    moments: Mapping[str, Message]
    """Boundaries between them."""

    log: Sequence[str]
    """Events of a version that is good, from the start of the steps to their end."""


STEPS = {
    "weights": Steps(
        {"steps": [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}, {"analysis": {}}]},
        {},
        {"at 20 %": ("event", "step: 20 %"), "at 50 %": ("event", "step: 50 %")},
        ["step", "step", "step", "step"],
    ),
    "mirror and pause": Steps(
        {"steps": [
            {"setMirror": 100}, {"analysis": {}},
            {"setWeight": 30}, {"pause": {}}, {"analysis": {}},
        ]},
        {"differing": {"kind": "differing"}},
        {
            "mirrored": ("event", "step: 0 %, 100 % mirrored"),
            "paused": ("event", "paused:"),
            "approved": ("event", "approved:"),
        },
        ["step", "step", "step", "paused", "approved", "step", "step"],
    ),
    "rolling": Steps(
        {"strategy": "rolling", "max_surge": 40},
        {},
        {"at 40 %": ("event", "step: 40 %"), "at 80 %": ("event", "step: 80 %")},
        ["step", "step", "step"],
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Turn:
    """Where in which rollout the controller is killed."""

    steps: str
    moment: str
    good: bool = True

    @property
    def message(self) -> Message:
        """That tells of the moment."""
        return {**ASKED, **STEPS[self.steps].moments}[self.moment]


TURNS = [
    *(Turn("weights", moment) for moment in ASKED if moment != "aborted"),
    *(Turn(steps, moment) for steps, each in STEPS.items() for moment in each.moments),
    *(Turn("weights", moment, good=False) for moment in ("begun", "at 20 %", "aborted")),
]


@dataclass
class Assassin:
    """Kills the controller when it tells of a moment."""

    fleet: Fleet
    message: Message | None = None
    """That it waits for; None once it was heard, and the controller killed."""

    kills: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, received: Received) -> Answer:
        """Take a webhook's message; the answer to every question is yes."""
        message = json.loads(received.body)
        if self.message is not None:
            kind, beginning = self.message
            if message["type"] == kind and said(message).startswith(beginning):
                self.message = None
                self.strike()
        return 200, {}, b""

    def strike(self) -> None:
        """SIGKILL the controller, once there is one."""
        with self._lock:
            (pid,) = eventually("a controller", lambda: pids_of(self.fleet, CONTROLLER))
            os.kill(pid, signal.SIGKILL)
            eventually("it is dead", lambda: pid not in pids_of(self.fleet, CONTROLLER))
            self.kills += 1


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


def settings(turn: Turn, url: str) -> dict[str, Any]:
    types = ("confirm-rollout", "confirm-promotion", "event")
    steps = STEPS[turn.steps]
    return {
        **steps.settings,
        "analysis": {"signals": {**(GOOD if turn.good else BAD), **steps.signals}},
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
    hit: Counter[Turn] = Counter()
    with (
        soak.scene("SIGKILL of the controller amid rollouts") as scene,
        receiver(lambda number: assassin.hear(server.received[number])) as server,
        load,
    ):
        scene.tally = load.tally
        due: list[Turn] = []
        # As many as were asked for, and then as many as it takes to have been everywhere.
        wanted = set(TURNS) if kills >= 2 * len(TURNS) else set()
        while assassin.kills < kills or wanted - hit.keys():
            due = due or scene.random.sample(TURNS, len(TURNS))
            turn = due.pop(0)
            if roll_out(scene, releases, assassin, server, turn):
                hit[turn] += 1
            else:
                due.append(turn)  # another crash cost the message that tells of the moment
            scene.tell(f"{scene.name}: {assassin.kills} of {kills}, last {turn}")
            load.wait_for_answers(20)
        scene.rounds_done = assassin.kills
        scene.figures["kills at the boundary of a step"] = hit.total()
        scene.require("boundaries hit", len(hit), ">=", len(wanted))
        scene.require("kills", assassin.kills, ">=", kills)
        require_no_failures_but(scene, WORDS)


def roll_out(
    scene: Scene, releases: Releases, assassin: Assassin, server: Receiver, turn: Turn
) -> bool:
    """Start a rollout, kill its controller twice, and see that it ends as it would have.

    Returns:
        Whether the controller was killed at the turn's moment.
    """
    stable = releases.champion()
    version = other_than(stable) if turn.good else RAISES
    assassin.message, before = turn.message, assassin.kills
    scene.mark(f"version {version} begins")
    body = {"version": version, "rollout": settings(turn, server.url)}
    identity = releases.ask("/rollouts", body)["id"]
    at_random = threading.Timer(scene.random.uniform(0.0, LATEST_S), assassin.strike)
    at_random.start()
    ended = eventually(f"the end of {identity}", lambda: is_over(releases, identity))
    at_random.join()
    with suppress(AssertionError):
        eventually("the moment", lambda: assassin.message is None, within_s=HEARD_S)
    is_hit, assassin.message = assassin.message is None, None
    eventually("the kills", lambda: assassin.kills == before + 1 + is_hit)
    eventually("the control API", lambda: is_over(releases, identity))
    assert ended["phase"] == ("successful" if turn.good else "aborted"), ended["reason"]
    assert turn.good or ended["reason"].startswith("errors "), ended["reason"]
    expected = version if turn.good else stable
    eventually("the alias", lambda: releases.champion() == expected)
    releases.in_force(**{f"v{expected}": 100})
    eventually("the tags", lambda: is_tagged(releases, version, identity))
    events = events_of(releases, identity)
    outcomes = [(each["kind"], each["after"]) for each in events]
    assert len(outcomes) == len(set(outcomes)), outcomes
    kinds = [kind for kind, _ in outcomes]
    log = ["created", "started", *STEPS[turn.steps].log, "waiting", "promoting", "promoted"]
    assert kinds == log if turn.good else kinds[-1] == "aborted", kinds
    return is_hit


def events_of(releases: Releases, identity: str) -> list[dict[str, Any]]:
    return list(releases.ask(f"/rollouts/{identity}/events")["events"])


def is_over(releases: Releases, identity: str) -> dict[str, Any] | None:
    """The rollout, once it has ended; None while it has not, or nobody can say.

    Where it waits for somebody to approve it, that is done, once.
    """
    try:
        shown = releases.current()
        if shown["phase"] == "paused":
            kinds = [each["kind"] for each in events_of(releases, identity)]
            if "approved" not in kinds:
                releases.ask("/rollout/approve", {}, expected=200)
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
    rollout = {"steps": [{"setWeight": PERCENT}, {"pause": {}}], "analysis": {"signals": GOOD}}
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
