"""Versions that are compared on a real fleet and not promoted: an A/B test, and a shadow."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.hosting import Fleet, eventually
from tests.integration.load import Load, Outcome, Question
from tests.integration.releases import Releases, Traffic, has_share, hosted, other_than
from tests.integration.stages import counted, flips

pytestmark = [pytest.mark.ray, pytest.mark.thorough]

MODEL = "fickle"
DIFFERS, SHARE = "6", 19 / 99
"""A version, and the share of numbers that it does not double."""

RATE_PER_S = 200.0
MANY, FEW = 800, 300
"""Requests of a stage whose shares are looked at, and of one in which stable has all."""

MOST_LABELS = 1000
"""In one message."""

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def releases(fleet: Fleet) -> Iterator[Releases]:
    """The model, with version 1 as its champion, ready."""
    options = {"feedback": {}, "transport": "direct"}
    with hosted(fleet, fleet.cluster.registry, MODEL, options) as releases:
        yield releases


class Labels:
    """Says of every answer what would have been right: the double of the number."""

    def __init__(self, releases: Releases) -> None:
        self.outcomes: Counter[str] = Counter()
        self.strays: list[tuple[str, str]] = []
        """Versions that answered, where the label was counted for another one."""

        self._releases = releases
        self._unsent: list[tuple[str, dict[str, Any]]] = []
        self._stopping = threading.Event()

    def questions(self) -> list[Question]:
        """Numbers to double; here an answer that is not the double is still an answer."""
        return [self._asking(each) for each in Traffic(MODEL).questions_of_users()]

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send what is known, and what becomes known, until the block ends."""
        sender = threading.Thread(target=self._send)
        sender.start()
        try:
            yield
        finally:
            self._stopping.set()
            sender.join()

    def _asking(self, question: Question) -> Question:
        (number,) = json.loads(question.body)["inputs"][0]["data"]

        def is_an_answer(answer: Any) -> bool:
            label = {"model": MODEL, "request_id": answer["id"], "label": 2 * number}
            self._unsent.append((answer["model_version"], label))
            return answer["outputs"][0]["data"][0] in {number, 2 * number}

        return Question(question.path, question.body, is_an_answer, question.key)

    def _send(self) -> None:
        fleet = self._releases.fleet
        while not self._stopping.wait(0.2):
            due = self._unsent[:MOST_LABELS]
            del self._unsent[: len(due)]
            if not due:
                continue
            body = json.dumps([label for _, label in due]).encode()
            _, _, answer = fleet.call("/api/v1/feedback", body, JSON, door=fleet.control_url)
            for (version, _), said in zip(due, json.loads(answer)["results"], strict=True):
                self.outcomes[said["outcome"]] += 1
                if said["version"] != version:
                    self.strays.append((version, said["version"]))


def numbers_of(releases: Releases, identity: str) -> dict[str, Any]:
    """Of a rollout's last event, by version and signal."""
    events = releases.ask(f"/rollouts/{identity}/events")["events"]
    assert events[-1]["kind"] == "reported"
    return dict(events[-1]["numbers"])


def verdict_of(releases: Releases, version: str, identity: str) -> str:
    """What the registry says of a version after a rollout."""

    def tags() -> dict[str, str] | None:
        found: dict[str, str] = releases.registry.get_model_version(MODEL, version).tags
        return found if found.get("rayfleet.rollout.id") == identity else None

    found: dict[str, str] = eventually("its tags", tags)
    return found["rayfleet.rollout.verdict"]


def is_near(share: float, n: int) -> bool:
    """Whether a share of so many is that of the fault, but for chance."""
    return bool(abs(share - SHARE) <= 4.5 * (SHARE * (1 - SHARE) / n) ** 0.5)


