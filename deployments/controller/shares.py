"""What a rollout asks of the routing table: pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deployments.rollout.aftermath import kept_by
from deployments.rollout.state import Phase, Rollout
from deployments.rollout.strategies import SHADOW
from deployments.schema import application_name
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
class Asked:
    """What the rollouts of one model ask for."""

    shares: tuple[Share, ...] = ()
    """Of an active one, stable last; weights sum to 100. Nothing where there is none."""

    kept: tuple[str, ...] = ()
    """Versions that stay warm after their successors were promoted."""

    since_s: float = 0.0
    """When the active one began, Unix time: failures to load its versions before count no more."""


NOTHING_ASKED = Asked()


def shares_of(rollout: Rollout) -> tuple[Share, ...]:
    """What an active rollout asks for; nothing once it has ended."""
    if rollout.phase.is_final:
        return ()
    if rollout.phase is Phase.PROMOTING:
        return (
            Share(rollout.stable, Track.PREVIOUS, 0),
            Share(rollout.version, Track.STABLE, WHOLE),
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
    return (*trial, Share(rollout.stable, Track.STABLE, rest))


def asked_by(rollouts: Iterable[Rollout]) -> dict[str, Asked]:
    """What all rollouts together ask for, by model."""
    asked: dict[str, Asked] = {}
    for rollout in rollouts:
        before = asked.get(rollout.model, NOTHING_ASKED)
        kept = kept_by(rollout)
        shares = shares_of(rollout)
        asked[rollout.model] = Asked(
            shares or before.shares,
            before.kept if kept is None else (*before.kept, kept),
            rollout.started_at_s if shares else before.since_s,
        )
    return {model: each for model, each in asked.items() if each != NOTHING_ASKED}


def trials_since_s(asked: Mapping[str, Asked]) -> dict[str, float]:
    """When versions on trial began to be tried, Unix time, by application."""
    return {
        application_name(model, share.version): each.since_s
        for model, each in asked.items()
        for share in each.shares
        if share.track is not Track.STABLE
    }


def versions_of(rollouts: Iterable[Rollout]) -> set[tuple[str, str]]:
    """Every version that rollouts are about, by model and version."""
    return {
        (rollout.model, version)
        for rollout in rollouts
        for version in (*rollout.versions, rollout.stable)
    }
