"""The control API: FastAPI, since here OpenAPI pages matter and microseconds do not."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from ipaddress import ip_address
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.controller.control import Control, DeploymentView
from deployments.controller.differences import DifferencesView
from deployments.controller.rolloutapi import rollout_routes
from deployments.controller.rolloutviews import VERSION, RolloutDesk
from deployments.errors import FleetError, MalformedRequestError, RequestTooLargeError
from deployments.protocols.statuses import ErrorResponse, open_inference_error
from deployments.schema import ExpressSpec
from tuning.configfile import MOST_SHOWN, KnownKeys, lines_of

MAX_BODY_BYTES = 1024 * 1024

MOST_FAULTS = 200
"""Faults of one request that are told; a body has room for a million, which nobody reads."""

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Name = Annotated[str, Path(description="A hosted model.", max_length=256)]

VersionName = Annotated[str, Path(description="One of its versions.", max_length=20)]


class Problem(BaseModel):
    """Why a request was refused."""

    error: str


class Deployments(BaseModel):
    """All hosted models."""

    deployments: list[DeploymentView]


class FleetView(BaseModel):
    """The fleet as a whole."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    version: str
    """Of Rayfleet."""

    revision: int
    """Of the routing table in force."""

    settled: bool
    """Whether every model was ready once, or has a recorded load failure."""

    config_refusal: str
    """Why the deployed config is refused and an older one in force, by lines; else empty."""

    inference_url: str | None
    """The express port, as seen from this API's own host; None where it is closed."""


class Settings(KnownKeys):
    """How to host a model."""

    spec: dict[str, Any] = Field(default={})
    """What a model's entry in the fleet config may say; empty takes the defaults."""


class NewDeployment(Settings):
    """A model to host."""

    name: str
    """As it is registered in MLflow."""


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe the statuses of errors, for the API's pages."""
    words = {
        400: "Malformed; the text says what and where.",
        401: "The signature is missing, wrong or old.",
        404: "No such model, version, rollout or sweep.",
        409: "It contradicts what there is; the text says who owns that, or what runs.",
        413: "The body is larger than 1 MiB.",
        503: "The registry, the store or Ray's job API is away; see `Retry-After`.",
    }
    return {code: {"model": Problem, "description": words[code]} for code in codes}


def is_loopback(host: str) -> bool:
    """Whether only processes of the same machine reach a listener there."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def make_api(
    control: Control,
    ready: Callable[[], Awaitable[None]],
    express: ExpressSpec | None = None,
    routers: Sequence[APIRouter] = (),
    *,
    rollouts: RolloutDesk | None = None,
    only_loopback: bool,
) -> ASGIApp:
    """Build the application.

    Args:
        control: Answers.
        ready: Returns once the store was read, or raises a DependencyError.
        express: The port for predictions, if there is one.
        routers: What else it answers.
        rollouts: Answers what is about rollouts; None leaves that out.
        only_loopback: Whether it listens on loopback alone; then requests that a browser
            was tricked into sending, under another host's name, are refused.
    """
    # Its pages bring their scripts along, where FastAPI's own want the internet.
    api = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="Rayfleet control API",
        version=version("rayfleet"),
        summary="What the fleet hosts, and how.",
        dependencies=[Depends(ready)],
    )

    @api.get("/api/v1/fleet", responses=problems(503))
    async def get_fleet(request: Request) -> FleetView:
        """The fleet as a whole, and where it predicts."""
        table = control.table
        return FleetView(
            version=version("rayfleet"),
            revision=table.revision,
            settled=table.settled,
            config_refusal=control.refusal,
            inference_url=_seen_from(express, request.url.hostname),
        )

    @api.get("/api/v1/deployments", responses=problems(503))
    async def list_deployments() -> Deployments:
        """Every hosted model with its versions."""
        return Deployments(deployments=control.deployments())

    @api.get("/api/v1/deployments/{name}", responses=problems(400, 404, 503))
    async def get_deployment(name: Name) -> DeploymentView:
        """One hosted model with its versions."""
        return control.deployment(name)

    @api.post("/api/v1/deployments", status_code=201, responses=problems(400, 404, 409, 413, 503))
    async def create_deployment(body: NewDeployment) -> DeploymentView:
        """Host a registered model; it is ready once its versions say so."""
        return await control.host(body.name, body.spec, new=True)

    @api.put("/api/v1/deployments/{name}", responses=problems(400, 404, 409, 413, 503))
    async def update_deployment(name: Name, body: Settings) -> DeploymentView:
        """Replace the settings of a model that was added through this API."""
        return await control.host(name, body.spec, new=False)

    @api.delete(
        "/api/v1/deployments/{name}", status_code=204, responses=problems(400, 404, 409, 503)
    )
    async def delete_deployment(name: Name) -> None:
        """Host a model no longer that was added through this API."""
        await control.delete(name)

    _show_differences(api, control)
    more = [rollout_routes(rollouts, problems)] if rollouts is not None else []
    return _finished(api, [*more, *routers], only_loopback=only_loopback)


def _finished(api: FastAPI, routers: Sequence[APIRouter], *, only_loopback: bool) -> ASGIApp:
    for router in (api.router, *routers):
        _describe(router)
    for router in routers:
        api.include_router(router)
    api.add_exception_handler(FleetError, _handler(open_inference_error))
    api.add_exception_handler(RequestValidationError, _handler(_validation_error))
    api.add_exception_handler(HTTPException, _handler(_http_error))
    if only_loopback:
        api.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    return _Limited(api)


def _describe(router: APIRouter) -> None:
    """Have the page say what a path does, in its group, and not what our functions are called."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            summary, _, _ = route.description.partition("\n")
            route.summary = summary.removesuffix(".")
            route.tags = route.tags or router.tags or ["deployments"]


