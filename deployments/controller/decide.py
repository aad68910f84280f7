"""What the fleet should do next, from what it observes: a pure function.

| application of a wanted version     | route       | action                                     |
|-------------------------------------|-------------|--------------------------------------------|
| absent, no failure on record        | LOADING     | deploy                                     |
| absent, failed, back-off not over   | UNAVAILABLE | none                                       |
| starting for the first time         | LOADING     | none                                       |
| running, or ready before            | READY       | redeploy if its settings changed           |
| failed without a running replica    | UNAVAILABLE | delete, keep the error (KubeRay would hold |
|                                     |             | up a cluster upgrade for it)               |

A version that nothing wants any more leaves the table first; its application is deleted
only after every live gateway has acknowledged that and the longest deadline has passed.
The same holds for the application of a pool, which many versions may share (`pools`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.failures import (
    ApplicationState,
    Failure,
    carry_on,
    fingerprint,
    needs_deploying,
    tried_anew,
)
from deployments.controller.pools import (
    PoolDeployment,
    Proof,
    due_pools,
    due_proofs,
    host_of,
    is_answering,
    is_ours,
    is_wanted_pool,
    longest_deadline_s,
    needs_proof,
    pool_endpoints,
    wanted_mark,
)
from deployments.controller.shares import NOTHING_ASKED, Asked, trials_since_s
from deployments.controller.transports import POOLED, Choice, choose_transport, runtime_of
from deployments.controller.wanted import Wanted, resolve, wanted_versions
from deployments.controller.weights import effective_weights
from deployments.protocols.tensors import Layout, Signature
from deployments.schema import ModelSpec, application_name
from deployments.traffic.table import (
    Batching,
    Endpoint,
    Mirroring,
    ModelRoutes,
    Remembering,
    Route,
    RouteState,
    RoutingTable,
    TransportKind,
)
from deployments.userconfig import PoolSpec, parse_pool_application


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that a decision rests on."""

    specs: Mapping[str, ModelSpec]
    registry: RegistryView
    applications: Mapping[str, ApplicationState]
    failures: Mapping[str, Failure]
    """By application name."""

    table: RoutingTable
    """The table in force."""

    retired_at_s: Mapping[str, float]
    """By application: since when every live gateway has acknowledged a table without it."""

    deadline_s: float
    strict_startup: bool
    now_s: float

    endpoints: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    """Replicas that take batches directly, by application."""

    pools: Mapping[str, PoolSpec] = field(default_factory=dict)

    proven: frozenset[str] = frozenset()
    """Pooled versions that a replica has loaded, by their name as an application."""

    asked: Mapping[str, Asked] = field(default_factory=dict)
    """What rollouts ask for, by model."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version to deploy."""

    model: str
    version: str
    facts: VersionFacts
    fingerprint: str

    @property
    def application(self) -> str:
        """Name of its application."""
        return application_name(self.model, self.version)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to publish, deploy and delete."""

    table: RoutingTable
    deploy: tuple[Deployment | PoolDeployment, ...]
    delete: tuple[str, ...]
    failures: Mapping[str, Failure]

    prove: tuple[Proof, ...] = ()
    """Pooled versions to have loaded before they get traffic."""


def decide(seen: Observation) -> Decision:
    """Return the next step; the same observation always gives the same one."""
    failures = carry_on(
        tried_anew(seen.failures, seen.applications, trials_since_s(seen.asked)),
        seen.applications,
        lambda name: wanted_mark(name, seen.specs, seen.pools),
        seen.now_s,
    )
    models: dict[str, ModelRoutes] = {}
    deploy: list[Deployment | PoolDeployment] = [
        *due_pools(seen.pools, seen.applications, failures, seen.now_s)
    ]
    for model, spec in sorted(seen.specs.items()):
        wanted = _wanted(seen, model, spec)
        states = {version: state_of(seen, failures, model, version) for version in wanted.weights}
        models[model] = _routes(seen, model, spec, wanted, states)
        deploy += _deployments(seen, failures, model, spec, wanted.weights)

    table = RoutingTable(
        revision=seen.table.revision,
        models=models,
        settled=seen.table.settled or _settled(seen, models, failures),
        pools=pool_endpoints(models, seen.endpoints),
    )
    if table != seen.table:
        table = replace(table, revision=seen.table.revision + 1)
    prove = due_proofs(table, seen.applications, failures, seen.now_s)
    return Decision(table, tuple(deploy), _deletions(seen, table, deploy), failures, prove)


def failure_of(seen: Observation, model: str, version: str) -> Failure | None:
    """The failure on record of a version, or of the pool that holds it."""
    host, own = _host(seen, model, version), application_name(model, version)
    return seen.failures.get(own) or seen.failures.get(host)


def _wanted(seen: Observation, model: str, spec: ModelSpec) -> Wanted:
    def is_ready(version: str) -> bool:
        return state_of(seen, {}, model, version)[0] is RouteState.READY

    before, asked = seen.table.models.get(model), seen.asked.get(model, NOTHING_ASKED)
    return wanted_versions(model, spec, seen.registry, before, is_ready, asked)


def state_of(
    seen: Observation, failures: Mapping[str, Failure], model: str, version: str
) -> tuple[RouteState, str]:
    """How far a version has come, and why not further."""
    state = _host_state(seen, failures, model, version)
    return _proof_state(seen, failures, model, version) if state[0] is RouteState.READY else state


def _host_state(
    seen: Observation, failures: Mapping[str, Failure], model: str, version: str
) -> tuple[RouteState, str]:
    name = _host(seen, model, version)
    state = seen.applications.get(name)
    if state is None or state.status == "DELETING":
        failure = failures.get(name)
        if failure is not None:
            return RouteState.UNAVAILABLE, failure.reason
        return RouteState.LOADING, "waiting for its application"
    if is_answering(state):
        return RouteState.READY, ""
    if state.status == "DEPLOY_FAILED":
        return RouteState.UNAVAILABLE, state.message
    route = _route_before(seen, model, version)
    if route is not None and route.state is RouteState.READY:
        # Its replicas died and Serve is replacing them: requests wait for the replacement.
        return RouteState.READY, ""
    return RouteState.LOADING, "its first replica is starting"


def _proof_state(
    seen: Observation, failures: Mapping[str, Failure], model: str, version: str
) -> tuple[RouteState, str]:
    spec, name = seen.specs[model], application_name(model, version)
    stable = resolve(seen.registry, model, spec.stable_key)
    unproven = spec.pool is not None and name not in seen.proven

    def answers(other: str) -> bool:
        return _host_state(seen, {}, model, other)[0] is RouteState.READY

    before = seen.table.models.get(model)
    if not unproven or not needs_proof(version, stable, before, answers):
        return RouteState.READY, ""
    failure = failures.get(name)
    if failure is not None:
        return RouteState.UNAVAILABLE, failure.reason
    return RouteState.LOADING, "a replica of its pool is loading it"


def _host(seen: Observation, model: str, version: str) -> str:
    return host_of(
        model,
        version,
        seen.specs[model].pool,
        _route_before(seen, model, version),
        lambda name: is_answering(seen.applications.get(name)),
    )


def _routes(
    seen: Observation,
    model: str,
    spec: ModelSpec,
    wanted: Wanted,
    states: Mapping[str, tuple[RouteState, str]],
) -> ModelRoutes:
    weights = _weights(seen, model, wanted, states)
    routes = []
    for version in weights:
        host = _host(seen, model, version)
        pool = host if parse_pool_application(host) is not None else None
        facts = _facts(seen, model, version)
        transport = _transport(seen, model, version, spec, is_stable=version == wanted.stable)
        if pool is not None:
            transport = POOLED
        is_elsewhere = transport.kind is TransportKind.HANDLE or pool is not None
        route = Route(
            version=version,
            track=wanted.track(version),
            weight=weights[version],
            application=application_name(model, version),
            state=states[version][0],
            replicas=_replicas(seen, host),
            signature=facts.signature,
            platform=facts.platform,
            reason=states[version][1],
            runtime=runtime_of(spec, facts),
            transport=transport.kind,
            transport_reason=transport.reason,
            endpoints=() if is_elsewhere else seen.endpoints.get(host, ()),
            pool=pool,
            size_bytes=facts.size_bytes or 0,
            mirror=wanted.mirrors.get(version, 0),
            start=wanted.start(version),
        )
        routes.append(route)
    return ModelRoutes(
        routes=tuple(routes),
        batching=Batching(
            max_batch_size=spec.max_batch_size,
            batch_wait_timeout_s=spec.batch_wait_timeout_s,
            latency_target_s=spec.latency_target_s,
            max_concurrent_batches=spec.max_concurrent_batches,
            max_queued_requests=spec.max_queued_requests,
        ),
        deadline_s=spec.request_deadline_s or seen.deadline_s,
        mirroring=Mirroring(spec.mirror_tolerance, spec.mirror_samples),
        feedback=_remembering(spec),
    )


def _weights(
    seen: Observation,
    model: str,
    wanted: Wanted,
    states: Mapping[str, tuple[RouteState, str]],
) -> dict[str, int]:
    if model in seen.asked:
        # A version on trial that has lost its last replica gets nothing more: its requests
        # need not wait for another one, as stable's would have to.
        away = {
            version: (RouteState.LOADING, "")
            for version in wanted.weights
            if version != wanted.stable and not is_there(seen, model, version)
        }
        states = {**states, **away}
    return effective_weights(wanted.weights, states, wanted.stable)


def is_there(seen: Observation, model: str, version: str) -> bool:
    """Whether the application that holds a version answers."""
    return is_answering(seen.applications.get(_host(seen, model, version)))


def _remembering(spec: ModelSpec) -> Remembering | None:
    given = spec.feedback
    return Remembering(given.sample, given.output) if given is not None else None


def _transport(
    seen: Observation, model: str, version: str, spec: ModelSpec, *, is_stable: bool
) -> Choice:
    before = _route_before(seen, model, version)
    known = (model, version) in seen.registry.versions
    if spec.transport in {"inline", "auto"} and before is not None and not known:
        # The registry has yet to answer: what it said to an earlier controller stands.
        return Choice(before.transport, before.transport_reason)
    return choose_transport(spec, _facts(seen, model, version), is_stable=is_stable)


def _replicas(seen: Observation, application: str) -> int:
    state = seen.applications.get(application)
    return state.running_replicas if state is not None else 0


def _route_before(seen: Observation, model: str, version: str) -> Route | None:
    before = seen.table.models.get(model)
    return before.route(version) if before else None


def _facts(seen: Observation, model: str, version: str) -> VersionFacts:
    facts = seen.registry.versions.get((model, version))
    if facts is not None:
        return facts
    route = _route_before(seen, model, version)
    if route is None:
        return VersionFacts("pyfunc", Signature(Layout.UNKNOWN))
    return VersionFacts(route.platform, route.signature, size_bytes=route.size_bytes)


def _deployments(
    seen: Observation,
    failures: Mapping[str, Failure],
    model: str,
    spec: ModelSpec,
    wanted: Mapping[str, int],
) -> list[Deployment]:
    if spec.pool is not None:
        return []
    mark = fingerprint(spec)
    due = []
    for version in wanted:
        name = application_name(model, version)
        if (model, version) not in seen.registry.versions:
            continue
        if needs_deploying(seen.applications.get(name), failures.get(name), mark, seen.now_s):
            facts = seen.registry.versions[model, version]
            due.append(Deployment(model, version, facts, mark))
    return due


def _settled(
    seen: Observation, models: Mapping[str, ModelRoutes], failures: Mapping[str, Failure]
) -> bool:
    """Tell whether every model was ready, or cannot be and is excused.

    A model whose champion nobody has named has nothing to load, so nothing to wait for; if a
    pool's patterns took it, not even where startup is strict.
    """
    if not seen.registry.answered:
        return False

    def excused(model: str) -> bool:
        stable = models[model].stable
        if seen.strict_startup:
            return stable is None and seen.specs[model].pool is not None
        return stable is None or stable.host in failures

    return all(routes.ready or excused(model) for model, routes in models.items())


def _deletions(
    seen: Observation, table: RoutingTable, deploy: Iterable[Deployment | PoolDeployment]
) -> tuple[str, ...]:
    if not seen.registry.answered:
        return ()  # after a restart without a registry, a table may know too little
    replaced = {item.application for item in deploy}
    routed = {route.host for model in table.models.values() for route in model.routes}

    def is_due(name: str, state: ApplicationState) -> bool:
        if not is_ours(name) or state.status == "DELETING" or name in replaced:
            return False
        if state.status == "DEPLOY_FAILED" and not state.running_replicas:
            return True
        if name in routed or is_wanted_pool(name, seen.pools):
            return False
        retired_at_s = seen.retired_at_s.get(name)
        deadline_s = longest_deadline_s(name, table, seen.deadline_s)
        return retired_at_s is not None and seen.now_s >= retired_at_s + deadline_s

    return tuple(name for name, state in seen.applications.items() if is_due(name, state))
