"""Rollouts of real controllers on a real store, with a registry and a Serve of the test's own.

Whatever is outside is done at once and in turn, so that a test says what happens when.
"""

import math
import shutil
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from deployments.controller.checks import Check
from deployments.controller.decide import Decision, Observation, decide
from deployments.controller.errands import Finished
from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.failures import ApplicationState, Failure
from deployments.controller.outside import Outside
from deployments.controller.rolloutrows import rollout_of
from deployments.controller.rollouts import Rollouts
from deployments.rollout.seen import Checked
from deployments.rollout.signals import Counts
from deployments.rollout.state import Rollout
from deployments.rolloutspec import RolloutSpec
from deployments.schema import ModelSpec
from deployments.store.rollouts import RolloutStore
from deployments.store.store import FleetStore
from deployments.traffic.table import EMPTY, RoutingTable
from tests import fleetstores
from tests.fakes import SIGNATURE

DEADLINE_S = 1.0
MISSING = "RESOURCE_DOES_NOT_EXIST"


class Errands:
    """Runs every errand at once, in the caller's thread."""

    def __init__(self) -> None:
        self._finished: list[Finished] = []

    def begin(self, name: Hashable, call: Callable[[], Any], again_after_s: float = 0.0) -> None:
        with suppress(ConnectionError):  # then it is tried again
            self._finished.append(Finished(name, call()))

    def finished(self) -> list[Finished]:
        found, self._finished = self._finished, []
        return found

    def forget(self, is_over: Callable[[Hashable], bool]) -> None:
        """Nothing is remembered."""


class FakeRegistry:
    """Aliases and versions by model, and the client's calls that rollouts make."""

    def __init__(self, **models: dict[str, str]) -> None:
        self.aliases = {name: dict(aliases) for name, aliases in models.items()}
        self.versions = {(name, v) for name in models for v in "123456789"}
        self.tags: dict[tuple[str, str], dict[str, str]] = {}
        self.is_away = False

    def view(self) -> RegistryView:
        facts = VersionFacts("sklearn", SIGNATURE)
        aliases = {name: dict(each) for name, each in self.aliases.items()}
        return RegistryView(aliases, dict.fromkeys(self.versions, facts), answered=True)

    def missing(self, versions: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        return frozenset(versions) - self.versions

    def aliases_of(self, model: str) -> dict[str, str] | None:
        return dict(self.aliases[model]) if model in self.aliases else None

    def remove(self, model: str, version: str) -> None:
        self.versions.discard((model, version))
        aliases = self.aliases[model]
        self.aliases[model] = {name: each for name, each in aliases.items() if each != version}

    def get_registered_model(self, model: str) -> Any:
        if self.is_away:
            raise ConnectionError
        return SimpleNamespace(aliases=dict(self.aliases[model]))

    def get_model_version(self, model: str, version: str) -> None:
        if (model, version) not in self.versions:
            gone = MlflowException("gone")
            gone.error_code = MISSING
            raise gone

    def set_registered_model_alias(self, model: str, alias: str, version: str) -> None:
        self.aliases[model][alias] = version

    def delete_registered_model_alias(self, model: str, alias: str) -> None:
        self.aliases[model].pop(alias, None)

    def set_model_version_tag(self, model: str, version: str, key: str, value: str) -> None:
        self.get_model_version(model, version)
        self.tags.setdefault((model, version), {})[key] = value


class FlakyStore:
    """The rows of rollouts, in a store that may go away between any two calls."""

    def __init__(self, rows: RolloutStore) -> None:
        self._rows = rows
        self.calls_left: float = math.inf

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._rows, name)

        def call(*arguments: Any, **more: Any) -> Any:
            if self.calls_left <= 0:
                raise OperationalError(name, {}, ConnectionRefusedError("nobody listens"))
            self.calls_left -= 1
            return found(*arguments, **more)

        return call


