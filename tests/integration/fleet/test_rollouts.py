"""Rollouts on a real fleet, under constant load: no answer is lost, and the bad ones end."""

import itertools
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hosting import (
    BIN,
    Fleet,
    eventually,
    kill,
    pids_of,
    replica_pids,
)
from tests.integration.load import Load, Outcome
from tests.integration.releases import Releases, Traffic, has_share, hosted, listens

pytestmark = pytest.mark.ray
THOROUGH = pytest.mark.thorough

MODEL = "fickle"
CONTROLLER = "fleet#Controller"
RATE_PER_S = 200.0
JUDGED = {"signals": {"errors": {"kind": "errors", "allowed": 0.02}}}
APPROVED = {
    "steps": [
        {"setWeight": 20}, {"pause": {}}, {"analysis": {}},
        {"setWeight": 50}, {"pause": {}}, {"analysis": {}},
    ],
    "analysis": JUDGED,
    "keep_previous_s": 120,
}  # fmt: skip
UNATTENDED = {
    "steps": [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}, {"analysis": {}}],
    "analysis": JUDGED,
}
HALF = [{"setWeight": 50}, {"analysis": {}}]
ERRORS = {"errors": {"kind": "errors", "allowed": 0.005}}
UNSEEN = {"errors": {"kind": "errors", "dry_run": True}}
SLOW = {"slow": {"kind": "slow", "target_s": 0.025}}
DIFFERING = {"differing": {"kind": "differing"}}


def settings(signals: Mapping[str, Any], *steps: Mapping[str, Any]) -> dict[str, Any]:
    return {"steps": list(steps) or HALF, "analysis": {"signals": dict(signals)}}


@pytest.fixture(scope="module")
def releases(fleet: Fleet) -> Iterator[Releases]:
    """The model, with version 1 as its champion, ready."""
    options = {"rollout": APPROVED, "transport": "direct"}
    with hosted(fleet, fleet.cluster.registry, MODEL, options) as releases:
        yield releases


def load_of(releases: Releases, traffic: Traffic) -> Load:
    return Load({"express": releases.fleet.express_url}, traffic.questions(), rate_per_s=RATE_PER_S)


def placed(releases: Releases) -> dict[str, str]:
    """Which version answers each of a hundred routing keys."""
    return {
        key: releases.fleet.infer(MODEL, [[1.0]], {"X-Routing-Key": key})[1]["model_version"]
        for key in (f"user-{number}" for number in range(100))
    }


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> set[tuple[str, str]]:
    return {(before[key], after[key]) for key in before if before[key] != after[key]}


@pytest.mark.parametrize(
    ("version", "rollout", "words"),
    [
        pytest.param("3", settings(ERRORS), "errors ", id="raises"),
        pytest.param("4", settings(SLOW), "slow ", id="slow", marks=THOROUGH),
        pytest.param("5", settings(ERRORS), "errors ", id="nan", marks=THOROUGH),
        pytest.param(
            "6", settings(DIFFERING, {"setMirror": 100}, {"analysis": {}}), "differing ",
            id="differs", marks=THOROUGH,
        ),
        pytest.param(
            "7", settings(ERRORS), "RuntimeError: weights file is torn",
            id="torn", marks=THOROUGH,
        ),
        pytest.param(
            "8", settings(UNSEEN, {"setWeight": 10}, {"pause": {}}), "died 3",
            id="dies", marks=THOROUGH,
        ),
    ],
)  # fmt: skip
def test_a_bad_version_is_aborted_for_its_own_reason(
    releases: Releases, version: str, rollout: dict[str, Any], words: str
) -> None:
    traffic = Traffic(MODEL)
    with load_of(releases, traffic) as load:
        releases.ask("/rollouts", {"version": version, "rollout": rollout})
        ended = releases.reaches("aborted")
        releases.in_force(v1=100)
        load.wait_for_answers(20)

    assert words in ended["reason"]
    assert releases.champion() == "1"
    assert load.tally.count(Outcome.CUT) == 0
    # Nothing but what the version itself did wrong, and only while it was tried.
    failed = {each.detail[:3] for each in load.tally.asked if each.outcome is not Outcome.RIGHT}
    assert version in "358" or not load.tally.failed, load.tally.details()
    assert len(failed) <= 1, load.tally.details()


def test_a_good_version_is_promoted_without_a_lost_answer(releases: Releases) -> None:
    traffic = Traffic(MODEL)
    keys = [placed(releases)]
    with load_of(releases, traffic) as load:
        asked_s = time.monotonic()
        releases.registry.set_registered_model_alias(MODEL, "challenger", "2")
        eventually("it begins", lambda: releases.versions_tried()[:1] == ["2"])
        for percent in (20, 50):
            releases.reaches("paused", weight=percent)
            releases.in_force(v2=percent)
            load.wait_for_answers(5)
            began_s = time.monotonic()
            keys.append(placed(releases))
            load.wait_for_answers(300)
            assert has_share(traffic.since(began_s), "2", percent), traffic.since(began_s)
            releases.ask("/rollout/approve", {}, expected=200)
        ended = releases.reaches("successful")
        releases.in_force(v2=100)
        load.wait_for_answers(20)
        keys.append(placed(releases))

    assert (load.tally.failed, load.tally.count(Outcome.CUT)) == (0, 0), load.tally.details()
    aliases = releases.registry.get_registered_model(MODEL).aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {"champion": "2"}
    tags = releases.registry.get_model_version(MODEL, "2").tags
    assert tags["rayfleet.rollout.id"] == ended["id"]
    for before, after in itertools.pairwise(keys):
        assert moved(before, after) <= {("1", "2")}
    assert set(keys[-1].values()) == {"2"}
    first_s = min(at_s for at_s, version in traffic.answers if version == "2")
    print(f"alias moved -> first canary answer: {first_s - asked_s:.1f} s")


