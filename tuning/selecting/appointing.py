"""Which alias a selection gives to a version that is registered already.

Most winners are such versions, since each sweep registers its own. An alias starts a rollout,
so one that was taken from a version is not given back to it by repeating a selection:

    had it at registration   has one now   meanwhile                        given
    no                       -             a crash came before it           yes
    yes                      yes           -                                yes
    yes                      no            its rollout ended                with --force
    champion                 no            another became champion          with --force
    challenger               no            a newer version got it           yes
    challenger               no            it was taken away                with --force
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from tuning.registry import ALIAS, CHALLENGER, CHAMPION, TRIAL_RUN_ID, give_alias

VERDICT = "rayfleet.rollout.verdict"
REASON = "rayfleet.rollout.reason"
"""Tags of a version whose rollout has ended, as the fleet's controller leaves them."""


@dataclass(frozen=True, slots=True)
class Appointment:
    """What became of a version's alias."""

    alias: str
    """That it was meant to get."""

    lost: str | None
    """How the version lost its alias earlier, for which it was not given now; None: it was."""


def champion_of(client: MlflowClient, version: ModelVersion) -> ModelVersion | None:
    """Return the version with the alias `champion`, if it was made of this one's trial."""
    number = _aliases(client, version.name).get(CHAMPION)
    if number is None:
        return None
    champion = client.get_model_version(version.name, number)
    same = champion.tags.get(TRIAL_RUN_ID) == version.tags.get(TRIAL_RUN_ID)
    return champion if same else None


def appoint(client: MlflowClient, version: ModelVersion, *, force: bool) -> Appointment:
    """Make a version champion if its model has none, else challenger.

    Args:
        client: Of the registry.
        version: Of a trial that won.
        force: Whether to give an alias back, too.

    Raises:
        MlflowException: The registry is away.
    """
    if ALIAS not in version.tags:
        return Appointment(give_alias(client, version), None)
    aliases = _aliases(client, version.name)
    alias = CHALLENGER if CHAMPION in aliases else CHAMPION
    every = client.search_model_versions(f"name = '{version.name}'")
    lost = None if force else lost_alias(version, aliases, every)
    if lost is None and aliases.get(alias) != str(version.version):
        client.set_registered_model_alias(version.name, alias, version.version)
    return Appointment(alias, lost)


def lost_alias(
    version: ModelVersion, aliases: Mapping[str, str], every: Iterable[ModelVersion]
) -> str | None:
    """Say how a version lost the alias that it was registered with, by the table above.

    Args:
        version: Which.
        aliases: Version by alias.
        every: Version of the model.

    Returns:
        None where it has one, had none, or a newer one was registered with it.
    """
    given, number = version.tags.get(ALIAS), str(version.version)
    if given is None or number in (aliases.get(CHAMPION), aliases.get(CHALLENGER)):
        return None
    if VERDICT in version.tags:
        reason = version.tags.get(REASON, "")
        return f"its rollout ended, {version.tags[VERDICT]}" + (f": {reason}" if reason else "")
    if given == CHALLENGER and any(
        int(each.version) > int(number) and each.tags.get(ALIAS) == CHALLENGER for each in every
    ):
        return None
    return f"it is no longer @{given}"


def _aliases(client: MlflowClient, model: str) -> dict[str, str]:
    # Stores differ in whether a version is a number or a string (MLflow 3.17).
    aliases = client.get_registered_model(model).aliases
    return {alias: str(number) for alias, number in aliases.items()}
