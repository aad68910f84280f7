"""Rollouts over the control API, with a desk that the test fills."""

import functools
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deployments.controller.api import make_api
from tests.deployments.controller.desks import FakeDesk, make_rollout
from tests.standin import Standin

CHURN = "/api/v1/deployments/churn"

DESK = Standin()


@functools.cache
def client() -> TestClient:
    """Asks the desk at hand; FastAPI takes as long as ten tests to build the application."""
    control: Any = None  # not asked
    desk: Any = DESK

    async def ready() -> None:
        pass

    api = make_api(control, ready, rollouts=desk, only_loopback=True)
    return TestClient(api, base_url="http://127.0.0.1")


def ask(desk: FakeDesk, method: str, path: str, **options: Any) -> tuple[int, Any]:
    DESK.target = desk
    answer = client().request(method, path, **options)
    return answer.status_code, answer.json()


def test_the_rollouts_of_all_models() -> None:
    rollout = make_rollout()

    status, body = ask(FakeDesk(rollout), "GET", "/api/v1/rollouts")

    assert (status, body) == (200, {"rollouts": [rollout.model_dump()]})


def test_the_rollout_of_one_model_with_its_log() -> None:
    desk = FakeDesk(make_rollout())

    assert ask(desk, "GET", f"{CHURN}/rollout")[1]["findings"][0]["n_canary"] == 200
    assert ask(desk, "GET", f"{CHURN}/rollouts?limit=1")[1]["rollouts"][0]["id"] == "r1"
    (event,) = ask(desk, "GET", f"{CHURN}/rollouts/r1/events")[1]["events"]
    assert (event["actor"], event["numbers"]["canary"]) == ("ada", 0.01)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({}, ("start", None, None, None, "api"), id="the-challenger"),
        pytest.param(
            {"version": "3", "rollout": "careful"},
            ("start", "3", None, "careful", "api"),
            id="a-version-by-a-template",
        ),
        pytest.param(
            {"versions": ["2", "3"], "rollout": {"strategy": "ab"}},
            ("start", None, ["2", "3"], {"strategy": "ab"}, "api"),
            id="arms",
        ),
    ],
)
def test_starting(body: dict[str, Any], expected: tuple[Any, ...]) -> None:
    desk = FakeDesk()

    status, shown = ask(desk, "POST", f"{CHURN}/rollouts", json=body)

    assert (status, shown["actor"]) == (201, "api")
    assert desk.asked == [expected]


def test_who_asks_and_why_is_passed_on() -> None:
    desk = FakeDesk(make_rollout())
    headers = {"X-Actor": "grace"}

    for command in ("pause", "resume", "approve", "promote", "abort"):
        path = f"{CHURN}/rollout/{command}"
        assert ask(desk, "POST", path, json={"reason": "lunch"}, headers=headers)[0] == 200
    path = f"{CHURN}/rollback"
    assert ask(desk, "POST", path, json={"version": "1"}, headers=headers)[0] == 201

    assert desk.asked == [
        *((name, "lunch", "grace") for name in ("pause", "resume", "approve", "promote", "abort")),
        ("rollback", "1", "", "grace"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/api/v1/deployments/other/rollout", None, 404, "'other' is not hosted"),
        ("GET", f"{CHURN}/rollouts/r9/events", None, 404, "has no rollout 'r9'"),
        ("GET", f"{CHURN}/rollouts?limit=0", None, 400,
         "query.limit: '0': should be greater than or equal to 1"),
        ("POST", f"{CHURN}/rollouts", {}, 409, "has an active rollout"),
        ("POST", f"{CHURN}/rollouts", {"version": "v2"}, 400,
         "version: 'v2': should be a version's number, such as 3"),
        ("POST", f"{CHURN}/rollouts", {"version": 2.5}, 400, "version: 2.5: should be text"),
        ("POST", f"{CHURN}/rollouts", {"version": "2", "rollout": 5}, 400,
         "rollout: 5: should be text or a mapping of keys to values"),
        ("POST", f"{CHURN}/rollouts", {"versoin": "2"}, 400,
         "body: unknown key 'versoin' (did you mean 'version'?)"),
        ("POST", f"{CHURN}/rollout/destroy", {}, 400, "path.command: 'destroy': should be 'pause'"),
    ],
)  # fmt: skip
def test_what_is_refused(
    method: str, path: str, body: dict[str, Any] | None, status: int, text: str
) -> None:
    found, answer = ask(FakeDesk(make_rollout()), method, path, json=body)

    assert found == status
    assert text in answer["error"]
    assert "\n" not in answer["error"]
