"""What a rollout asks of the routing table: pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from deployments.rollout.state import Phase, Rollout
from deployments.rollout.strategies import SHADOW
from deployments.traffic.table import Track

WHOLE = 100

ARMS = (
    Track.ARM_1, Track.ARM_2, Track.ARM_3, Track.ARM_4,
    Track.ARM_5, Track.ARM_6, Track.ARM_7, Track.ARM_8,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Share:
    """What one version is to do."""

    version: str
    track: Track
    weight: int
    """Percent of requests; at 0 it is hosted all the same."""

    mirror: int = 0
    """Percent of stable's requests that it gets, too, its answers unseen."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What all versions of a model are to do, while a rollout is on its way."""

    shares: tuple[Share, ...]
    """Stable last; weights sum to 100."""

    @property
    def stable(self) -> str:
        """The version that answers by default."""
        return self.shares[-1].version


def traffic_of(rollout: Rollout) -> Traffic | None:
    """The traffic that an active rollout asks for; None once it has ended."""
    if rollout.phase.is_final:
        return None
    if rollout.phase is Phase.PROMOTING:
        return Traffic(
            (
                Share(rollout.stable, Track.PREVIOUS, 0),
                Share(rollout.version, Track.STABLE, WHOLE),
            )
        )
    if rollout.arms:
        weights = [arm.weight if rollout.begun else 0 for arm in rollout.arms]
        trial = tuple(
            Share(arm.version, ARMS[index], weights[index])
            for index, arm in enumerate(rollout.arms)
        )
    else:
        unseen = rollout.plan.strategy == SHADOW or (rollout.mirror and not rollout.weight)
        track = Track.SHADOW if unseen else Track.CANARY
        trial = (Share(rollout.version, track, rollout.weight, rollout.mirror),)
    rest = WHOLE - sum(share.weight for share in trial)
    return Traffic((*trial, Share(rollout.stable, Track.STABLE, rest)))


def all_traffic(rollouts: Iterable[Rollout]) -> dict[str, Traffic]:
    """Traffic by model, of those that have an active rollout."""
    found = {rollout.model: traffic_of(rollout) for rollout in rollouts}
    return {model: traffic for model, traffic in found.items() if traffic is not None}
