"""The controller's memory of which replicas take batches directly."""

from deployments.controller.doors import SILENT_S, Doors
from deployments.traffic.table import Endpoint
from tests.fakes import FakeClock, make_route, make_table

APPLICATION = "churn--v1"


def endpoint(replica: str = "a", port: int = 1) -> Endpoint:
    return Endpoint(replica, "node-1", f"/tmp/{replica}", "127.0.0.1", port, "00")


def test_what_is_announced_is_open_until_it_is_retracted() -> None:
    doors = Doors(FakeClock())

    assert doors.heard(APPLICATION, endpoint("b"))
    assert doors.heard(APPLICATION, endpoint("a"))
    assert doors.open() == {APPLICATION: (endpoint("a"), endpoint("b"))}
    doors.left(APPLICATION, "a")
    doors.left(APPLICATION, "never-there")
    doors.left("nobody--v1", "a")

    assert doors.open() == {APPLICATION: (endpoint("b"),)}


def test_only_news_is_news() -> None:
    doors = Doors(FakeClock())

    news = [doors.heard(APPLICATION, endpoint(port=port)) for port in (1, 1, 2)]

    assert news == [True, False, True]


def test_who_is_silent_is_forgotten() -> None:
    clock = FakeClock()
    doors = Doors(clock)
    doors.heard(APPLICATION, endpoint("a"))
    clock.advance(SILENT_S / 2)
    doors.heard(APPLICATION, endpoint("b"))

    clock.advance(SILENT_S / 2 + 1)

    assert doors.open() == {APPLICATION: (endpoint("b"),)}
    clock.advance(SILENT_S)
    assert doors.open() == {}


def test_a_new_controller_begins_with_the_table_it_finds() -> None:
    clock = FakeClock()
    doors = Doors(clock)
    doors.heard(APPLICATION, endpoint("a", port=2))
    route = make_route(endpoints=(endpoint("a", port=1), endpoint("b")))

    doors.restore(make_table(churn=(route,)))

    assert doors.open() == {APPLICATION: (endpoint("a", port=2), endpoint("b"))}
    clock.advance(SILENT_S + 1)
    assert doors.open() == {}
