"""Feedback over the control API, on a real store."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from deployments.controller import feedback as module
from deployments.controller.api import MOST_FAULTS, make_api, problems
from deployments.controller.feedback import LATE_WINDOWS, PRUNE_S, Feedback
from deployments.controller.feedback_api import MOST_AT_ONCE, feedback_router
from deployments.feedbackspec import FeedbackSpec
from deployments.schema import ModelSpec
from deployments.store.feedback import FeedbackStore, FeedbackTotals
from deployments.store.store import FleetStore
from deployments.traffic.feedback import Remembered, prediction_of
from tests.fakes import FakeClock
from tests.fleetstores import migrated
from tests.standin import Standin

PATH = "/api/v1/feedback"
SPEC = FeedbackSpec(window_s=60.0, max_requests=3, reward_low=-1.0, tolerance=0.25)
ONE = {"model": "churn", "request_id": "q1"}
FEEDBACK = Standin()


@functools.cache
def client() -> TestClient:
    """Asks the fixture at hand; FastAPI takes as long as ten tests to build the application."""
    nothing: Any = None
    feedback: Any = FEEDBACK

    async def ready() -> None:
        pass

    router = feedback_router(feedback, problems(400, 404, 413, 503))
    api = make_api(nothing, ready, None, [router], only_loopback=True)
    return TestClient(api, base_url="http://127.0.0.1")


class Fixture:
    """A controller's feedback without a cluster."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self.fleet_store = FleetStore(url, "one", clock)
        self.store = FeedbackStore(self.fleet_store.engine)
        self.specs = {"churn": ModelSpec(feedback=SPEC), "plain": ModelSpec()}
        self.feedback = Feedback(self.store, lambda: self.specs, clock)
        self.clock = clock

    @property
    def client(self) -> TestClient:
        FEEDBACK.target = self.feedback
        return client()

    def answered(self, name: str, *values: Any, version: str = "2", model: str = "churn") -> None:
        array = np.array(values)
        body = prediction_of({"output-0": array}, None, 0, len(array))
        self.feedback.remember([Remembered(model, name, version, body, self.clock())])

    def say(self, *items: Any, status: int = 200) -> list[tuple[str, str | None]]:
        """Send several items, or one as it is; returns outcomes and versions."""
        answer = self.client.post(PATH, json=items[0] if len(items) == 1 else list(items))
        assert answer.status_code == status, answer.text
        return [(each["outcome"], each["version"]) for each in answer.json()["results"]]

    def refused(self, item: Any) -> tuple[int, str]:
        answer = self.client.post(PATH, json=item)
        return answer.status_code, str(answer.json()["error"])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return migrated(tmp_path / "fleet.db")


@pytest.fixture
def fleet(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fixture]:
    monkeypatch.setattr(module, "ON_ITS_WAY_S", 0.0)
    fixture = Fixture(url, FakeClock())
    yield fixture
    fixture.fleet_store.close()


def test_a_label_counts_for_the_version_that_answered(fleet: Fixture) -> None:
    fleet.answered("q1", 1.0)
    fleet.answered("q2", 1.0, version="1")

    assert fleet.say({**ONE, "label": 1.2}) == [("counted", "2")]
    assert fleet.say({**ONE, "request_id": "q2", "label": 7}) == [("counted", "1")]

    assert fleet.store.totals() == {
        ("churn", "2"): FeedbackTotals(labels=1),
        ("churn", "1"): FeedbackTotals(labels=1, mistakes=1),
    }


def test_rewards_are_clipped_and_added_up(fleet: Fixture) -> None:
    fleet.answered("q1", 1.0, 2.0)

    assert fleet.say({**ONE, "reward": [0.5, -8]}) == [("counted", "2")]

    totals = fleet.store.totals()["churn", "2"]
    assert totals == FeedbackTotals(rewards=2, reward_total=-0.5, reward_squares=1.25)


def test_each_counts_once_also_after_a_restart(fleet: Fixture, url: str) -> None:
    fleet.answered("q1", 1.0)
    assert fleet.say({**ONE, "label": 1}) == [("counted", "2")]
    again = Fixture(url, fleet.clock)
    again.answered("q1", 5.0, version="9")  # a gateway sends what it does not know to be taken

    assert again.say({**ONE, "label": 1}) == [("duplicate", "2")]
    assert again.say({**ONE, "label": 0, "reward": 1}) == [("counted", "2")]
    assert again.say({**ONE, "reward": 0}) == [("duplicate", "2")]

    assert again.store.totals() == {("churn", "2"): FeedbackTotals(1, 0, 1, 1.0, 1.0)}
    again.fleet_store.close()


def test_several_at_once(fleet: Fixture) -> None:
    fleet.answered("q1", 1.0)
    fleet.answered("q2", 1.0)
    fleet.answered("q3", 1.0)
    items = [
        {**ONE, "label": 1},
        {**ONE, "request_id": "nobody", "label": 1},
        {**ONE, "label": 1},
        {**ONE, "request_id": "q2", "label": "x"},
        {**ONE, "request_id": "q3", "reward": 0.5},
        {"model": "plain", "request_id": "q1", "label": 1},
        {"model": "nobody", "request_id": "q1", "label": 1},
    ]

    assert fleet.say(*items) == [
        ("counted", "2"), ("unknown", None), ("duplicate", "2"), ("refused", "2"),
        ("counted", "2"), ("refused", None), ("unknown", None),
    ]  # fmt: skip


