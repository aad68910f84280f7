"""What the log says of a new routing table, and the table that a controller begins with."""

from typing import Any

import msgspec

from deployments.controller.changes import log_changes, stored_table
from deployments.controller.decide import decide
from deployments.schema import ModelSpec
from deployments.traffic.table import EMPTY, RoutingTable, encode_table
from tests.deployments.controller.observations import RUNNING, apps, registered, seen
from tests.lines import kept_lines


def table(spec: ModelSpec, before: RoutingTable = EMPTY, **aliases: str) -> RoutingTable:
    """What is decided once versions 1 and 2 run."""
    now = apps(v1=RUNNING, v2=RUNNING)
    return decide(seen(spec, registered(**aliases), applications=now, table=before)).table


def lines(before: RoutingTable, after: RoutingTable) -> list[str]:
    with kept_lines("deployments.controller.changes") as kept:
        log_changes(before, after)
    return [each.getMessage() for each in kept]


def test_a_model_s_traffic_and_how_each_version_is_reached_and_why() -> None:
    split: dict[str, Any] = {"traffic": {"champion": 90, "challenger": 10}}
    auto = table(ModelSpec(transport="auto", **split), champion="1", challenger="2")
    direct = table(ModelSpec(transport="direct", **split), auto, champion="1", challenger="2")

    said = lines(EMPTY, auto)

    assert said[0] == "m: traffic v2 10 % READY, v1 90 % READY, was nothing"
    transports = {route.version: route.transport_reason for route in auto.models["m"].routes}
    assert said[1:] == [f"m: v{version} goes direct: {why}" for version, why in transports.items()]
    assert all(transports.values())
    assert lines(auto, direct) == lines(auto, auto) == []


def test_only_what_moved_is_said() -> None:
    first = table(ModelSpec(transport="handle"), champion="1")
    second = table(ModelSpec(transport="handle"), first, champion="2")
    gone = msgspec.structs.replace(second, models={})

    assert lines(first, second)[0].startswith("m: traffic v2 100 % READY, was v1 100 % READY")
    assert lines(second, gone) == ["m: no longer hosted"]


def test_a_stored_table_is_taken_over_or_its_revision_at_least() -> None:
    stored = table(ModelSpec(), champion="1")
    body = encode_table(stored)

    assert stored_table(body) == stored
    strange = msgspec.json.encode({**msgspec.json.decode(body), "models": "of another release"})
    assert stored_table(strange) == msgspec.structs.replace(EMPTY, revision=stored.revision)
