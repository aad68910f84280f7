"""What the control API and the doors may ask of the controller."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from deployments.controller.decide import Observation
from deployments.controller.differences import DifferencesView, FleetDifferences
from deployments.controller.faults import model_faults, rollout_faults
from deployments.controller.hosted import HostedModels
from deployments.controller.loading import is_in_force
from deployments.controller.registry import Registry
from deployments.controller.views import View
from deployments.errors import (
    DependencyError,
    FleetError,
    MalformedRequestError,
    ModelNotReadyError,
    NotFoundError,
)
from deployments.rolloutspec import rollout_fault
from deployments.schema import ModelSpec
from deployments.telemetry import Snapshot
from deployments.traffic.table import ModelRoutes, Route, RoutingTable, Track
from deployments.userconfig import ModelsSpec, pool_fault
from tuning.errors import ConfigError
from tuning.probes import without_password

logger = logging.getLogger(__name__)


class VersionView(View):
    """One hosted version of a model."""

    version: str
    track: Track
    weight: int = Field(ge=0, le=100)
    """Percent of the model's requests."""

    mirror: int = Field(ge=0, le=100)
    """Percent of stable's requests that it gets too, its answers unseen."""

    state: Literal["LOADING", "READY", "UNAVAILABLE"]
    reason: str
    """Why it is not READY."""

    application: str
    """Serve application that holds its replicas; a pool's has those of others, too."""

    replicas: int = Field(ge=0)
    """Running replicas; 0 while scaled to zero."""

    runtime: str
    transport: Literal["handle", "direct", "inline"]
    """How batches reach it."""

    transport_reason: str
    """Why that transport."""


class DeploymentView(View):
    """One hosted model."""

    name: str
    origin: Literal["config", "api"]
    """Who owns it: the fleet's config, or this API."""

    ready: bool
    """Whether it answers requests that name no version."""

    in_force: bool
    """Whether its settings are in the routing table and in its replicas, as far as they load."""

    fault: str
    """Why its replicas cannot be started with these settings; empty while nobody knows of that."""

    spec: dict[str, Any]
    """All its settings, with defaults."""

    versions: list[VersionView]
    """Shadows and canaries first, the stable version last."""


