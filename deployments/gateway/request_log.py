"""A log line for requests that were answered, where the fleet is told to write them.

It says who answered and how it ended, never what was asked or answered: not even the text
of an error, which may quote a caller's value.
"""

import logging
from typing import Literal

from deployments.gateway.calls import Call
from tuning.tracecontext import TRACE_PARENT, parse_parent

logger = logging.getLogger(__name__)

MILLISECONDS = 1000.0


class RequestLog:
    """Writes them all, or those that failed."""

    def __init__(self, which: Literal["failed", "all"]) -> None:
        self._failed_only = which == "failed"

    @property
    def all(self) -> bool:
        """Whether answers that are as they should be are written, too."""
        return not self._failed_only

    def note(self, call: Call, code: str, seconds: float) -> None:
        """Write the line of a call that was answered.

        Args:
            call: The call, with what failed it.
            code: The HTTP status, or the name of gRPC's.
            seconds: From its last byte to its answer.
        """
        if self._failed_only and not call.error:
            return
        fields = {
            "model": call.model,
            "version": call.version,
            "track": call.track,
            "protocol": str(call.protocol),
            "code": code,
            "error": call.error,
            "origin": call.origin,
            "duration_ms": round(seconds * MILLISECONDS, 3),
            "request_id": call.logged_id.decode("latin-1"),
            "trace_id": _trace_id(call),
        }
        logger.log(
            _level(call.origin),
            "%s answered %s in %.1f ms, request %s",
            _named(call), code, fields["duration_ms"], fields["request_id"],
            extra={name: value for name, value in fields.items() if value != ""},
        )  # fmt: skip


def _named(call: Call) -> str:
    """Who answered; a request to no model, or to one that is not here, was nobody's."""
    if not call.version:
        return call.model or "no model"
    return f"{call.model} version {call.version} ({call.track})"


def _trace_id(call: Call) -> str:
    """The trace of a call, or that of its sender where it has none; empty without either."""
    if call.span is not None:
        return call.span.trace_id
    parent = parse_parent(call.header(TRACE_PARENT.encode()))
    return parent.trace_id if parent is not None else ""


def make_request_log(which: Literal["none", "failed", "all"]) -> RequestLog | None:
    """What writes these lines; None where none are to be written."""
    return None if which == "none" else RequestLog(which)


def _level(origin: str) -> int:
    """A caller's fault is nothing that an operator should look at."""
    return logging.WARNING if origin in {"version", "fleet"} else logging.INFO
