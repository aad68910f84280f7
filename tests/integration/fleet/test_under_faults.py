"""Some of the faults of `make soak`, in seconds and on the fleet that is there anyway."""

import asyncio
import json

import pytest

from tests.integration import fuzz, unwanted
from tests.integration.hosting import Fleet, eventually, kill, pids_of, replica_pids
from tests.integration.load import Load, Outcome, questions_for
from tests.integration.stores import Stores
from tests.malformed import MALFORMED

pytestmark = pytest.mark.ray

SEED = 20
EXAMPLES = 25
"""Of each kind at each door."""

CONTROLLER = "fleet#Controller"
MODEL = "breast-cancer"
JSON = {"Content-Type": "application/json"}


def test_a_lost_store_costs_no_answer_and_tables_reach_the_gateways(
    fleet: Fleet, stores: Stores
) -> None:
    """The next controller counts its tables from one again; the gateways are far beyond."""
    with Load(fleet.doors, questions_for(MODEL, fleet.models[MODEL])) as load:
        stores.lose_fleet_store()
        dead = kill(replica_pids(fleet), CONTROLLER)
        eventually("a new controller", lambda: pids_of(fleet, CONTROLLER) - {dead})
        eventually("its table at every gateway", lambda: one_table_is_in_force(fleet))
        load.wait_for_answers(50)

    assert (load.tally.failed, load.tally.count(Outcome.CUT)) == (0, 0), load.tally.details()


@pytest.mark.parametrize("door", ["serve", "express"])
def test_malformed_requests_are_the_caller_s(fleet: Fleet, door: str) -> None:
    statuses = {
        name: fleet.call(path.format(model="wine"), body, JSON, door=fleet.doors[door])[0]
        for name, (path, body, _) in MALFORMED.items()
    }

    assert {
        name: status for name, status in statuses.items() if status not in MALFORMED[name][2]
    } == {}


@pytest.mark.parametrize("door", ["serve", "express"])
def test_made_up_requests_meet_no_fault_of_ours(fleet: Fleet, door: str) -> None:
    fuzz.try_http(fleet.doors[door], EXAMPLES, SEED)
    fuzz.try_grpc(fleet.grpc_doors[door], EXAMPLES, SEED)


@pytest.mark.parametrize("door", ["serve", "express"])
def test_work_that_nobody_waits_for_is_not_done(fleet: Fleet, door: str) -> None:
    before = unwanted.predicted(fleet)

    statuses = asyncio.run(unwanted.with_deadlines(fleet.doors[door]))
    asyncio.run(unwanted.that_leave(fleet.doors[door]))

    assert set(statuses) <= {200, 504}
    done = unwanted.predicted(fleet) - before
    assert done <= 2 * unwanted.MOST_DONE * unwanted.CROWD


def one_table_is_in_force(fleet: Fleet) -> bool:
    """Whether both gateways act on the table that the controller has."""
    try:
        _, _, body = fleet.call("/api/v1/fleet", door=fleet.control_url)
    except OSError:  # it does not listen yet
        return False
    view = json.loads(body)
    _, _, page = fleet.call("/metrics")
    at_gateways = [
        float(line.rpartition(" ")[2])
        for line in page.decode().splitlines()
        if line.startswith("rayfleet_table_revision{")
    ]
    return bool(view.get("settled")) and at_gateways == [view["revision"]] * 2
