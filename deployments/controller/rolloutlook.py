"""What the controller's observation says of one rollout: pure."""

from collections.abc import Callable, Mapping

from deployments.controller.decide import Observation, is_there, state_of
from deployments.rollout.measurements import Measurement
from deployments.rollout.seen import Answered, Checked, Seen, VersionSeen
from deployments.rollout.signals import Counts
from deployments.rollout.state import Rollout
from deployments.schema import CANARY_ALIAS, STABLE_ALIAS, ModelSpec, application_name
from deployments.telemetry import SECONDS
from deployments.traffic.table import RouteState


def seen_of(
    rollout: Rollout,
    observed: Observation,
    counts: Callable[[str, str], Counts],
    *,
    missing: frozenset[tuple[str, str]],
    told: Mapping[str, Answered],
    measured: Mapping[str, tuple[Measurement, ...]],
    checked: Checked | None = None,
    is_judged: Callable[[str, str], bool],
) -> Seen:
    """Pick out what a rollout goes by.

    Args:
        rollout: Which.
        observed: All that the controller sees.
        counts: Of a model and version.
        missing: Deleted versions, by model and version.
        told: What its webhooks said, by name.
        measured: New measurements of its rules.
        checked: What came of its present step's check.
        is_judged: Whether a version of a model was judged before; asked of another challenger.
    """
    model = rollout.model
    aliases = observed.registry.aliases.get(model, {})
    versions = (*rollout.versions, rollout.stable)
    challenger = aliases.get(CANARY_ALIAS)
    is_other = challenger not in {None, rollout.challenger, *versions}
    return Seen(
        now_s=observed.now_s,
        champion=aliases.get(STABLE_ALIAS),
        challenger=challenger,
        challenger_judged=is_other and is_judged(model, str(challenger)),
        versions={version: version_seen(observed, model, version) for version in versions},
        counts={version: counts(model, version) for version in versions},
        hosted=model in observed.specs,
        missing=frozenset(version for name, version in missing if name == model),
        told=told,
        measured=measured,
        checked=checked,
        edges=SECONDS,
    )


def version_seen(observed: Observation, model: str, version: str) -> VersionSeen:
    """How one version fares on this cluster."""
    spec = observed.specs.get(model)
    if spec is None:
        return VersionSeen(reason="the model is no longer hosted")
    state, reason = state_of(observed, observed.failures, model, version)
    application = observed.applications.get(application_name(model, version))
    there = is_there(observed, model, version)
    is_unhealthy = application is not None and application.status == "UNHEALTHY"
    message = application.message if application is not None else ""
    if spec.pool is not None:
        return VersionSeen(
            ready=state is RouteState.READY,
            reason=reason,
            failed=state is RouteState.UNAVAILABLE,
            replicas=int(there),
            down=not there,
        )
    return VersionSeen(
        ready=state is RouteState.READY and there,
        reason=reason or message,
        failed=state is RouteState.UNAVAILABLE,
        replicas=application.running_replicas if application is not None else 0,
        wanted=full_size(spec),
        down=is_unhealthy or not there,
    )


def full_size(spec: ModelSpec) -> int:
    """Replicas that a version of a model begins with."""
    scaling = spec.autoscaling_config
    if scaling is None:
        return spec.num_replicas or 1
    initial = scaling.initial_replicas
    return max(1, scaling.min_replicas if initial is None else initial)