def test_the_command_line_tells_who_did_what_and_why(releases: Releases) -> None:
    shown = subprocess.run(
        [BIN / "rayfleet", "rollout", "history", MODEL, "--events", "--limit", "1",
         "--url", releases.fleet.control_url],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip

    for words in ("challenger was moved to version 2", "rise at most", "promoted", "50 %"):
        assert words in " ".join(shown.split()), shown


def test_a_rollback_to_the_warm_version_is_a_table_change(releases: Releases) -> None:
    traffic = Traffic(MODEL)
    with load_of(releases, traffic) as load:
        load.wait_for_answers(50)
        before = pids_of(releases.fleet, f"{MODEL}--v1#Predictor")
        asked_s = time.monotonic()
        releases.ask("/rollback", {"reason": "a hunch"})
        releases.reaches("successful")
        load.wait_for_answers(50)

    assert load.tally.failed == 0, load.tally.details()
    assert releases.champion() == "1"
    assert before
    assert pids_of(releases.fleet, f"{MODEL}--v1#Predictor") == before
    assert set(traffic.since(traffic.last("2") + 0.2)) == {"1"}
    print(f"rollback asked -> last answer of the old: {traffic.last('2') - asked_s:.2f} s")


def kept_requests(path: Path) -> list[dict[str, Any]]:
    """A step that checks a version by some numbers, half of them with their doubles."""
    lines = []
    for number in range(1, 9):
        asked = {"name": "input-0", "shape": [1, 1], "datatype": "FP64", "data": [float(number)]}
        right = {**asked, "name": "output-0", "data": [2.0 * number]}
        lines.append({"inputs": [asked]} | ({"expected": [right]} if number % 2 else {}))
    path.write_text("\n".join(map(json.dumps, lines)))
    return [{"check": {"requests": str(path)}}]


def test_a_version_that_answers_kept_requests_wrongly_never_gets_any(
    releases: Releases, tmp_path: Path
) -> None:
    traffic = Traffic(MODEL)
    stable = releases.champion()
    rollout = {"strategy": "blueGreen", "steps": kept_requests(tmp_path / "kept.jsonl")}
    with load_of(releases, traffic) as load:
        releases.ask("/rollouts", {"version": "6", "rollout": rollout})
        ended = releases.reaches("aborted")

    assert ended["reason"] == (
        "7 of 8 kept requests are answered well, allowed 0.0% bad:"
        " line 5: differs from what is expected, by 5"
    )
    assert load.tally.failed == 0, load.tally.details()
    assert {version for _, version in traffic.answers} == {stable}


@pytest.mark.parametrize(
    "rollout",
    [
        pytest.param({"strategy": "blueGreen", "keep_previous_s": 60}, id="blue-green"),
        pytest.param({"strategy": "rolling", "max_surge": 50, "keep_previous_s": 60}, id="rolling"),
    ],
)
def test_other_strategies_lose_no_answer(
    releases: Releases, rollout: dict[str, Any], tmp_path: Path
) -> None:
    if rollout["strategy"] == "blueGreen":
        check = kept_requests(tmp_path / "kept.jsonl")
        rollout = {**rollout, "steps": [*check, {"setMirror": 100}, {"analysis": {}}]}
    traffic = Traffic(MODEL)
    stable = releases.champion()
    version = "2" if stable == "1" else "1"
    with load_of(releases, traffic) as load:
        started_s = time.monotonic()
        releases.ask("/rollouts", {"version": version, "rollout": rollout})
        releases.reaches("successful")
        releases.in_force(**{f"v{version}": 100})
        load.wait_for_answers(50)

    assert (load.tally.failed, load.tally.count(Outcome.CUT)) == (0, 0), load.tally.details()
    assert releases.champion() == version
    if rollout["strategy"] == "blueGreen":
        first_s = min(at_s for at_s, each in traffic.answers if each == version)
        # Both gateways switch within the time that a table takes to reach them.
        assert traffic.last(stable) - first_s < 1.0
        assert first_s > started_s


@pytest.mark.thorough
def test_a_controller_that_is_killed_goes_on_where_it_was(releases: Releases) -> None:
    traffic = Traffic(MODEL)
    stable = releases.champion()
    version = "2" if stable == "1" else "1"
    with load_of(releases, traffic) as load:
        releases.ask("/rollouts", {"version": version, "rollout": UNATTENDED})
        releases.reaches("progressing", weight=20)
        dead = kill(replica_pids(releases.fleet), CONTROLLER)
        eventually("a new controller", lambda: pids_of(releases.fleet, CONTROLLER) - {dead})
        eventually("its door", lambda: listens(releases.fleet, f"{releases.api}/rollout"))
        releases.reaches("successful")
        load.wait_for_answers(50)

    assert load.tally.failed == 0, load.tally.details()
    assert releases.champion() == version
