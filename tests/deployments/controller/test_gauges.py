"""The controller's own gauges: what stands in the table, and what it can reach."""

from prometheus_client.parser import text_string_to_metric_families

from deployments.controller.gauges import fleet_gauges
from deployments.telemetry import exposition
from deployments.traffic.table import EMPTY, RouteState, RoutingTable, Track
from tests.fakes import make_route, make_table


def shown(
    table: RoutingTable, reachable: dict[str, bool], wanted: int | None = None
) -> dict[tuple[str, ...], float]:
    """Values by the metric's name and its labels in their own order, the gateway's left out."""
    text = exposition([fleet_gauges(table, reachable, wanted)]).decode()
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
    }


def test_a_dependency_is_up_or_down_once_it_was_called() -> None:
    assert shown(EMPTY, {"registry": False, "fleet store": True}) == {
        ("rayfleet_dependency_up", "registry"): 0,
        ("rayfleet_dependency_up", "store"): 1,
    }
    assert shown(EMPTY, {}) == {}


def test_the_gateways_that_serve_is_to_run_are_told_once_known() -> None:
    assert shown(EMPTY, {}, wanted=2) == {("rayfleet_gateways_wanted",): 2}
