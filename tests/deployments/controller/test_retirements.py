from deployments.controller.retirements import LIVE_S, Retirements
from tests.fakes import FakeClock, make_route, make_table

GONE = make_table(revision=7)
ROUTED = make_table(churn=(make_route(),))
NAME = make_route().application


def known(clock: FakeClock) -> Retirements:
    """Of a controller that has run for long enough to know the gateways."""
    retirements = Retirements(clock)
    clock.advance(LIVE_S)
    return retirements


def test_an_application_is_retired_once_every_gateway_knows() -> None:
    clock = FakeClock()
    retirements = known(clock)
    retirements.acknowledged("a", 7)
    retirements.acknowledged("b", 6)

    retirements.note([NAME], GONE)
    assert retirements.retired_at_s == {}

    clock.advance(1)
    retirements.acknowledged("b", 7)
    retirements.note([NAME], GONE)
    clock.advance(1)
    retirements.note([NAME], GONE)

    assert retirements.retired_at_s == {NAME: clock.now_s - 1}


def test_all_have_a_table_once_the_last_live_gateway_has() -> None:
    clock = FakeClock()
    retirements = known(clock)
    retirements.acknowledged("gone", 5)
    clock.advance(LIVE_S)
    retirements.acknowledged("a", 7)
    retirements.acknowledged("b", 6)
    assert not retirements.all_have(7)

    retirements.acknowledged("b", 8)

    assert retirements.all_have(7)


def test_a_gateway_that_is_gone_holds_nothing_up() -> None:
    clock = FakeClock()
    retirements = known(clock)
    retirements.acknowledged("gone", 6)
    clock.advance(LIVE_S - 1)
    retirements.note([NAME], GONE)
    assert retirements.retired_at_s == {}

    clock.advance(1)
    retirements.note([NAME], GONE)

    assert list(retirements.retired_at_s) == [NAME]


def test_a_new_controller_waits_until_gateways_had_time_to_speak() -> None:
    clock = FakeClock()
    retirements = Retirements(clock)
    clock.advance(LIVE_S - 1)
    retirements.note([NAME], GONE)
    assert retirements.retired_at_s == {}

    clock.advance(1)
    retirements.note([NAME], GONE)

    assert list(retirements.retired_at_s) == [NAME]


def test_what_is_routed_again_or_gone_is_retired_no_longer() -> None:
    clock = FakeClock()
    retirements = known(clock)
    retirements.note([NAME, "other--v1"], GONE)

    retirements.note([NAME], ROUTED)

    assert retirements.retired_at_s == {}
