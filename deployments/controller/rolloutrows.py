"""Rollouts as rows of the fleet store, and back: pure."""

import logging
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from deployments.rollout.aftermath import is_settled
from deployments.rollout.state import (
    Advanced,
    Event,
    Rollout,
    decode_rollout,
    encode_rollout,
)
from deployments.store.rollouts import EventRow, RolloutRow

logger = logging.getLogger(__name__)


def row_of(rollout: Rollout, revision: int = 0) -> RolloutRow:
    """Write a rollout down.

    Args:
        rollout: Which.
        revision: Of the row that it was read from.
    """
    return RolloutRow(
        id=rollout.id,
        model=rollout.model,
        version=rollout.version,
        strategy=rollout.plan.strategy,
        phase=rollout.phase.value,
        active=not rollout.phase.is_final,
        settled=is_settled(rollout),
        revision=revision,
        body=encode_rollout(rollout),
        started_at_s=rollout.started_at_s,
        ended_at_s=rollout.ended_at_s,
    )


def event_rows(advanced: Advanced, at_s: float) -> list[EventRow]:
    """Write down what happened."""
    return [_event_row(advanced.rollout, event, at_s) for event in advanced.events]


def event_of(row: EventRow) -> Event:
    """Read an event, without its numbers."""
    return Event(row.kind, row.before, row.after, row.reason, row.actor)


def rollout_of(row: RolloutRow) -> Rollout | None:
    """Read a rollout; None where another release wrote what this one cannot read."""
    try:
        return decode_rollout(row.body)
    except msgspec.DecodeError as error:
        _warn_once(row.id, str(error))
        return None


@lru_cache(maxsize=1000)
def _warn_once(rollout: str, error: str) -> None:
    """Rows are read at every tick."""
    logger.warning("rollout %s is of another release: %s", rollout, error)


def readable(rows: Iterable[RolloutRow]) -> list[Rollout]:
    """Read those that this release can read."""
    read = map(rollout_of, rows)
    return [rollout for rollout in read if rollout is not None]


def _event_row(rollout: Rollout, event: Event, at_s: float) -> EventRow:
    return EventRow(
        rollout=rollout.id,
        model=rollout.model,
        at_s=at_s,
        actor=event.actor,
        kind=event.kind,
        before=event.before,
        after=event.after,
        reason=event.reason,
        numbers=msgspec.json.encode(event.numbers),
    )
