"""Routing keys that stand for all others, and who answers them."""

from collections.abc import Sequence

from deployments.traffic.split import BUCKETS, bucket, choose
from deployments.traffic.table import Route


def one_per_percent(model: str) -> tuple[str, ...]:
    """A key for each of the hundred shares that weights, being whole percents, can tell apart."""
    keys = {bucket(model, str(number)) * 100 // BUCKETS: str(number) for number in range(2_000)}
    return tuple(keys[percent] for percent in range(100))


KEYS = one_per_percent("m")


def owners(routes: Sequence[Route]) -> list[str]:
    """The version that answers each of `KEYS` of model `m`."""
    return [route.version for key in KEYS if (route := choose("m", routes, key)) is not None]


def moves(before: Sequence[str], after: Sequence[str]) -> set[tuple[str, str]]:
    """From which versions keys moved to which."""
    return {pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]}
