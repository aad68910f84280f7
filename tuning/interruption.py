"""Ctrl-C and SIGTERM: raised as KeyboardInterrupt, and remembered where the exception is lost.

Python drops an exception that a signal raises in a destructor or in a callback of C code. A sweep
that was told to stop would go on, or wait for ever.
"""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_asked = threading.Event()


def listen() -> None:
    """Raise KeyboardInterrupt for both signals from here on; for the main thread of a program."""
    _asked.clear()
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(*_: Any) -> NoReturn:
    _asked.set()
    raise KeyboardInterrupt


@contextmanager
def as_event() -> Iterator[threading.Event]:
    """Turn both signals into an event: Tune must not be left half way by an exception.

    The event is set from the start where a signal came before and its exception was lost.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before: Mapping[int, Any] = {
        number: signal.signal(number, lambda *_: event.set()) for number in SIGNALS
    }
    if _asked.is_set():
        event.set()
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