def _show_differences(api: FastAPI, control: Control) -> None:
    @api.get(
        "/api/v1/deployments/{name}/versions/{version}/differences",
        responses=problems(400, 404, 503),
    )
    async def get_differences(name: Name, version: VersionName) -> DifferencesView:
        """How a version answers what is mirrored to it, beside the stable version."""
        return control.version_differences(name, version)


def _seen_from(express: ExpressSpec | None, host: str | None) -> str | None:
    """Address of the express port for a client that reached us by this name."""
    if express is None:
        return None
    everywhere = express.host in {"0.0.0.0", "::"}  # noqa: S104, a comparison
    name = host if everywhere and host else express.host
    scheme = "https" if express.ssl_certfile else "http"
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{express.port}"


class _Limited:
    """Refuses bodies that nobody means seriously, before they fill the memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY_BYTES:
                rendered = open_inference_error(RequestTooLargeError(len(body), MAX_BODY_BYTES))
                await _response(rendered)(scope, receive, send)
                return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)


def _handler(
    render: Callable[[Any], ErrorResponse],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(_request: Request, error: Exception) -> Response:
        return _response(render(error))

    return handle


def _response(rendered: ErrorResponse) -> Response:
    return Response(rendered.body, rendered.status, dict(rendered.headers))


def _validation_error(error: RequestValidationError) -> ErrorResponse:
    """Answer as a config's faults are told: a line for each place, `body.` left out."""
    every = error.errors()
    faults = every[:MOST_FAULTS]
    given: dict[str, Any] = {"body": error.body}
    for fault in faults:
        place, *name = fault["loc"]
        if place != "body":
            given.setdefault(place, {}).update(dict.fromkeys(name, fault["input"]))
    lines = lines_of(map(_in_our_words, faults), given).split("\n")
    if len(every) > MOST_FAULTS:
        lines.append("and more")
    said = "\n".join(line.removeprefix("body.") for line in lines)
    return open_inference_error(MalformedRequestError(said))


def _in_our_words(fault: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say what neither pydantic nor a config says of its kind, as a validator of ours would."""
    given, place, message = fault["input"], fault["loc"], None
    # FastAPI leaves a body of another type as it came.
    if isinstance(given, bytes):
        message = "is read with the header Content-Type: application/json"
    elif fault["type"] == "json_invalid":
        message = f"not valid JSON: character {place[1]}: {fault['ctx']['error']}"
        place = place[:1]
    elif fault.get("ctx", {}).get("pattern") == VERSION:
        message = f"{given!r:.{MOST_SHOWN}}: should be a version's number, such as 3"
    if message is None:
        return fault
    return {**fault, "type": "value_error", "loc": place, "msg": message}


def _http_error(error: HTTPException) -> ErrorResponse:
    detail = str(error.detail)
    # FastAPI says no more than that it could not parse the body.
    if isinstance(error.__cause__, RecursionError):
        detail = "body: nested too deeply"
    elif isinstance(error.__cause__, UnicodeDecodeError):
        detail = "body: is not UTF-8 text"
    body = orjson.dumps({"error": detail})
    headers = {"Content-Type": "application/json", **(error.headers or {})}
    return ErrorResponse(error.status_code, tuple(headers.items()), body)