def test_an_ab_test_ends_with_a_verdict_on_each_arm_by_its_labels(releases: Releases) -> None:
    stable = releases.champion()
    good, labels = other_than(stable), Labels(releases)
    rollout = {"strategy": "ab", "analysis": {"signals": {"wrong": {"kind": "mistakes"}}}}
    doors = {"express": releases.fleet.express_url}
    with Load(doors, labels.questions(), rate_per_s=RATE_PER_S) as load:
        body = {"versions": [DIFFERS, good], "rollout": rollout}
        identity = releases.ask("/rollouts", body)["id"]
        stages = [releases.stage(load, {stable: 34, DIFFERS: 33, good: 33}, MANY)]
        # Not before, since an arm that fails loses its requests at once.
        with labels.sending():
            ended = releases.reaches("successful")
        stages.append(releases.stage(load, {stable: 100}, FEW))

    assert (load.tally.failed, load.tally.count(Outcome.CUT)) == (0, 0), load.tally.details()
    for stage in stages:
        found = counted(load.tally.asked, stage)
        assert all(has_share(found, *each) for each in stage.weights.items()), (found, stage)
    assert flips(load.tally.asked, stages, {(DIFFERS, stable), (good, stable)}) == []
    assert labels.outcomes.keys() == {"counted"}, labels.outcomes
    assert labels.strays == []
    assert ended["id"] == identity
    numbers = {arm: found["wrong"] for arm, found in numbers_of(releases, identity).items()}
    assert {arm: each["verdict"] for arm, each in numbers.items()} == {
        DIFFERS: "failed",
        good: "successful",
    }
    worse, equal = numbers[DIFFERS], numbers[good]
    assert is_near(worse["canary"], worse["n_canary"])
    assert (worse["stable"], equal["canary"], equal["stable"]) == (0, 0, 0)
    assert worse["low"] > worse["allowed"]
    assert equal["high"] <= equal["allowed"]
    assert verdict_of(releases, DIFFERS, identity) == "failed"
    assert verdict_of(releases, good, identity) == "successful"
    assert releases.champion() == stable


def test_a_shadow_ends_with_a_report_of_the_rows_that_differ(releases: Releases) -> None:
    stable = releases.champion()
    doors = {"express": releases.fleet.express_url}
    with Load(doors, Traffic(MODEL).questions(), rate_per_s=RATE_PER_S) as load:
        body = {"version": DIFFERS, "rollout": {"strategy": "shadow"}}
        identity = releases.ask("/rollouts", body)["id"]
        ended = releases.reaches("successful")
        shown = releases.ask(f"/versions/{DIFFERS}/differences")
        load.wait_for_answers(20)

    assert (load.tally.failed, load.tally.count(Outcome.CUT)) == (0, 0), load.tally.details()
    assert {each.version for each in load.tally.asked} == {stable}
    assert (ended["id"], ended["verdict"]) == (identity, "failed")
    differing = numbers_of(releases, identity)[DIFFERS]["differing"]
    assert differing["verdict"] == "failed"
    assert is_near(differing["canary"], differing["n_canary"])
    assert differing["low"] > differing["allowed"]
    assert verdict_of(releases, DIFFERS, identity) == "failed"
    assert releases.champion() == stable
    require_report(shown)


def require_report(shown: dict[str, Any]) -> None:
    """Totals, and samples of the rows that were answered otherwise."""
    assert shown["requests"] > 0
    assert shown["share"] == pytest.approx(shown["differed"] / shown["requests"])
    assert is_near(shown["share"], shown["requests"])
    assert sum(shown["distribution"].values()) == shown["requests"]
    assert shown["distribution"]["0"] == shown["requests"] - shown["differed"]
    assert shown["latency_ratio"] > 0
    assert shown["samples"]
    for sample in shown["samples"]:
        ((number,),) = sample["inputs"]["input-0"]
        assert number % 5 == 0
        assert sample["stable"] == {"output-0": [[2 * number]]}
        assert sample["mirrored"] == {"output-0": [[number]]}
        assert sample["largest"] == number