def test_a_label_that_is_late(fleet: Fixture) -> None:
    fleet.answered("q1", 1.0)

    fleet.clock.advance(60.0)
    fleet.answered("q2", 1.0)
    fleet.clock.advance(1.0)

    assert fleet.refused({**ONE, "label": 1}) == (
        404, "request 'q1' was answered 61 s ago, more than 60 s",
    )  # fmt: skip
    assert fleet.say({**ONE, "request_id": "q2", "label": 1}) == [("counted", "2")]


def test_what_is_old_or_too_much_is_forgotten(fleet: Fixture) -> None:
    fleet.answered("q1", 1.0)
    fleet.clock.advance(LATE_WINDOWS * 60.0 + 1)
    fleet.answered("q2", 1.0)
    assert fleet.refused({**ONE, "label": 1})[1].startswith("request 'q1' of model 'churn' is not")

    for number in range(3, 7):
        fleet.clock.advance(PRUNE_S)
        fleet.answered(f"q{number}", 1.0)

    assert set(fleet.store.find("churn", [f"q{n}" for n in range(9)])) == {"q4", "q5", "q6"}


@pytest.mark.parametrize(
    ("item", "status", "reason"),
    [
        pytest.param(
            {**ONE, "request_id": "x", "label": 1}, 404,
            "request 'x' of model 'churn' is not remembered: another id, left out of the sample,"
            " or answered more than 60 s ago", id="unknown",
        ),
        pytest.param(
            {"model": "nobody", "request_id": "q1", "label": 1}, 404,
            "model 'nobody' is not hosted", id="no-model",
        ),
        pytest.param(
            {"model": "plain", "request_id": "q1", "label": 1}, 400,
            "model 'plain' has no feedback settings", id="no-feedback",
        ),
        pytest.param(
            {**ONE, "label": [1, 2]}, 400, "request 'q1': 2 labels for 1 rows", id="rows"
        ),
        pytest.param([], 400, "body: []: should not be empty", id="empty"),
        pytest.param([{**ONE, "label": 1}] * (MOST_AT_ONCE + 1), 400, "at most 1000", id="many"),
    ],
)  # fmt: skip
def test_what_does_not_count_is_an_error(
    fleet: Fixture, item: Any, status: int, reason: str
) -> None:
    fleet.answered("q1", 1.0)

    found, text = fleet.refused(item)

    assert (found, reason in text) == (status, True), text
    assert fleet.store.totals() == {}


@pytest.mark.parametrize(
    ("item", "line"),
    [
        pytest.param(ONE, "body: give a label, a reward or both", id="nothing-said"),
        pytest.param(
            {**ONE, "label": {"a": 1}},
            "label: {'a': 1}: should be true or false, a number, text or a list", id="mapping",
        ),
        pytest.param(
            {**ONE, "label": {"bool": 1}},
            "label: {'bool': 1}: should be true or false, a number, text or a list",
            id="key-called-as-a-type",
        ),
        pytest.param(
            {**ONE, "label": [1, {}]}, "label[1]: {}: should be true or false, a number or text",
            id="label-of-a-row",
        ),
        pytest.param(
            {**ONE, "reward": "x"}, "reward: 'x': should be a number or a list", id="reward"
        ),
        pytest.param(
            [{**ONE, "label": 1}, {**ONE, "reward": None}],
            "body[1]: give a label, a reward or both", id="one-of-several",
        ),
        pytest.param(
            {**ONE, "lable": 1},
            "body: unknown key 'lable' (did you mean 'label'?), allowed: label, model,"
            " request_id, reward", id="misspelt",
        ),
        pytest.param(7, "body: 7: should be a mapping of keys to values", id="no-object"),
        pytest.param(
            {**ONE, "reward": "x" * 5000}, f"reward: '{'x' * 99}: should be a number or a list",
            id="long",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_one_line(fleet: Fixture, item: Any, line: str) -> None:
    assert fleet.refused(item) == (400, line)


def test_of_very_many_faults_the_first_are_told(fleet: Fixture) -> None:
    status, said = fleet.refused({**ONE, "label": [{}] * 1_000})

    first, *_, last = said.splitlines()
    assert (status, last) == (400, "and more")
    assert first.startswith("label[0]: {}: should be")
    assert len(said.splitlines()) < MOST_FAULTS


def test_numbers_that_json_does_not_know_are_refused(fleet: Fixture) -> None:
    fleet.answered("q1", 1.0)
    for text in ('"label": NaN', '"reward": Infinity'):
        body = f'{{"model": "churn", "request_id": "q1", {text}}}'
        answer = fleet.client.post(PATH, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert "finite number" in answer.json()["error"]


def test_a_label_that_is_quicker_than_the_answer_waits_for_it(
    fleet: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = fleet.store.find
    looks: list[int] = []

    def find_late(model: str, requests: Any) -> Any:
        looks.append(len(requests))
        found = find(model, requests)
        if len(looks) == 1:
            fleet.answered("q1", 1.0)
        return found

    monkeypatch.setattr(fleet.store, "find", find_late)

    assert fleet.say({**ONE, "label": 1}) == [("counted", "2")]
    assert looks == [1, 1]


def test_the_store_is_away(fleet: Fixture, tmp_path: Path) -> None:
    away = FleetStore(f"sqlite:///{tmp_path / 'nowhere' / 'fleet.db'}", "one")
    fleet.feedback._store = FeedbackStore(away.engine)

    answer = fleet.client.post(PATH, json={**ONE, "label": 1})

    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_settings_may_change_between_answer_and_label(fleet: Fixture) -> None:
    fleet.answered("q1", 1.0)
    fleet.specs["churn"] = ModelSpec(feedback=SPEC.model_copy(update={"tolerance": 9.0}))

    assert fleet.say({**ONE, "label": 8}) == [("counted", "2")]
    assert fleet.store.totals()["churn", "2"] == replace(FeedbackTotals(), labels=1)
