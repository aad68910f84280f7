"""Signals to a sweep, sent to this process."""

import os
import signal
from collections.abc import Iterator

import pytest

from tuning.interruption import SIGNALS, as_event, listen


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    listen()
    yield
    listen()  # forgets what this test has sent
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_an_exception_before_the_trials_and_an_event_among_them(number: int) -> None:
    with as_event() as interrupted:
        assert not interrupted.is_set()
        os.kill(os.getpid(), number)
        assert interrupted.is_set()

    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_whose_exception_was_lost_is_heard_nevertheless() -> None:
    class Torn:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)  # its exception cannot leave a destructor

    torn = Torn()
    del torn

    with as_event() as interrupted:
        assert interrupted.is_set()
