"""W3C Trace Context, level 1: what a caller says of the trace that it is in.

Source: https://www.w3.org/TR/trace-context-1/
"""

import re

import msgspec

TRACE_PARENT, TRACE_STATE = "traceparent", "tracestate"

PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
"""Version, trace, parent, flags; a version to come may say more."""

SAMPLED = 0x01

FORBIDDEN_VERSION = "ff"
KNOWN_VERSION = "00"

MAX_STATE = 512
"""Characters of a `tracestate` that are passed on; a longer one is left out as a whole."""


class Parent(msgspec.Struct, frozen=True):
    """A span in another process."""

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""

    @property
    def header(self) -> str:
        """As a `traceparent`."""
        flags = SAMPLED if self.is_sampled else 0
        return f"{KNOWN_VERSION}-{self.trace_id}-{self.span_id}-{flags:02x}"


def parse_parent(header: str | None, state: str | None = None) -> Parent | None:
    """Read a `traceparent`, and the `tracestate` beside it; None where there is no valid one."""
    found = PARENT.fullmatch(header) if header is not None else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    is_known = version == KNOWN_VERSION and more is None
    if not (is_known or FORBIDDEN_VERSION > version > KNOWN_VERSION):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    kept = state if state is not None and len(state) <= MAX_STATE else ""
    return Parent(trace_id, span_id, bool(int(flags, 16) & SAMPLED), kept)
