"""What the gateway tells about itself and its models: the paths without tensors."""

import json
from collections.abc import Callable, Mapping

from deployments.errors import MalformedRequestError, ModelNotReadyError, NotFoundError
from deployments.gateway.batch_limit import LARGEST_ROWS
from deployments.gateway.inference import Inference
from deployments.protocols import mlflow_scoring
from deployments.protocols import open_inference_pages as pages
from deployments.traffic.table import Route, RouteState

Page = Callable[[Inference], bytes]


def find_page(segments: list[str]) -> Page | None:
    """The page at a path, given as its segments; None when there is none. All answer GET."""
    match segments:
        case ["v2", "models", model, *rest]:
            return _model_page(model, rest)
        case ["models", model, "ping" | "health"]:
            return lambda inference: _ping(inference, model)
        case ["models", model, "version"]:
            return lambda inference: _model_version(inference, model)
        case _:
            return FIXED.get("/".join(segments))


def index_page(inference: Inference, body: bytes) -> bytes:
    """The repository index; the body may be empty, or ask for the versions that are ready."""
    return repository_page(inference, only_ready=_only_ready(body))


def repository_page(inference: Inference, *, only_ready: bool) -> bytes:
    """Every hosted version and its state, or those that are ready."""
    entries = [
        pages.IndexEntry(model, route.version, pages.State(route.state), route.reason)
        for model, routes in sorted(inference.table.models.items())
        for route in routes.routes
    ]
    return pages.repository_index(entries, only_ready=only_ready)


def metadata_page(inference: Inference, model: str, version: str | None) -> bytes:
    """Describe a model by one of its versions, the stable one if none is named.

    Raises:
        NotFoundError: No such model or version.
        ModelNotReadyError: The model has no stable version.
    """
    route = _described(inference, model, version)
    versions = [hosted.version for hosted in inference.model(model).routes]
    return pages.model_metadata(model, versions, route.platform, route.signature)


def config_page(inference: Inference, model: str, version: str | None) -> bytes:
    """Describe a model as Triton's configs do.

    Raises:
        NotFoundError: See `metadata_page`, as the next.
        ModelNotReadyError: As there.
    """
    route = _described(inference, model, version)
    most_rows = inference.model(model).batching.max_batch_size or LARGEST_ROWS
    return pages.model_config(model, route.platform, route.signature, most_rows)


def ready_page(inference: Inference, model: str, version: str | None) -> bytes:
    """Say that a model, or one of its versions, can predict.

    Raises:
        NotFoundError: No such model or version.
        ModelNotReadyError: It cannot.
    """
    _require_ready(inference, model, version)
    return pages.model_ready(model)


def stats_versions(inference: Inference, path: list[str]) -> list[tuple[str, str]]:
    """Model and version of those that a path before `/stats` names; all, if it names none.

    Raises:
        NotFoundError: No such model, version or path.
    """
    match path:
        case []:
            return hosted_versions(inference)
        case [model]:
            return hosted_versions(inference, model)
        case [model, "versions", version]:
            return hosted_versions(inference, model, version)
        case _:
            raise NotFoundError(f"unknown path '/v2/models/{'/'.join(path)}/stats'")


def hosted_versions(
    inference: Inference, model: str | None = None, version: str | None = None
) -> list[tuple[str, str]]:
    """Model and version of what is hosted: all, those of one model, or that one version.

    Raises:
        NotFoundError: No such model or version.
    """
    if model is None:
        models = sorted(inference.table.models)
        return [(each, route.version) for each in models for route in inference.model(each).routes]
    if version is None:
        return [(model, route.version) for route in inference.model(model).routes]
    return [(model, inference.pinned(model, version).version)]


def _described(inference: Inference, model: str, version: str | None) -> Route:
    routes = inference.model(model)
    route = inference.pinned(model, version) if version is not None else routes.stable
    if route is None:
        raise ModelNotReadyError(model, "no version has the alias champion")
    return route


def _only_ready(body: bytes) -> bool:
    if not body.strip():
        return False
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedRequestError("body is not JSON, expected nothing or an object") from None
    ready = asked.get("ready", False) if isinstance(asked, dict) else None
    if not isinstance(ready, bool):
        raise MalformedRequestError(f"ready is {ready!r:.40}, expected true or false in an object")
    return ready


def _model_page(model: str, rest: list[str]) -> Page | None:
    version: str | None = None
    if rest[:1] == ["versions"] and len(rest) > 1:
        _, version, *rest = rest
    page = MODEL_PAGES.get(tuple(rest))
    return None if page is None else lambda inference: page(inference, model, version)


def _server(inference: Inference) -> bytes:
    return pages.server_metadata()


def _live(inference: Inference) -> bytes:
    return pages.server_live()


def _fleet_ready(inference: Inference) -> bytes:
    _require_settled(inference)
    return pages.server_ready()


def _names(inference: Inference) -> bytes:
    return pages.model_names(sorted(inference.table.models))


def _fleet_ping(inference: Inference) -> bytes:
    _require_settled(inference)
    return mlflow_scoring.PING


def _ping(inference: Inference, model: str) -> bytes:
    _require_ready(inference, model, None)
    return mlflow_scoring.PING


def _version(inference: Inference) -> bytes:
    return mlflow_scoring.VERSION


def _model_version(inference: Inference, model: str) -> bytes:
    inference.model(model)
    return mlflow_scoring.VERSION


def _require_settled(inference: Inference) -> None:
    if not inference.table.settled:
        raise ModelNotReadyError("fleet", "models are loading for the first time")


def _require_ready(inference: Inference, model: str, version: str | None) -> None:
    if version is None:
        inference.choose(model, "")
        return
    route = inference.pinned(model, version)
    if route.state is not RouteState.READY:
        raise ModelNotReadyError(model, f"version {version}: {route.reason}")


FIXED: dict[str, Page] = {
    "v2": _server,
    "v2/health/live": _live,
    "v2/health/ready": _fleet_ready,
    "v2/models": _names,
    "ping": _fleet_ping,
    "health": _fleet_ping,
    "version": _version,
}
"""Pages whose path has no name in it."""

MODEL_PAGES: Mapping[tuple[str, ...], Callable[[Inference, str, str | None], bytes]] = {
    (): metadata_page,
    ("ready",): ready_page,
    ("config",): config_page,
}
"""Pages of a model, or of one of its versions, by what follows its name."""
