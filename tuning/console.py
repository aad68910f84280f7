"""Where a sweep's command says what it does: lines for people, or an object a line for machines."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuning.errors import ConfigError

LOG_FORMAT_VARIABLE = "RAYFLEET_LOG_FORMAT"

FORMATS = ("text", "json")

MILLISECOND_NS, SECOND_NS = 10**6, 10**9


class SweepConsole(Console):
    """Outlives its reader: whoever pipes into `head` has seen enough, the sweep goes on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, **options)

    def on_broken_pipe(self) -> None:
        """Write nowhere from now on."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

    def name(self, **fields: Any) -> None:
        """Give every line from now on these fields, where lines have fields."""

    @contextmanager
    def about(self, level: int = logging.INFO, **fields: Any) -> Iterator[None]:
        """Give the lines of a block a level and further fields, where lines have them."""
        yield

    def fail(self, why: str) -> None:
        """Say why the command ends without what it was asked for."""
        print(why, file=sys.stderr)


class JsonConsole(SweepConsole):
    """Writes each line as an object with the fields that the fleet's lines have, and its own."""

    def __init__(self, clock: Callable[[], int] = time.time_ns, **options: Any) -> None:
        """Begin.

        Args:
            clock: Unix time in nanoseconds.
            options: Of Rich's console.
        """
        # Never a terminal: what moves there is no line.
        super().__init__(force_terminal=False, **options)
        self._clock = clock
        self._level = logging.INFO
        self._fields: dict[str, Any] = {"component_name": "sweep", "process": os.getpid()}

    def name(self, **fields: Any) -> None:
        """See `SweepConsole.name`; fields without a value are left out."""
        self._fields = _given({**self._fields, **fields})

    @contextmanager
    def about(self, level: int = logging.INFO, **fields: Any) -> Iterator[None]:
        """See `SweepConsole.about`."""
        before = self._level, self._fields
        self._level, self._fields = level, _given({**self._fields, **fields})
        try:
            yield
        finally:
            self._level, self._fields = before

    def print(self, *objects: Any, **_: Any) -> None:
        """Write one line, whatever it would have looked like."""
        self._write(" ".join(map(_plain, objects)))

    def fail(self, why: str) -> None:
        """See `SweepConsole.fail`."""
        with self.about(logging.ERROR):
            self._write(why)

    def _write(self, message: str) -> None:
        now_ns = self._clock()
        seconds, rest_ns = divmod(now_ns, SECOND_NS)
        day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
        line = {
            "asctime": f"{day},{rest_ns // MILLISECOND_NS:03}",
            "levelname": logging.getLevelName(self._level),
            "message": message.strip(),
            **self._fields,
            "timestamp_ns": now_ns,
        }
        super().print(Text(json.dumps(line, default=str)), soft_wrap=True)


def make_console(log_format: str) -> SweepConsole:
    """The console that writes in one of `FORMATS`."""
    return JsonConsole() if log_format == "json" else SweepConsole()


def default_log_format() -> str:
    """What the environment says; text where it says nothing.

    Raises:
        ConfigError: It says something else.
    """
    found = os.environ.get(LOG_FORMAT_VARIABLE) or FORMATS[0]
    if found not in FORMATS:
        raise ConfigError(f"{LOG_FORMAT_VARIABLE}: {found!r}, allowed: {', '.join(FORMATS)}")
    return found


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in {None, ""}}


def _plain(what: Any) -> str:
    if not isinstance(what, Table):
        return what.plain if isinstance(what, Text) else str(what)
    names, values = (list(column.cells) for column in what.columns)
    rows = zip(names, values, strict=True)
    return "; ".join(f"{name}: {str(value).replace(chr(10), ', ')}" for name, value in rows)
