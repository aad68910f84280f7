"""Calls that nobody waits for: one of a name at a time, and again after a while."""

import threading
from collections.abc import Iterator

import pytest

from deployments.controller.errands import MOST_RETRY_S, RETRY_S, Errands, Finished
from tests.fakes import FakeClock

WITHIN_S = 30.0


class Office:
    def __init__(self) -> None:
        self.clock = FakeClock(0.0)
        self.woken = threading.Semaphore(0)
        self.errands = Errands(self.woken.release, self.clock)
        self.ran = 0

    def succeed(self) -> int:
        self.ran += 1
        return self.ran

    def fail(self) -> None:
        self.ran += 1
        raise ConnectionError("no route to host")

    def wait(self) -> list[Finished]:
        assert self.woken.acquire(timeout=WITHIN_S)
        return self.errands.finished()


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.errands.close()


def test_what_was_run_is_told_once_and_may_run_again_after_a_while(office: Office) -> None:
    office.errands.begin("a", office.succeed, again_after_s=5.0)
    assert office.wait() == [Finished("a", 1)]
    assert office.errands.finished() == []

    office.errands.begin("a", office.succeed, again_after_s=5.0)
    office.clock.advance(5.0)
    office.errands.begin("a", office.succeed, again_after_s=5.0)
    assert office.wait() == [Finished("a", 2)]


def test_one_of_a_name_at_a_time(office: Office) -> None:
    release = threading.Event()
    office.errands.begin("a", release.wait)
    office.errands.begin("a", office.succeed)
    office.errands.begin("b", office.succeed)

    assert office.wait() == [Finished("b", 1)]
    release.set()
    assert office.wait() == [Finished("a", True)]
    assert office.ran == 1


def test_what_fails_is_tried_again_later_and_later(office: Office) -> None:
    for wait_s in (RETRY_S, 2 * RETRY_S, 4 * RETRY_S):
        office.errands.begin("a", office.fail)
        assert office.wait() == []
        office.clock.advance(wait_s - 0.1)
        office.errands.begin("a", office.fail)  # too early: nothing is run
        office.clock.advance(0.1)
    assert office.ran == 3

    for _ in range(9):
        office.errands.begin("a", office.fail)
        assert office.wait() == []
        office.clock.advance(MOST_RETRY_S)
    assert office.ran == 12

    office.errands.begin("a", office.succeed)
    assert office.wait() == [Finished("a", 13)]
    office.errands.begin("a", office.fail)
    assert office.wait() == []
    office.clock.advance(RETRY_S)
    office.errands.begin("a", office.succeed)
    assert office.wait() == [Finished("a", 15)]