class FakeCounts:
    """What the judge is shown."""

    def __init__(self) -> None:
        self.by_version: dict[tuple[str, str], Counts] = {}
        self.meanwhile: Callable[[], object] = bool
        """Happens once, in the middle of the next tick."""

    def read(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, bool
        meanwhile()

    def of(self, model: str, version: str) -> Counts:
        return self.by_version.get((model, version), Counts())

    def add(self, model: str, version: str, **more: int) -> None:
        before = self.of(model, version)
        self.by_version[model, version] = Counts(
            requests=before.requests + more.get("requests", 0),
            errors=before.errors + more.get("errors", 0),
            mirrored=before.mirrored + more.get("mirrored", 0),
            differing=before.differing + more.get("differing", 0),
        )


@dataclass
class Cluster:
    """One controller, and the applications of its cluster."""

    name: str
    rollouts: Rollouts
    applications: dict[str, ApplicationState] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    table: RoutingTable = EMPTY
    broken: dict[str, str] = field(default_factory=dict)
    """Applications that cannot be loaded, and why."""

    slow: set[str] = field(default_factory=set)
    """Applications that stay where they are."""

    decision: Decision | None = None


class World:
    """Models, their registry, and clusters that host them."""

    def __init__(
        self, database: Path, specs: Mapping[str, ModelSpec], registry: FakeRegistry
    ) -> None:
        self.now_s = 1_000_000.0
        self.monotonic_s = 0.0
        self.specs = dict(specs)
        self.templates: dict[str, RolloutSpec] = {}
        self.registry = registry
        self.counts = FakeCounts()
        self.store = FleetStore(f"sqlite:///{database}", "test")
        self.rows = RolloutStore(self.store.engine, lambda: self.monotonic_s)
        self.clusters: dict[str, Cluster] = {}
        self.flaky = FlakyStore(self.rows)
        self.view: RegistryView | None = None
        """What controllers saw of the registry last; None: they look at every tick."""
        self.checks: list[Check] = []
        """Those that were asked for; what comes of each is below."""
        self.checked = Checked(asked=8, bad=0)

    def cluster(self, name: str = "one") -> Cluster:
        """A cluster by name; its controller is started if there is none."""
        if name not in self.clusters:
            self.clusters[name] = Cluster(name, self._controller(name))
        return self.clusters[name]

    def crash(self, name: str = "one") -> None:
        """Replace a cluster's controller by one that knows nothing."""
        self.cluster(name).rollouts = self._controller(name)

    def tick(self, name: str = "one", seconds: float = 0.5) -> Decision:
        """Let time pass and one controller look."""
        self.now_s += seconds
        self.monotonic_s += max(0.0, seconds)
        it = self.cluster(name)
        observed = self._observed(it)
        with suppress(OperationalError):  # as the controller does: it goes by what it knows
            it.rollouts.tick(observed, self.templates)
        decision = decide(replace(observed, asked=it.rollouts.asked))
        it.table, it.failures, it.decision = decision.table, dict(decision.failures), decision
        self._carry_out(it, decision)
        return decision

    def run(self, name: str = "one", most: int = 200, until: Callable[[], bool] = bool) -> int:
        """Tick until something holds; returns the number of ticks."""
        for number in range(most):
            if until():
                return number
            self.tick(name)
        return most

    def active(self, model: str = "m") -> Rollout | None:
        """The model's rollout that is on its way, as it is stored."""
        rows = [row for row in self.rows.unsettled() if row.model == model and row.active]
        assert len(rows) <= 1
        return rollout_of(rows[0]) if rows else None

    def last(self, model: str = "m") -> Rollout:
        """The model's last rollout, as it is stored."""
        found = rollout_of(self.rows.history(model, 1)[0])
        assert found is not None
        return found

    def weights(self, name: str = "one", model: str = "m") -> dict[str, int]:
        """Percent by version."""
        routes = self.cluster(name).table.models[model].routes
        return {route.version: route.weight for route in routes}

    def _run_check(self, check: Check) -> Checked:
        self.checks.append(check)
        return self.checked

    def _controller(self, name: str) -> Rollouts:
        registry: Any = self.registry
        errands: Any = Errands()
        to_registry: Any = Errands()
        counts: Any = self.counts
        rows: Any = self.flaky
        outside = Outside(
            lambda: registry,
            registry.missing,
            errands,
            to_registry,
            self._run_check,
            lambda: self.now_s,
        )
        return Rollouts(rows, counts, outside, name, lambda: self.monotonic_s)

    def _observed(self, it: Cluster) -> Observation:
        routed = {r.host for m in it.table.models.values() for r in m.routes}
        return Observation(
            specs=self.specs,
            registry=self.view or self.registry.view(),
            applications=dict(it.applications),
            failures=it.failures,
            table=it.table,
            retired_at_s={name: 0.0 for name in it.applications if name not in routed},
            deadline_s=DEADLINE_S,
            strict_startup=False,
            now_s=self.now_s,
        )

    def _carry_out(self, it: Cluster, decision: Decision) -> None:
        for name, state in list(it.applications.items()):
            if state.status == "DEPLOYING" and name not in it.slow:
                why = it.broken.get(name)
                status = "RUNNING" if why is None else "DEPLOY_FAILED"
                replicas = int(why is None)
                it.applications[name] = replace(
                    state, status=status, running_replicas=replicas, message=why or ""
                )
        for name in decision.delete:
            del it.applications[name]
        for item in decision.deploy:
            it.applications[item.application] = ApplicationState(
                "DEPLOYING", 0, fingerprint=item.fingerprint
            )


def migrated(folder: Path) -> Path:
    """An empty store, for tests to copy."""
    path = folder / "empty.db"
    fleetstores.migrated(path)
    return path


def copied(empty: Path, to: Path) -> Path:
    """A store of one's own."""
    shutil.copy(empty, to)
    return to
