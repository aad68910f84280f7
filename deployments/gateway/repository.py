"""The repository extension's load and unload: which model, and with which settings."""

from collections.abc import Mapping
from typing import Any

import orjson

from deployments.errors import MalformedRequestError, NotFoundError
from deployments.gateway.fleet import Fleet


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
            await fleet.load(model, _settings(parameters))
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


def _settings(parameters: Mapping[str, Any]) -> Mapping[str, Any] | None:
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