class Control:
    """Shows and changes what is hosted. Owned by the controller's event loop."""

    def __init__(
        self,
        hosted: HostedModels,
        registry: Registry,
        registry_uri: str,
        table: Callable[[], RoutingTable],
        wake: Callable[[], None],
        snapshots: Callable[[], Sequence[Snapshot]] = tuple,
        *,
        refusal: Callable[[], str] = str,
    ) -> None:
        """Begin.

        Args:
            hosted: The models, once read from the store.
            registry: Where their versions are.
            registry_uri: Its address, to name it.
            table: The table in force.
            wake: Has the controller look at once.
            snapshots: What the gateways have counted.
            refusal: Why the deployed config is not in force; empty when it is.
        """
        self.differences = FleetDifferences()
        self._snapshots = snapshots
        self._hosted = hosted
        self._registry = registry
        self._registry_uri = registry_uri
        self._table = table
        self._wake = wake
        self._refusal = refusal
        # Between a read of the store and its use, nobody may write to it.
        self._changing = asyncio.Lock()
        self._seen: Observation | None = None
        self._acted = asyncio.Event()

    @property
    def table(self) -> RoutingTable:
        """The routing table in force."""
        return self._table()

    @property
    def refusal(self) -> str:
        """Why the deployed config is not in force, a line for each fault; empty when it is."""
        return self._refusal()

    def deployments(self) -> list[DeploymentView]:
        """Every hosted model, by name."""
        return [self.deployment(name) for name in sorted(self._hosted.specs)]

    def deployment(self, name: str) -> DeploymentView:
        """One hosted model.

        Raises:
            NotFoundError: It is not hosted.
        """
        origin = self._hosted.origin(name)
        spec, routes = self._hosted.spec(name), self._table().models.get(name)
        in_force, fault = False, ""
        try:
            in_force = is_in_force(name, spec, self._seen, self._table())
        except ModelNotReadyError as error:
            fault = str(error)
        return DeploymentView(
            name=name,
            origin=origin.value,
            ready=routes is not None and routes.ready,
            in_force=in_force,
            fault=fault,
            spec=spec.model_dump(mode="json", by_alias=True),
            versions=_versions(routes),
        )

    def version_differences(self, name: str, version: str) -> DifferencesView:
        """How the answers of a version that mirrors a model's stable one compare.

        Raises:
            NotFoundError: The model is not hosted, or nothing is known of such a version.
        """
        self._hosted.spec(name)
        routes = self._table().models.get(name)
        view = self.differences.view(name, version, self._snapshots())
        if not view.is_known and (routes is None or routes.route(version) is None):
            hosted = ", ".join(route.version for route in routes.routes) if routes else ""
            raise NotFoundError(
                f"model {name!r} has no version {version!r}, hosted: {hosted or 'none'}"
            )
        return view

    async def refresh(self) -> None:
        """Take over what other clusters have stored.

        Raises:
            Exception: Whatever the store's driver raises.
        """
        async with self._changing:
            await asyncio.to_thread(self._hosted.read)

    def note(self, seen: Observation) -> None:
        """Hear what the controller saw, once it has acted on it."""
        self._seen = seen
        acted, self._acted = self._acted, asyncio.Event()
        acted.set()

    async def host(self, name: str, settings: Mapping[str, Any], *, new: bool) -> DeploymentView:
        """Host a registered model, or replace the settings of one added through the API.

        Args:
            name: A registered model.
            settings: How to host it; what they leave out takes its default.
            new: Whether it must not be hosted yet; else it must be.

        Raises:
            MalformedRequestError: The name or the settings; a line for each fault.
            NotFoundError: The registry has no such model, or it is to be hosted and is not.
            ConflictError: It is hosted already, or the config owns it.
            DependencyError: The registry or the store is away.
        """
        spec = _checked(name, settings)
        async with self._changing:
            if new:
                self._hosted.require_new(name)
            else:
                self._hosted.require_own(name)
            await self._require_hostable(name, spec)
            await reached("fleet store", self._hosted.save, name, spec)
            self._wake()
        logger.info("%s: %s through the API", name, "added" if new else "settings changed")
        return self.deployment(name)

    async def delete(self, name: str) -> None:
        """Host a model no longer; what is in flight is still answered.

        Raises:
            NotFoundError: It is not hosted.
            ConflictError: The config owns it.
            DependencyError: The store is away.
        """
        async with self._changing:
            self._hosted.require_own(name)
            await reached("fleet store", self._hosted.remove, name)
            self._wake()
        logger.info("%s: removed through the API", name)

    async def load(self, name: str, settings: Mapping[str, Any] | None) -> int:
        """Host a model, as the repository extension means it: again is no fault.

        Args:
            name: A registered model.
            settings: How to host it; None leaves what is hosted as it is.

        Returns:
            Revision of a routing table in which it answers with its settings, or cannot.

        Raises:
            FleetError: What `host` raises.
            ModelNotReadyError: Its replicas cannot be started with these settings.
            NotFoundError: It was removed meanwhile.
        """
        new = name not in self._hosted.specs
        if new or settings is not None:
            await self.host(name, settings or {}, new=new)
        while not is_in_force(name, self._hosted.spec(name), self._seen, self._table()):
            await self._acted.wait()
        return self._table().revision

    async def _require_hostable(self, name: str, spec: ModelSpec) -> None:
        specs = {name: spec}
        view = await reached("model registry", self._registry.look, specs)
        if name not in view.aliases:
            shown = without_password(self._registry_uri)
            raise NotFoundError(f"model {name!r} is not in the model registry at {shown}")
        faults = [*model_faults(specs, view, self._registry_uri), *rollout_faults(specs, {})]
        fault = pool_fault(spec, self._hosted.pools) or rollout_fault(spec, self._hosted.rollouts)
        if fault is not None:
            raise MalformedRequestError(f"spec.{fault}")
        if faults:
            raise MalformedRequestError("\n".join(fault.partition(".")[2] for fault in faults))


def _checked(name: str, settings: Mapping[str, Any]) -> ModelSpec:
    try:
        spec = ModelSpec.load(settings, path="spec")
        ModelsSpec.load({"models": {name: {}}})
    except ConfigError as error:
        raise MalformedRequestError(str(error)) from None
    return spec


async def reached(what: str, call: Callable[..., Any], *args: Any) -> Any:
    """Call a dependency in a thread.

    Raises:
        FleetError: What it raised on purpose.
        DependencyError: It raised whatever its driver does.
    """
    try:
        return await asyncio.to_thread(call, *args)
    except FleetError:
        raise
    except Exception as error:  # any driver, any network
        first = (str(error).splitlines() or [""])[0]
        raise DependencyError(what, f"{type(error).__name__}: {first}") from error


def _versions(routes: ModelRoutes | None) -> list[VersionView]:
    return [_version(route) for route in routes.routes] if routes is not None else []


def _version(route: Route) -> VersionView:
    return VersionView(
        version=route.version,
        track=route.track,
        weight=route.weight,
        mirror=route.mirror,
        state=route.state.value,
        reason=route.reason,
        application=route.host,
        replicas=route.replicas,
        runtime=route.runtime,
        transport=route.transport.value,
        transport_reason=route.transport_reason,
    )
