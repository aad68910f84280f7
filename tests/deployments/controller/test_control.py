"""Loading a model: the answer comes when its settings are in force, or cannot be."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.controller.control import Control
from deployments.controller.decide import Decision, Deployment, decide
from deployments.controller.failures import ApplicationState
from deployments.controller.hosted import HostedModels
from deployments.errors import ConflictError, ModelNotReadyError, NotFoundError
from deployments.schema import ModelSpec
from deployments.store.store import FleetStore
from deployments.traffic.table import EMPTY, RoutingTable
from tests.deployments.controller.observations import FAILED, RUNNING, STARTING, failure, seen
from tests.deployments.controller.registries import FakeRegistry
from tests.fleetstores import migrated

WINE = "wine--v1"
WITHIN_S = 10.0


class Cluster:
    """A controller's ticks without a cluster: the test says what runs."""

    def __init__(self, store: FleetStore) -> None:
        self.hosted = HostedModels(store)
        self.hosted.configure({"churn": ModelSpec()})
        self.registry = FakeRegistry()
        registry: Any = self.registry
        self.table: RoutingTable = EMPTY
        self.asked = asyncio.Event()
        self.control = Control(
            self.hosted, registry, "sqlite:///mlflow.db", lambda: self.table, self.asked.set
        )

    async def load(
        self, settings: Mapping[str, Any] | None, name: str = "wine"
    ) -> "asyncio.Task[int]":
        """Begin to load a model; returns once it is among those to host."""
        loading = asyncio.create_task(self.control.load(name, settings))
        await self.asked.wait()
        self.asked.clear()
        return loading

    async def tick(self, state: ApplicationState | None = None, **changes: Any) -> Decision:
        """See this of the model's application, act on it, and let everybody hear of it."""
        found = seen(
            registry=self.registry.look({}),
            specs=self.hosted.specs,
            applications={} if state is None else {WINE: state},
            table=self.table,
            **changes,
        )
        decision = decide(found)
        self.table = decision.table
        self.control.note(found)
        for _ in range(10):
            await asyncio.sleep(0)
        return decision

    async def loaded(self) -> str:
        """Load the model; returns the mark that its application runs with."""
        loading = await self.load(None)
        (due,) = [
            item
            for item in (await self.tick()).deploy
            if isinstance(item, Deployment) and item.model == "wine"
        ]
        await self.tick(replace(RUNNING, fingerprint=due.fingerprint))
        await loading
        return due.fingerprint


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FleetStore]:
    store = FleetStore(migrated(tmp_path / "fleet.db"), "one")
    yield store
    store.close()


def due_for(model: str, decision: Decision) -> list[Deployment]:
    """What is to be deployed of a model."""
    due = [item for item in decision.deploy if isinstance(item, Deployment)]
    return [item for item in due if item.model == model]


@pytest.fixture
def run(store: FleetStore) -> Callable[[Callable[[Cluster], Awaitable[None]]], None]:
    def run(test: Callable[[Cluster], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(WITHIN_S):
                await test(Cluster(store))

        asyncio.run(whole())

    return run


def test_a_new_model_is_loaded_once_it_runs(run: Any) -> None:
    async def test(cluster: Cluster) -> None:
        loading = await cluster.load(None)
        assert cluster.hosted.specs["wine"] == ModelSpec()
        await cluster.tick()
        await cluster.tick(STARTING)
        assert not loading.done()

        await cluster.tick(RUNNING)

        assert await loading == cluster.table.revision

    run(test)


def test_new_settings_of_replicas_are_in_force_once_the_new_replicas_run(run: Any) -> None:
    async def test(cluster: Cluster) -> None:
        old = await cluster.loaded()
        loading = await cluster.load({"num_replicas": 2})
        (due,) = due_for("wine", await cluster.tick(replace(RUNNING, fingerprint=old)))
        assert due.fingerprint != old
        await cluster.tick(ApplicationState("DEPLOYING", 1, fingerprint=due.fingerprint))
        assert not loading.done()

        await cluster.tick(ApplicationState("RUNNING", 2, fingerprint=due.fingerprint))

        assert await loading == cluster.table.revision

    run(test)


def test_new_settings_of_the_gateways_are_in_force_once_the_table_says_so(run: Any) -> None:
    async def test(cluster: Cluster) -> None:
        mark = await cluster.loaded()
        before = cluster.table.revision
        loading = await cluster.load({"max_batch_size": 8})
        assert not loading.done()

        await cluster.tick(replace(RUNNING, fingerprint=mark))

        assert await loading == before + 1
        assert cluster.table.models["wine"].batching.max_batch_size == 8

    run(test)


def test_what_is_shown_says_whether_its_settings_are_in_force(run: Any) -> None:
    async def test(cluster: Cluster) -> None:
        old = await cluster.loaded()
        before = cluster.control.deployment("wine")
        changed = await cluster.control.host("wine", {"num_replicas": 2}, new=False)
        assert (before.in_force, changed.ready, changed.in_force) == (True, True, False)

        (due,) = due_for("wine", await cluster.tick(replace(RUNNING, fingerprint=old)))
        failed = ApplicationState(FAILED.status, 1, FAILED.message, fingerprint=due.fingerprint)
        await cluster.tick(failed)
        broken = cluster.control.deployment("wine")
        await cluster.tick(ApplicationState("RUNNING", 2, fingerprint=due.fingerprint))
        after = cluster.control.deployment("wine")

        assert (broken.ready, broken.in_force) == (True, False)
        assert FAILED.message in broken.fault
        assert (after.in_force, after.fault) == (True, "")

    run(test)


def test_again_is_no_fault_and_changes_nothing(run: Any) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.loaded()

        revision = await cluster.control.load("wine", None)

        assert (revision, cluster.asked.is_set()) == (cluster.table.revision, False)

    run(test)


def test_settings_with_which_no_replica_starts_are_a_failure(run: Any) -> None:
    async def test(cluster: Cluster) -> None:
        old = await cluster.loaded()
        loading = await cluster.load({"num_replicas": 2})
        decision = await cluster.tick(replace(RUNNING, fingerprint=old))
        (mark,) = [
            item.fingerprint
            for item in decision.deploy
            if isinstance(item, Deployment) and item.model == "wine"
        ]

        await cluster.tick(replace(FAILED, running_replicas=1, fingerprint=mark))

        with pytest.raises(ModelNotReadyError, match="no such file"):
            await loading

    run(test)


def test_an_earlier_failure_with_other_settings_says_nothing_of_these(run: Any) -> None:
    async def test(cluster: Cluster) -> None:
        new = ModelSpec(num_replicas=2)
        earlier, latest = failure(spec=ModelSpec()), failure(spec=new)
        loading = await cluster.load({"num_replicas": 2})
        await cluster.tick(failures={WINE: earlier})
        assert not loading.done()

        await cluster.tick(failures={WINE: latest})

        assert await loading == cluster.table.revision  # where it is UNAVAILABLE

    run(test)


def test_a_model_that_is_removed_meanwhile_is_not_waited_for(run: Any) -> None:
    async def test(cluster: Cluster) -> None:
        loading = await cluster.load(None)
        await cluster.control.delete("wine")
        await cluster.tick()

        with pytest.raises(NotFoundError, match="'wine' is not hosted"):
            await loading

    run(test)


def test_settings_of_a_model_of_the_config_are_the_config_s(run: Any) -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(ConflictError, match="change it there"):
            await cluster.control.load("churn", {"max_batch_size": 8})

    run(test)
