"""What the controller itself tells: its table, its rollouts, and what it can reach."""

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from deployments.controller.gauges import RolloutWatch, fleet_gauges
from deployments.rollout.commands import Request, equal_arms, start
from deployments.rollout.plan import Step, StepKind
from deployments.rollout.state import Phase, Rollout
from deployments.rollout.strategies import plan_of
from deployments.rolloutspec import RolloutSpec
from deployments.telemetry import Snapshot, exposition
from deployments.traffic.table import EMPTY, RouteState, RoutingTable, Track
from tests.fakes import make_route, make_table

STEPS = [{"setWeight": 10}, {"pause": {"duration_s": 100}}, {"pause": {}}]
PLAN = plan_of(RolloutSpec.load({"steps": STEPS, "progress_deadline_s": 60}))
REQUEST = Request(
    model="wine", versions=equal_arms(["2"]), stable="1", plan=PLAN, actor="ada",
    reason="asked for", follows=False, challenger=None,
)  # fmt: skip
PENDING = start(REQUEST, "r1", 0.0).rollout


class Clock:
    """Monotonic time."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def shown(
    table: RoutingTable,
    reachable: dict[str, bool],
    wanted: int | None = None,
    watch: RolloutWatch | None = None,
) -> dict[tuple[str, ...], float]:
    """What is told by a controller whose config is in force."""
    own = fleet_gauges(table, reachable, wanted, watch or RolloutWatch(), config_refused=False)
    found = values(own)
    assert found.pop(("rayfleet_config_refused",)) == 0
    return found


def values(own: Snapshot) -> dict[tuple[str, ...], float]:
    """By the metric's name and its labels in their own order, the gateway's left out."""
    text = exposition([own]).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("gateway") == "controller"
            found[sample.name, *sample.labels.values()] = sample.value
    return found


def test_each_version_s_weight_readiness_and_replicas_are_told() -> None:
    canary = make_route(
        "wine", "2", track=Track.CANARY, weight=0, state=RouteState.LOADING, replicas=0
    )
    table = make_table(wine=(canary, make_route("wine", "1", replicas=3)))

    assert shown(table, {}) == {
        ("rayfleet_version_weight", "wine", "canary", "2"): 0,
        ("rayfleet_version_ready", "wine", "canary", "2"): 0,
        ("rayfleet_version_replicas", "wine", "canary", "2"): 0,
        ("rayfleet_version_weight", "wine", "stable", "1"): 100,
        ("rayfleet_version_ready", "wine", "stable", "1"): 1,
        ("rayfleet_version_replicas", "wine", "stable", "1"): 3,
        ("rayfleet_rollout_endings_total", "wine", "aborted"): 0,
        ("rayfleet_rollout_endings_total", "wine", "successful"): 0,
    }


def test_a_dependency_is_up_or_down_once_it_was_called() -> None:
    assert shown(EMPTY, {"registry": False, "fleet store": True}) == {
        ("rayfleet_dependency_up", "registry"): 0,
        ("rayfleet_dependency_up", "store"): 1,
    }
    assert shown(EMPTY, {}) == {}


def test_the_gateways_that_serve_is_to_run_are_told_once_known() -> None:
    assert shown(EMPTY, {}, wanted=2) == {("rayfleet_gateways_wanted",): 2}


def test_a_refused_config_is_told() -> None:
    own = fleet_gauges(EMPTY, {}, None, RolloutWatch(), config_refused=True)

    assert values(own) == {("rayfleet_config_refused",): 1}


def at(step: int, **changes: object) -> Rollout:
    """The rollout at one of its steps."""
    return replace(PENDING, step=step, phase=Phase.PROGRESSING, begun=True, **changes)


def test_a_rollout_s_time_in_its_step_and_what_is_allowed_are_told() -> None:
    clock = Clock()
    watch = RolloutWatch(clock)
    watch.note([at(1, in_step_s=5.0)])  # as an earlier controller left it
    clock.now_s += 20
    watch.note([at(1, in_step_s=25.0)])
    clock.now_s += 1

    assert shown(EMPTY, {}, watch=watch) == {
        ("rayfleet_rollout_active", "wine", "progressing", "2"): 1,
        ("rayfleet_rollout_step_seconds", "wine", "2"): 26,
        ("rayfleet_rollout_step_allowed_seconds", "wine", "2"): 160,
    }


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(at(2), id="step"),
        pytest.param(at(1, epoch=1), id="weight"),
        pytest.param(replace(at(1), phase=Phase.PAUSED), id="phase"),
    ],
)
def test_time_begins_anew_where_a_rollout_gets_on(after: Rollout) -> None:
    clock = Clock()
    watch = RolloutWatch(clock)
    watch.note([at(1)])
    clock.now_s += 20
    watch.note([after])
    clock.now_s += 3

    assert shown(EMPTY, {}, watch=watch)["rayfleet_rollout_step_seconds", "wine", "2"] == 3


@pytest.mark.parametrize(
    ("rollout", "allowed_s"),
    [
        pytest.param(PENDING, 60, id="weight-is-no-time"),
        pytest.param(at(2), 60, id="waits-for-approval"),
        pytest.param(at(3), 60, id="all-steps-passed"),
        pytest.param(
            at(0, plan=replace(PLAN, steps=(Step(StepKind.COMPARE),))), None, id="without-end"
        ),
    ],
)
def test_what_a_step_may_take(rollout: Rollout, allowed_s: float | None) -> None:
    watch = RolloutWatch()
    watch.note([rollout])

    found = shown(EMPTY, {}, watch=watch)
    assert found.get(("rayfleet_rollout_step_allowed_seconds", "wine", "2")) == allowed_s


def test_an_ending_is_counted_once_and_stays() -> None:
    watch = RolloutWatch()
    aborted = replace(PENDING, phase=Phase.ABORTED)
    for rollouts in ([PENDING], [aborted], [aborted], []):
        watch.note(rollouts)

    assert shown(EMPTY, {}, watch=watch) == {
        ("rayfleet_rollout_endings_total", "wine", "aborted"): 1
    }
    watch.note([replace(aborted, id="r2")])
    again = shown(EMPTY, {}, watch=watch)
    assert again["rayfleet_rollout_endings_total", "wine", "aborted"] == 2
