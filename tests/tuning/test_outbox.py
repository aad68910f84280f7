import sqlite3
import threading
from collections.abc import Iterator
from functools import partial

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from tuning.errors import TrackingError
from tuning.outbox import Outbox

GIVE_UP_S = 0.3


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    outbox = Outbox("http://mlflow", give_up_s=GIVE_UP_S)
    yield outbox
    if outbox.open:
        outbox.close()


class Service:
    """Refuses a number of writes before it takes any."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.taken: list[str] = []

    def write(self, what: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError(f"away, said {what}\nat length")
        self.taken.append(what)


def test_notes_arrive_in_order_and_wait_for_the_start(outbox: Outbox) -> None:
    service = Service()
    for what in "abc":
        outbox.put(partial(service.write, what))
    assert service.taken == []

    outbox.start()
    outbox.flush()

    assert service.taken == ["a", "b", "c"]
    assert not outbox.in_doubt


def test_a_refused_note_is_written_before_the_next(outbox: Outbox) -> None:
    service = Service(refusals=1)
    doubts: list[bool] = []
    outbox.in_doubt = False

    def write(what: str) -> None:
        doubts.append(outbox.in_doubt)
        service.write(what)

    outbox.put(partial(write, "a"))
    outbox.put(partial(write, "b"))

    outbox.start()
    outbox.flush()

    assert service.taken == ["a", "b"]
    assert doubts == [False, True, False]


def test_a_full_disk_is_said_without_the_stories_around_it() -> None:
    outbox = Outbox("sqlite:////mlflow.db", give_up_s=0.05)

    def write() -> None:
        said = sqlite3.OperationalError("database or disk is full")
        inner = OperationalError("(raised as a result of Query-invoked autoflush)", {}, said)
        raise MlflowException("(raised as a result of ...)") from inner

    outbox.put(write)
    outbox.start()

    for wait in (outbox.flush, outbox.close):
        with pytest.raises(TrackingError, match=r"took nothing .* s: database or disk is full;"):
            wait()


def test_a_service_that_stays_away_ends_the_wait_with_one_line(outbox: Outbox) -> None:
    service = Service(refusals=1_000)
    outbox.put(partial(service.write, "a"))
    outbox.put(partial(service.write, "b"))
    outbox.start()

    with pytest.raises(TrackingError) as refused:
        outbox.flush()

    assert str(refused.value) == (
        "MLflow at http://mlflow took nothing for 0.3 s: away, said a;"
        " the same command writes what it missed"
    )
    # What came after the lost note must not overtake it, be the service back or not.
    service.refusals = 0
    with pytest.raises(TrackingError):
        outbox.close()
    assert (service.taken, outbox.open) == ([], False)


def test_a_note_that_will_never_be_taken_holds_up_no_other() -> None:
    service = Service()
    outbox = Outbox("http://mlflow", refuses=lambda error: isinstance(error, ValueError))

    def odd() -> None:
        raise ValueError("no such name: 'acc@1'\nallowed: ...")

    outbox.put(odd)
    outbox.put(partial(service.write, "b"))
    outbox.start()

    with pytest.raises(TrackingError) as refused:
        outbox.close()

    assert str(refused.value) == "MLflow at http://mlflow will not store: no such name: 'acc@1'"
    assert service.taken == ["b"]


def test_flushing_what_never_started_is_nothing(outbox: Outbox) -> None:
    outbox.put(lambda: None)

    outbox.flush()
    outbox.close()


def test_closing_ends_the_thread(outbox: Outbox) -> None:
    before = threading.active_count()
    outbox.start()

    outbox.close()

    assert (outbox.open, threading.active_count()) == (False, before)
