"""What the controller's observation says of one rollout: pure."""

from collections.abc import Callable

from deployments.controller.decide import Observation, failure_of, is_there, state_of
from deployments.rollout.seen import Heard, Seen, VersionSeen
from deployments.rollout.signals import Counts
from deployments.rollout.state import Rollout
from deployments.schema import CANARY_ALIAS, STABLE_ALIAS, ModelSpec, application_name
from deployments.telemetry import SECONDS
from deployments.traffic.table import RouteState


def seen_of(
    rollout: Rollout,
    observed: Observation,
    counts: Callable[[str, str], Counts],
    heard: Heard,
    *,
    is_judged: Callable[[str, str], bool],
    known_since_s: float = 0.0,
) -> Seen:
    """Pick out what a rollout goes by.

    Args:
        rollout: Which.
        observed: All that the controller sees.
        counts: Of a model and version.
        heard: What others say of it.
        is_judged: Whether a version of a model was judged before; asked of another challenger.
        known_since_s: When it was first read here, on the clock of the registry's view: a view
            from before says nothing of it, and the aliases are taken to be as it began with.
    """
    model = rollout.model
    aliases = observed.registry.aliases.get(model, {})
    registered = model in observed.registry.aliases
    if observed.registry.asked_at_s < known_since_s:
        registered = True
        aliases = {STABLE_ALIAS: rollout.stable}
        if rollout.challenger is not None:
            aliases[CANARY_ALIAS] = rollout.challenger
    versions = (*rollout.versions, rollout.stable)
    challenger = aliases.get(CANARY_ALIAS)
    is_other = challenger not in {None, rollout.challenger, *versions}
    return Seen(
        now_s=observed.now_s,
        champion=aliases.get(STABLE_ALIAS),
        challenger=challenger,
        challenger_judged=is_other and is_judged(model, str(challenger)),
        versions={
            version: version_seen(observed, model, version, rollout.started_at_s)
            for version in versions
        },
        counts={version: counts(model, version) for version in versions},
        hosted=model in observed.specs,
        registered=registered,
        missing=frozenset(version for name, version in heard.missing if name == model),
        told=heard.told,
        measured=heard.measured,
        checked=heard.checked,
        edges=SECONDS,
    )


def version_seen(observed: Observation, model: str, version: str, since_s: float) -> VersionSeen:
    """How one version fares on this cluster.

    Args:
        observed: All that the controller sees.
        model: Its name.
        version: Which.
        since_s: When its rollout began, Unix time: it may have failed to load before.
    """
    spec = observed.specs.get(model)
    if spec is None:
        return VersionSeen(reason="the model is no longer hosted")
    state, reason = state_of(observed, observed.failures, model, version)
    application = observed.applications.get(application_name(model, version))
    there = is_there(observed, model, version)
    failure = failure_of(observed, model, version)
    failed = (
        state is RouteState.UNAVAILABLE and failure is not None and failure.failed_at_s >= since_s
    )
    message = application.message if application is not None else ""
    if spec.pool is not None:
        return VersionSeen(
            ready=state is RouteState.READY,
            reason=reason,
            failed=failed,
            replicas=int(there),
            down=not there,
        )
    return VersionSeen(
        ready=state is RouteState.READY and there,
        reason=reason or message,
        failed=failed,
        replicas=application.running_replicas if application is not None else 0,
        wanted=full_size(spec),
        down=not there,
    )


def full_size(spec: ModelSpec) -> int:
    """Replicas that a version of a model begins with."""
    scaling = spec.autoscaling_config
    if scaling is None:
        return spec.num_replicas or 1
    initial = scaling.initial_replicas
    return max(1, scaling.min_replicas if initial is None else initial)
