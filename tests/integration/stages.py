"""What requests show of the weights of a rollout: pure."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.integration.load import Asked

LOOKS = 2
"""Least number of looks at each routing key in a stage."""


@dataclass(frozen=True, slots=True)
class Stage:
    """While every gateway acted on the same weights. Times are seconds since the load began."""

    weights: Mapping[str, int]
    """Percent by version."""

    began_s: float
    ended_s: float

    def holds(self, asked: Asked) -> bool:
        """Whether a request was sent in it."""
        return self.began_s <= asked.at_s < self.ended_s


def counted(asked: Iterable[Asked], stage: Stage) -> Counter[str]:
    """Requests of a stage without a routing key, by the version that they came to."""
    return Counter(each.version for each in asked if stage.holds(each) and not each.key)


def flips(
    asked: Iterable[Asked], stages: Sequence[Stage], moves: Iterable[tuple[str, str]]
) -> list[str]:
    """What routing keys did that they must not.

    In a stage, each has one version. From one stage to the next it keeps it, or moves in a way
    that is allowed; between the two it has the version of either.

    Args:
        asked: All requests.
        stages: In their order.
        moves: From which version to which one may move.
    """
    by_key: dict[str, list[Asked]] = {}
    for each in asked:
        if each.key:
            by_key.setdefault(each.key, []).append(each)
    found = [] if by_key else ["nobody asked with a routing key"]
    for key, own in by_key.items():
        placed = [[each.version for each in own if stage.holds(each)] for stage in stages]
        found += [
            f"{key} had {versions} at {stage.weights}"
            for stage, versions in zip(stages, placed, strict=True)
            if len(set(versions)) != 1 or len(versions) < LOOKS
        ]
        for (before, old), (after, new) in itertools.pairwise(zip(stages, placed, strict=True)):
            pairs = {(one, other) for one in old for other in new if one != other}
            if not pairs <= set(moves):
                found.append(f"{key} moved by {pairs} from {before.weights} to {after.weights}")
            between = {e.version for e in own if before.ended_s <= e.at_s < after.began_s}
            if not between <= {*old, *new}:
                found.append(f"{key} had {between} between {set(old)} and {set(new)}")
    return found
