"""Rollouts on a real fleet, under constant load: no answer is lost, and the bad ones end."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hosting import BIN, Fleet, eventually, kill, pids_of, replica_pids
from tests.integration.load import Asked, Load, Outcome, Question
from tests.integration.releases import Releases, Traffic, has_share, hosted, listens, other_than
from tests.integration.stages import Stage, counted, flips

pytestmark = pytest.mark.ray
THOROUGH = pytest.mark.thorough

MODEL = "fickle"
CONTROLLER = "fleet#Controller"
RATE_PER_S = 200.0
MANY = 800
"""Requests of a stage whose weights are looked at."""

FEW = 300
"""Of one in which one version has all."""

JUDGED = {"signals": {"errors": {"kind": "errors", "allowed": 0.02}}}
APPROVED = {
    "steps": [
        {"setWeight": 20}, {"pause": {}}, {"analysis": {}},
        {"setWeight": 50}, {"pause": {}}, {"analysis": {}},
    ],
    "analysis": JUDGED,
    "keep_previous_s": 120,
}  # fmt: skip
UNATTENDED = [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}, {"analysis": {}}]
LOG_OF_GOOD = ["created", "started", "step", "step", "step", "step", "promoting", "promoted"]
HALF = [{"setWeight": 50}, {"analysis": {}}]
ERRORS = {"errors": {"kind": "errors", "allowed": 0.005}}
UNSEEN = {"errors": {"kind": "errors", "dry_run": True}}
SLOW = {"slow": {"kind": "slow", "target_s": 0.025}}
DIFFERING = {"differing": {"kind": "differing"}}

DEATHS, UNTIL_STABLE_HAS_ALL_S = 3, 2.0
"""That end a rollout; and after each, a look of the controller's and a gateway's poll."""


def settings(signals: Mapping[str, Any], *steps: Mapping[str, Any]) -> dict[str, Any]:
    return {"steps": list(steps) or HALF, "analysis": {"signals": dict(signals)}}


@pytest.fixture(scope="module")
def releases(fleet: Fleet) -> Iterator[Releases]:
    """The model, with version 1 as its champion, ready."""
    options = {"rollout": APPROVED, "transport": "direct"}
    with hosted(fleet, fleet.cluster.registry, MODEL, options) as releases:
        yield releases


def load_of(releases: Releases, questions: Sequence[Question]) -> Load:
    return Load({"express": releases.fleet.express_url}, questions, rate_per_s=RATE_PER_S)


def pids(releases: Releases, version: str) -> set[int]:
    return pids_of(releases.fleet, f"{MODEL}--v{version}#Predictor")


def require_no_failure(load: Load) -> None:
    assert (load.tally.failed, load.tally.count(Outcome.CUT)) == (0, 0), load.tally.details()


def require_shares(load: Load, stages: list[Stage]) -> None:
    """Requests without a routing key came to the versions as the weights say."""
    for stage in stages:
        found = counted(load.tally.asked, stage)
        for version, percent in stage.weights.items():
            assert has_share(found, version, percent), (found, stage)


def require_stable_alone(load: Load, stable: str, since_s: float) -> None:
    """What was sent from then on came to stable."""
    found = {each.version for each in load.tally.asked if each.at_s >= since_s}
    assert found == {stable}


@dataclass(frozen=True, slots=True)
class Bad:
    """A version with a fault, and what must come of it."""

    version: str
    rollout: Mapping[str, Any]
    weight: int

    reason: str
    """What is in the reason."""

    fault: str = ""
    """What is in the answer to every request that failed; empty where none may."""

    share: float | None = None
    """Of its requests that the fault shows in, as the signal must find it."""

    most: float | None = None
    """Requests that may fail, where their answers do not say which version failed."""

    def is_own(self, failed: Asked) -> bool:
        """Whether a failed request is the version's own doing."""
        is_so = self.fault != "" and self.fault in failed.detail
        return is_so and failed.version == ("" if self.most else self.version)


