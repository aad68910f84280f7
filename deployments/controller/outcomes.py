"""What a rollout leaves in the model registry: aliases moved, and tags on its version.

Each of these may be done again after a crash. Aliases have no compare-and-swap: they are read
right before they are changed, and somebody who moves one in between is overwritten. The fleet
store, which has one, is written first.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

ROLLOUT_ID = "rayfleet.rollout.id"
VERDICT = "rayfleet.rollout.verdict"
REASON = "rayfleet.rollout.reason"
ENDED_AT = "rayfleet.rollout.ended_at"

MOST_CHARACTERS = 1_000
"""Of a tag's value; MLflow's databases take 5,000."""

MISSING = "RESOURCE_DOES_NOT_EXIST"


class Left(StrEnum):
    """What became of a change to the registry."""

    DONE = "done"
    """It is so now, or was already."""

    MOVED = "moved"
    """Somebody else has moved the alias meanwhile, and it was left alone."""

    GONE = "gone"
    """There is no such model or version any more."""


def set_alias(
    client: MlflowClient, model: str, alias: str, version: str, expected: str | None
) -> Left:
    """Move an alias to a version, if it still names another one; blocks.

    Args:
        client: Of the registry.
        model: Whose.
        alias: Which.
        version: What it shall name.
        expected: What it must name now; None: nothing.

    Raises:
        Exception: The registry is away, in its client's words.
    """
    try:
        now = _alias(client, model, alias)
        if now == version:
            return Left.DONE
        if now != expected:
            return Left.MOVED
        client.get_model_version(model, version)  # MLflow lets aliases name what never was
        client.set_registered_model_alias(model, alias, version)
    except MlflowException as error:
        return _gone(error)
    return Left.DONE


def clear_alias(client: MlflowClient, model: str, alias: str, version: str) -> Left:
    """Remove an alias, if it still names a version; blocks.

    Args:
        client: Of the registry.
        model: Whose.
        alias: Which.
        version: What it must name now.

    Raises:
        Exception: As for `set_alias`.
    """
    try:
        now = _alias(client, model, alias)
        if now is None:
            return Left.DONE
        if now != version:
            return Left.MOVED
        client.delete_registered_model_alias(model, alias)
    except MlflowException as error:
        return _gone(error)
    return Left.DONE


def outcome_tags(rollout: str, verdict: str, reason: str, ended_at_s: float) -> dict[str, str]:
    """The tags that lead from a version to what became of it."""
    ended = datetime.fromtimestamp(ended_at_s, UTC).isoformat(timespec="seconds")
    return {ROLLOUT_ID: rollout, VERDICT: verdict, REASON: reason, ENDED_AT: ended}


def tag_version(client: MlflowClient, model: str, version: str, tags: Mapping[str, str]) -> Left:
    """Write tags onto a version; blocks.

    Raises:
        Exception: As for `set_alias`.
    """
    try:
        for key, value in tags.items():
            client.set_model_version_tag(model, version, key, value[:MOST_CHARACTERS])
    except MlflowException as error:
        return _gone(error)
    return Left.DONE


def _alias(client: MlflowClient, model: str, alias: str) -> str | None:
    version = client.get_registered_model(model).aliases.get(alias)
    return None if version is None else str(version)


def _gone(error: MlflowException) -> Left:
    """Tell what is not there from a registry that is away.

    Raises:
        MlflowException: It is away.
    """
    if error.error_code != MISSING:
        raise error
    return Left.GONE
