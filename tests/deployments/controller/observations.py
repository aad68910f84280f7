"""Observations of one model, and what to read off a decision."""

from dataclasses import replace
from typing import Any

from deployments.controller.decide import Decision, Observation, decide
from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.failures import ApplicationState, Failure, fingerprint
from deployments.schema import ModelSpec
from deployments.traffic.table import EMPTY, RoutingTable
from tests.fakes import SIGNATURE

NOW_S = 10_000.0
DEADLINE_S = 30.0
SPLIT = ModelSpec(traffic={"champion": 90, "challenger": 10})
PLAIN = ModelSpec()
RUNNING = ApplicationState("RUNNING", 1)
STARTING = ApplicationState("DEPLOYING", 0)
ASLEEP = ApplicationState("RUNNING", 0)
DEAD = ApplicationState("UNHEALTHY", 0, "a replica died")
FAILED = ApplicationState("DEPLOY_FAILED", 0, "RuntimeError: no such file")
DELETING = ApplicationState("DELETING", 1)


def registered(**aliases: str) -> RegistryView:
    """A registry with versions 1 to 4 of model `m`."""
    facts = VersionFacts("sklearn", SIGNATURE)
    return RegistryView({"m": aliases}, {("m", v): facts for v in "1234"}, answered=True)


def seen(
    spec: ModelSpec | None = PLAIN, registry: RegistryView | None = None, **changes: Any
) -> Observation:
    """A fleet with one model `m` whose champion is version 1, nothing deployed yet."""
    return replace(
        Observation(
            specs={"m": spec} if spec is not None else {},
            registry=registry or registered(champion="1"),
            applications={},
            failures={},
            table=EMPTY,
            retired_at_s={},
            deadline_s=DEADLINE_S,
            strict_startup=False,
            now_s=NOW_S,
        ),
        **changes,
    )


def apps(**states: ApplicationState) -> dict[str, ApplicationState]:
    """Applications of model `m` by version: `v1=RUNNING`."""
    return {f"m--{version}": state for version, state in states.items()}


def weights(decision: Decision) -> dict[str, int]:
    return {route.version: route.weight for route in decision.table.models["m"].routes}


def states(decision: Decision) -> dict[str, str]:
    return {route.version: str(route.state) for route in decision.table.models["m"].routes}


def deployed(decision: Decision) -> list[str]:
    return [item.application for item in decision.deploy]


def serving(spec: ModelSpec = PLAIN, registry: RegistryView | None = None) -> RoutingTable:
    """The table once every version that the registry names is running."""
    everything = apps(v1=RUNNING, v2=RUNNING, v3=RUNNING)
    return decide(seen(spec, registry, applications=everything)).table


def failure(attempts: int = 1, spec: ModelSpec = PLAIN, at_s: float = NOW_S) -> Failure:
    return Failure(fingerprint(spec), FAILED.message, attempts, at_s)
