"""Choose a version by hashing the routing key: sticky, without dice and without state."""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

from deployments.traffic.table import Route

BUCKETS = 10_000
"""Resolution of the split: a hundredth of a percent."""

WHOLE = 100

MIRROR = "\0mirror"
"""Salt: no model's name has it."""


def choose(model: str, routes: Sequence[Route], key: str) -> Route | None:
    """Pick the route whose range of the buckets holds the key.

    A range has its place by `Route.start`, whichever other routes have any weight now; what no
    canary takes is stable's. So a canary that gains or loses its weight trades keys with
    stable alone.

    Args:
        model: Salt, so that a key's fate in one model says nothing about another.
        routes: Weights sum to 100, or to 0 when nothing is ready; stable is last.
        key: Routing key of the request.

    Returns:
        The chosen route, or None when no route has any weight.
    """
    weighted = [route for route in routes if route.weight > 0]
    if len(weighted) <= 1:
        return weighted[0] if weighted else None

    position = bucket(model, key) * WHOLE // BUCKETS
    edge = 0
    for route in weighted:
        start = route.start
        if start is None:
            start = edge
        edge = start + route.weight
        if start <= position < edge:
            return route
    return weighted[-1]


def lay_out(weights: Sequence[int]) -> list[int]:
    """Find where the range of each canary begins, so that it can stay there.

    Two canaries share a part of the whole: one grows up from its beginning, the other down from
    its end, and stable has what is between. So neither is in the other's way when its weight
    changes. Where two do not fit into their part, which takes three or more of unequal weights,
    ranges stand one after the other, and stay for as long as nobody asks for other weights.

    Args:
        weights: Percent that each is to have once ready, at most 100 together; 0 keeps its place.

    Returns:
        Percent, one for each.
    """
    parts = (len(weights) + 1) // 2
    starts: list[int] = []
    for part in range(parts):
        low, high = WHOLE * part // parts, WHOLE * (part + 1) // parts
        pair = weights[2 * part : 2 * part + 2]
        if sum(pair) > high - low:
            return list(accumulate(weights[:-1], initial=0))
        starts += (low, high - pair[-1])[: len(pair)]
    return starts


def is_mirrored(model: str, percent: int, key: str) -> bool:
    """Whether a request to stable is also sent to a version that mirrors so many percent.

    Keys that one version of a model mirrors are mirrored by all with a larger share; which
    version answers them says nothing about it.
    """
    return percent >= 100 or bucket(f"{model}{MIRROR}", key) < percent * BUCKETS // 100


def bucket(model: str, key: str) -> int:
    """Place a key in one of `BUCKETS` equal shares, evenly and the same on every gateway."""
    digest = blake2b(f"{model}\0{key}".encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % BUCKETS
