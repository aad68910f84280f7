"""What the benchmark of rollouts simulates."""

from collections import defaultdict
from collections.abc import Mapping
from typing import cast

from benchmarks.releasing.crowd import LOADS_S, RATE_PER_S, PartlySimulated, Traffic
from benchmarks.releasing.names import is_simulated, real, simulated
from deployments.controller.counts import all_counts
from deployments.controller.decide import Deployment
from deployments.controller.facts import VersionFacts
from deployments.schema import application_name
from deployments.settings import Settings
from deployments.traffic.table import Track
from tests.fakes import SIGNATURE, FakeClock, make_route, make_table


def deployment(model: str) -> Deployment:
    return Deployment(model, "2", VersionFacts("sklearn", SIGNATURE), "as-set")


def states(applications: PartlySimulated) -> Mapping[str, tuple[str, int]]:
    found = applications.simulated({})
    return {name: (state.status, state.running_replicas) for name, state in found.items()}


def test_a_simulated_version_is_there_after_a_while_and_until_it_is_deleted() -> None:
    clock, settings = FakeClock(), cast("Settings", None)
    applications = PartlySimulated("fleet", settings, defaultdict(float), clock)
    name = application_name(simulated(7), "2")

    applications.deploy([deployment(simulated(7))], {}, {})
    assert states(applications) == {name: ("DEPLOYING", 0)}
    clock.advance(LOADS_S + 0.1)
    assert states(applications) == {name: ("RUNNING", 1)}
    assert applications.simulated({name: "as-set"})[name].fingerprint == "as-set"
    applications.delete(name)
    assert states(applications) == {}


def test_only_models_named_so_are_simulated() -> None:
    assert is_simulated(application_name(simulated(0), "1"))
    assert not is_simulated(application_name(real(0), "1"))
    assert not is_simulated("fleet")


def test_simulated_requests_follow_the_table() -> None:
    traffic = Traffic()
    table = make_table(
        simulated_01=(
            make_route("simulated-01", "2", weight=20, track=Track.CANARY, mirror=50),
            make_route("simulated-01", "1", weight=80),
        ),
        real_0=(make_route("real-0"),),
    )

    before = all_counts(traffic.until(10.0, table))
    counts = all_counts(traffic.until(11.0, table))

    assert {count.requests for count in before.values()} == {0}
    canary, stable = counts["simulated-01", "2"], counts["simulated-01", "1"]
    assert (canary.requests, stable.requests) == (0.2 * RATE_PER_S, 0.8 * RATE_PER_S)
    assert (canary.errors, canary.mirrored, canary.differing) == (0, 0.5 * RATE_PER_S, 0)
    assert sum(stable.latency) == stable.requests
    assert len(counts) == 2
    assert all_counts(traffic.until(12.0, table))["simulated-01", "1"].requests == 320
