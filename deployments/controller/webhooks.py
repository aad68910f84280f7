"""Tell and ask others about a rollout, in Flagger's words: JSON is posted, and 2xx means yes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from deployments.controller.outbound import post, shown
from deployments.errors import DependencyError

DELIVERY = "X-Rayfleet-Delivery"
"""Names what is told, the same for every attempt, so that a receiver can leave out repeats."""

BACKOFF_S = 0.2
"""Wait before the second attempt, seconds; it doubles with each."""


class HookType(StrEnum):
    """When a webhook is called, and what its answer decides."""

    CONFIRM_ROLLOUT = "confirm-rollout"
    """Before a rollout begins; it waits for a yes."""

    PRE_ROLLOUT = "pre-rollout"
    """Before the first requests go to the version; a no aborts."""

    ROLLOUT = "rollout"
    """At each analysis; a no is a failed measurement."""

    CONFIRM_PROMOTION = "confirm-promotion"
    """Before the promotion, which waits for a yes."""

    POST_ROLLOUT = "post-rollout"
    """After the end, whichever; the answer decides nothing."""

    ROLLBACK = "rollback"
    """At each look while a rollout is on its way; a yes rolls it back."""

    EVENT = "event"
    """With each event; the answer decides nothing."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Whom to call, and how."""

    name: str
    type: HookType
    url: str

    timeout_s: float = 5.0
    """Longest time for an attempt, seconds."""

    retries: int = 2
    """More attempts where there is no answer, or one that says that the receiver is broken."""

    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Goes along as it is."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a call."""

    yes: bool

    answered: bool
    """Whether a no was said, and not only nothing heard."""

    reason: str
    """One line: what was answered, or why nothing was."""


def payload(
    hook: Webhook,
    *,
    model: str,
    phase: str,
    checksum: str,
    metadata: Mapping[str, Any],
) -> dict[str, Any]:
    """What Flagger's receivers expect.

    Args:
        hook: Who is told; its own metadata goes along.
        model: Stands where Flagger names its canary.
        phase: Of the rollout.
        checksum: Changes with what is rolled out.
        metadata: What more there is to say; wins over the hook's own.
    """
    return {
        "name": model,
        "namespace": "rayfleet",
        "phase": phase,
        "checksum": checksum,
        "type": hook.type.value,
        "metadata": {**hook.metadata, **metadata},
    }


def call(
    hook: Webhook,
    message: Mapping[str, Any],
    delivery: str,
    sleep: Callable[[float], None] = time.sleep,
) -> Told:
    """Post a message, once more if nobody answers; blocks.

    Args:
        hook: To whom.
        message: What, such as `payload` makes it.
        delivery: Names this message, so that a receiver can leave out what it had.
        sleep: Waits between attempts.
    """
    body = orjson.dumps(message, default=str, option=orjson.OPT_NON_STR_KEYS)
    headers = {"Content-Type": "application/json", DELIVERY: delivery, **hook.headers}
    told = Told(yes=False, answered=False, reason="was not called")
    for attempt in range(1 + hook.retries):
        if attempt:
            sleep(BACKOFF_S * 2 ** (attempt - 1))
        told = _attempt(hook, body, headers)
        if told.answered:
            break
    return told


def _attempt(hook: Webhook, body: bytes, headers: Mapping[str, str]) -> Told:
    what = f"webhook {hook.name!r}"
    try:
        status, answer = post(what, hook.url, body, headers, hook.timeout_s)
    except DependencyError as error:
        return Told(yes=False, answered=False, reason=str(error))
    words = f": {shown(answer)}" if answer.strip() else ""
    reason = f"{what} answered {status}{words}"
    return Told(yes=200 <= status < 300, answered=status < 500, reason=reason)
