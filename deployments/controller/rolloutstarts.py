"""What a request for a rollout comes to: pure."""

from collections.abc import Mapping, Sequence

from deployments.controller.rolloutviews import StartRequest
from deployments.errors import ConflictError, MalformedRequestError, NotFoundError
from deployments.rollout.state import Phase, Rollout
from deployments.rollout.strategies import AB, faults
from deployments.rolloutspec import RolloutSpec, idle_settings
from deployments.schema import CANARY_ALIAS
from tuning.configfile import meant
from tuning.errors import ConfigError


def settings_for(
    request: StartRequest, own: RolloutSpec | None, templates: Mapping[str, RolloutSpec]
) -> RolloutSpec:
    """Choose the settings: the request's, or the model's own, or the defaults.

    Raises:
        MalformedRequestError: A line for each fault.
        NotFoundError: No such template.
    """
    settings = _settings(request, own, templates)
    if request.versions is None:
        return settings
    if request.rollout is None and settings.strategy != AB:
        # Arms say what is meant; what the model's versions are judged by stands, but for rules
        # that are about one version.
        rules = [rule for rule in settings.analysis.rules if rule.signal is None]
        analysis = settings.analysis.model_copy(update={"rules": rules})
        return RolloutSpec(strategy="ab", analysis=analysis, webhooks=settings.webhooks)
    if settings.strategy != AB:
        raise MalformedRequestError(
            f"versions: arms are for the strategy 'ab', not {settings.strategy!r}"
        )
    return settings


def first_of(
    request: StartRequest, model: str, aliases: Mapping[str, str], stable: str
) -> list[str]:
    """The versions that are to be tried.

    Raises:
        MalformedRequestError: One stands twice, or both ways to name them were used.
        NotFoundError: None is named, and the alias `challenger` names none.
        ConflictError: One is the champion.
    """
    if request.version is not None and request.versions is not None:
        raise MalformedRequestError("version, versions: give one of them")
    versions = list(request.versions or filter(None, [request.version]))
    if not versions and (challenger := aliases.get(CANARY_ALIAS)) is not None:
        versions = [challenger]
    if not versions:
        raise NotFoundError(
            f"model {model!r} has no version with the alias {CANARY_ALIAS}: name a version"
        )
    if len(set(versions)) < len(versions):
        raise MalformedRequestError(f"versions: {versions}: one stands twice")
    if stable in versions:
        raise ConflictError(f"model {model!r}: version {stable} is the champion already")
    return versions


def back_to(version: str | None, model: str, stable: str, history: Sequence[Rollout]) -> str:
    """The version that a rollback brings back.

    Args:
        version: What was asked for; None for what was before the champion.
        model: Its model.
        stable: The champion.
        history: The model's rollouts, newest first.

    Raises:
        ConflictError: It is the champion.
        NotFoundError: Nothing came before.
    """
    if version == stable:
        raise ConflictError(f"model {model!r}: version {stable} is the champion already")
    if version is not None:
        return version
    for rollout in history:
        promoted = rollout.phase is Phase.SUCCESSFUL and rollout.plan.promotes
        if promoted and rollout.version == stable:
            return rollout.stable
    raise NotFoundError(
        f"model {model!r}: no rollout is on record that made version {stable} champion:"
        " name the version to roll back to"
    )


def _settings(
    request: StartRequest, own: RolloutSpec | None, templates: Mapping[str, RolloutSpec]
) -> RolloutSpec:
    given = request.rollout
    if given is None:
        return own or RolloutSpec()
    if isinstance(given, str):
        if given not in templates:
            known = ", ".join(sorted(templates)) or "none"
            raise NotFoundError(
                f"rollout {given!r}: no such template{meant(given, templates)}, rollouts: {known}"
            )
        return templates[given]
    try:
        settings = RolloutSpec.load(given, path="rollout")
    except ConfigError as error:
        raise MalformedRequestError(str(error)) from None
    found = [f"rollout.{fault}" for fault in (*faults(settings), *idle_settings(settings))]
    if found:
        raise MalformedRequestError("\n".join(found))
    return settings
