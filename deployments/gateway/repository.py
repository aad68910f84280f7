"""The repository extension's load and unload: which model, and with which settings."""

from collections.abc import Mapping
from typing import Any

import orjson

from deployments.errors import MalformedRequestError, NotFoundError
from deployments.gateway.fleet import Fleet

FILE = "file:"
"""How Triton's clients begin the name of a parameter that holds one of the model's files."""


async def change_repository(fleet: Fleet, model: str, action: str, body: bytes) -> None:
    """Load or unload a model.

    Args:
        fleet: Which hosts it.
        model: Its name in the registry.
        action: `load` or `unload`.
        body: Empty, or `{"parameters": {"config": TEXT}}`, where the text is a JSON object
            of settings in the fleet config's words.

    Raises:
        NotFoundError: No such action or model.
        MalformedRequestError: The body.
        FleetError: It cannot be, or must not be.
    """
    parameters = _parameters(body)
    match action:
        case "load":
            await fleet.load(model, load_settings(parameters))
        case "unload":
            await fleet.unload(model)
        case _:
            raise NotFoundError(f"unknown action {action!r:.40}, known: load, unload")


def _parameters(body: bytes) -> Mapping[str, Any]:
    if not body.strip():
        return {}
    asked = _object(body, "body")
    parameters = asked.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise MalformedRequestError(f"parameters is {parameters!r:.40}, expected an object")
    return parameters


def load_settings(parameters: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Read how a model is to be hosted; None where the request does not say.

    Raises:
        MalformedRequestError: `config` is not the text of a JSON object, or a file is sent along.
    """
    files = [name for name in parameters if name.startswith(FILE)]
    if files:
        raise MalformedRequestError(
            f"parameters has {files[0]!r:.80}, but models come from the registry, not from files"
        )
    config = parameters.get("config")
    if config is None:
        return None
    if not isinstance(config, str):
        raise MalformedRequestError(f"parameters.config is {config!r:.40}, expected text")
    return _object(config, "parameters.config")


def _object(text: bytes | str, where: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedRequestError(f"{where} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise MalformedRequestError(f"{where} is {found!r:.40}, expected an object")
    return found
