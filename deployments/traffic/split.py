"""Choose a version by hashing the routing key: sticky, without dice and without state."""

from collections.abc import Sequence
from hashlib import blake2b

from deployments.traffic.table import Route

BUCKETS = 10_000
"""Resolution of the split: a hundredth of a percent."""

MIRROR = "\0mirror"
"""Salt: no model's name has it."""


def choose(model: str, routes: Sequence[Route], key: str) -> Route | None:
    """Pick the route whose share of the buckets holds the key.

    Shares are laid out in the order of `routes`, canaries before stable, so raising a
    canary's weight moves keys from stable to the canary and none the other way.

    Args:
        model: Salt, so that a key's fate in one model says nothing about another.
        routes: Weights sum to 100, or to 0 when nothing is ready.
        key: Routing key of the request.

    Returns:
        The chosen route, or None when no route has any weight.
    """
    weighted = [route for route in routes if route.weight > 0]
    if len(weighted) <= 1:
        return weighted[0] if weighted else None

    position = bucket(model, key)
    edge = 0
    for route in weighted:
        edge += route.weight * BUCKETS // 100
        if position < edge:
            return route
    return weighted[-1]


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