RAISES = Bad(
    "3", settings(ERRORS), 50, "errors ",
    fault="ValueError: multiples of 33 are beyond me", share=3 / 99,
)  # fmt: skip
THREE_TIMES_SLOWER = Bad("4", settings(SLOW), 50, "slow ", share=1.0)
NAN = Bad("5", settings(ERRORS), 50, "errors ", fault='"data": [NaN]', share=3 / 99)
DIFFERS = Bad(
    "6", settings(DIFFERING, {"setMirror": 100}, {"analysis": {}}), 0, "differing ",
    share=19 / 99,
)  # fmt: skip
TORN = Bad("7", settings(ERRORS), 0, "RuntimeError: weights file is torn")
DIES = Bad(
    "8", settings(UNSEEN, {"setWeight": 10}, {"pause": {}}), 10, f"it died {DEATHS} times: ",
    # What is at the version when it dies waits for its replacement, until the fleet's deadline,
    # which other tests may have changed.
    fault="did not answer within ",
    most=DEATHS * UNTIL_STABLE_HAS_ALL_S * RATE_PER_S * 10 / 100,
)  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(RAISES, id="raises"),
        pytest.param(THREE_TIMES_SLOWER, id="slow", marks=THOROUGH),
        pytest.param(NAN, id="nan", marks=THOROUGH),
        pytest.param(DIFFERS, id="differs", marks=THOROUGH),
        pytest.param(TORN, id="torn", marks=THOROUGH),
        pytest.param(DIES, id="dies", marks=THOROUGH),
    ],
)
def test_a_bad_version_is_aborted_for_its_own_reason(releases: Releases, bad: Bad) -> None:
    before = pids(releases, "1")
    with load_of(releases, Traffic(MODEL).questions()) as load:
        releases.ask("/rollouts", {"version": bad.version, "rollout": bad.rollout})
        ended = releases.reaches("aborted")
        stage = releases.stage(load, {"1": 100}, FEW)

    assert bad.reason in ended["reason"]
    require_found(bad, ended)
    failed = [each for each in load.tally.asked if each.outcome is not Outcome.RIGHT]
    assert [each for each in failed if not bad.is_own(each)] == []
    require_share_at_most(bad, load, stage.began_s)
    require_stable_alone(load, "1", stage.began_s)
    assert releases.champion() == "1"
    assert before
    assert pids(releases, "1") == before


def require_found(bad: Bad, ended: Mapping[str, Any]) -> None:
    """The signal saw the fault as often as it shows, and none of it in stable."""
    if bad.share is None:
        return
    (finding,) = ended["findings"]
    n, margin = finding["n_canary"], 4.5 * (bad.share * (1 - bad.share)) ** 0.5
    assert finding["verdict"] == "failed"
    assert abs(finding["canary"] - bad.share) <= margin / n**0.5
    if bad.reason == "errors ":
        assert finding["stable"] == 0


def require_share_at_most(bad: Bad, load: Load, until_s: float) -> None:
    """From the first request that came to the version on, no more did than its weight."""
    tried = [each for each in load.tally.asked if each.at_s < until_s]
    first_s = min((each.at_s for each in tried if each.version == bad.version), default=until_s)
    others = [each.version != "1" for each in tried if each.at_s >= first_s]
    n, share = len(others), bad.weight / 100
    assert sum(others) <= n * share + 4.5 * (n * share * (1 - share)) ** 0.5
    assert bad.most is None or load.tally.failed <= bad.most


def test_a_good_version_is_promoted_without_a_lost_answer(releases: Releases) -> None:
    with load_of(releases, Traffic(MODEL).questions_of_users()) as load:
        stages = [releases.stage(load, {"1": 100}, FEW)]
        releases.registry.set_registered_model_alias(MODEL, "challenger", "2")
        eventually("it begins", lambda: releases.versions_tried()[:1] == ["2"])
        for percent in (20, 50):
            releases.reaches("paused", weight=percent)
            stages.append(releases.stage(load, {"1": 100 - percent, "2": percent}, MANY))
            releases.ask("/rollout/approve", {}, expected=200)
        ended = releases.reaches("successful")
        stages.append(releases.stage(load, {"2": 100}, FEW))

    require_no_failure(load)
    require_shares(load, stages)
    assert flips(load.tally.asked, stages, {("1", "2")}) == []
    aliases = releases.registry.get_registered_model(MODEL).aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {"champion": "2"}
    tags = releases.registry.get_model_version(MODEL, "2").tags
    assert tags["rayfleet.rollout.id"] == ended["id"]


def test_the_command_line_tells_who_did_what_and_why(releases: Releases) -> None:
    shown = subprocess.run(
        [BIN / "rayfleet", "rollout", "history", MODEL, "--events", "--limit", "1",
         "--url", releases.fleet.control_url],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip

    for words in ("challenger was moved to version 2", "rise at most", "promoted", "50 %"):
        assert words in " ".join(shown.split()), shown


def test_a_rollback_to_the_warm_version_is_a_table_change(releases: Releases) -> None:
    before = pids(releases, "1")
    with load_of(releases, Traffic(MODEL).questions_of_users()) as load:
        stages = [releases.stage(load, {"2": 100}, FEW)]
        releases.ask("/rollback", {"reason": "a hunch"})
        releases.reaches("successful")
        stages.append(releases.stage(load, {"1": 100}, FEW))

    require_no_failure(load)
    require_shares(load, stages)
    require_stable_alone(load, "1", stages[-1].began_s)
    assert flips(load.tally.asked, stages, {("2", "1")}) == []
    assert releases.champion() == "1"
    assert before
    assert pids(releases, "1") == before


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
    with load_of(releases, traffic.questions()) as load:
        releases.ask("/rollouts", {"version": "6", "rollout": rollout})
        ended = releases.reaches("aborted")

    assert ended["reason"] == (
        "7 of 8 kept requests are answered well, allowed 0.0% bad:"
        " line 5: differs from what is expected, by 5"
    )
    require_no_failure(load)
    assert {version for _, version in traffic.answers} == {stable}


def test_a_switch_moves_all_requests_at_once(releases: Releases, tmp_path: Path) -> None:
    stable = releases.champion()
    version = other_than(stable)
    steps = [*kept_requests(tmp_path / "kept.jsonl"), {"setMirror": 100}, {"analysis": {}}]
    rollout = {"strategy": "blueGreen", "keep_previous_s": 60, "steps": steps}
    with load_of(releases, Traffic(MODEL).questions_of_users()) as load:
        stages = [releases.stage(load, {stable: 100}, FEW)]
        releases.ask("/rollouts", {"version": version, "rollout": rollout})
        releases.reaches("successful")
        stages.append(releases.stage(load, {version: 100}, FEW))

    require_no_failure(load)
    require_shares(load, stages)
    assert flips(load.tally.asked, stages, {(stable, version)}) == []
    assert releases.champion() == version
    first_s = min(each.at_s for each in load.tally.asked if each.version == version)
    last_s = max(each.at_s for each in load.tally.asked if each.version == stable)
    # Both gateways switch within the time that a table takes to reach them.
    assert last_s - first_s < 1.0


def test_a_rolling_update_moves_requests_surge_by_surge(releases: Releases) -> None:
    stable = releases.champion()
    version = other_than(stable)
    rollout = {"strategy": "rolling", "max_surge": 40, "keep_previous_s": 60}
    with load_of(releases, Traffic(MODEL).questions_of_users()) as load:
        stages = [releases.stage(load, {stable: 100}, FEW)]
        releases.ask("/rollouts", {"version": version, "rollout": rollout})
        stages += [
            releases.stage(load, {stable: 100 - percent, version: percent}) for percent in (40, 80)
        ]
        releases.reaches("successful")
        stages.append(releases.stage(load, {version: 100}, FEW))

    require_no_failure(load)
    require_shares(load, stages)
    assert flips(load.tally.asked, stages, {(stable, version)}) == []
    assert releases.champion() == version


def test_an_abort_by_hand_loses_no_answer(releases: Releases) -> None:
    stable = releases.champion()
    version, before = other_than(stable), pids(releases, stable)
    rollout = {"steps": [{"setWeight": 50}, {"pause": {}}], "analysis": JUDGED}
    with load_of(releases, Traffic(MODEL).questions_of_users()) as load:
        stages = [releases.stage(load, {stable: 100}, FEW)]
        releases.ask("/rollouts", {"version": version, "rollout": rollout})
        releases.reaches("paused", weight=50)
        stages.append(releases.stage(load, {stable: 50, version: 50}, MANY))
        releases.ask("/rollout/abort", {"reason": "a hunch"}, expected=200)
        stages.append(releases.stage(load, {stable: 100}, FEW))
        ended = releases.reaches("aborted")

    require_no_failure(load)
    require_shares(load, stages)
    require_stable_alone(load, stable, stages[-1].began_s)
    rising, falling = stages[:2], stages[1:]
    assert flips(load.tally.asked, rising, {(stable, version)}) == []
    assert flips(load.tally.asked, falling, {(version, stable)}) == []
    assert "a hunch" in ended["reason"]
    assert releases.champion() == stable
    assert pids(releases, stable) == before


@pytest.mark.parametrize(
    ("is_good", "moments"),
    [pytest.param(True, (0, 20, 50), id="good"), pytest.param(False, (50,), id="bad")],
)
def test_a_controller_that_is_killed_goes_on_where_it_was(
    releases: Releases, is_good: bool, moments: tuple[int, ...]
) -> None:
    stable = releases.champion()
    version = other_than(stable) if is_good else RAISES.version
    rollout = {"steps": UNATTENDED, "analysis": JUDGED} if is_good else RAISES.rollout
    with load_of(releases, Traffic(MODEL).questions_of_users()) as load:
        identity = releases.ask("/rollouts", {"version": version, "rollout": rollout})["id"]
        for percent in moments:
            eventually(f"{percent} %", lambda: weight_of(releases) >= percent)  # noqa: B023
            dead = kill(replica_pids(releases.fleet), CONTROLLER)
            eventually("a new one", lambda: pids_of(releases.fleet, CONTROLLER) - {dead})  # noqa: B023
        eventually("its door", lambda: listens(releases.fleet, f"{releases.api}/rollout"))
        ended = releases.reaches("successful" if is_good else "aborted")
        expected = version if is_good else stable
        releases.stage(load, {expected: 100}, FEW)

    failed = [each for each in load.tally.asked if each.outcome is not Outcome.RIGHT]
    assert [each for each in failed if is_good or not RAISES.is_own(each)] == []
    assert ended["id"] == identity
    assert is_good or RAISES.reason in ended["reason"]
    assert releases.champion() == expected
    events = releases.ask(f"/rollouts/{identity}/events")["events"]
    kinds = [event["kind"] for event in events]
    assert kinds == LOG_OF_GOOD if is_good else (kinds[0], kinds[-1]) == ("created", "aborted")
    outcomes = [(event["kind"], event["after"]) for event in events]
    assert len(outcomes) == len(set(outcomes)), outcomes


def weight_of(releases: Releases) -> int:
    """Of the rollout on its way; -1 while nobody can say."""
    with suppress(OSError, AssertionError):
        return int(releases.current()["weight"])
    return -1
