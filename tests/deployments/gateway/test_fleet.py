"""What a gateway asks of its fleet, with a controller that the test plays."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayTaskError

from deployments.errors import (
    ConflictError,
    DeadlineExceededError,
    DependencyError,
    FleetError,
    ForbiddenError,
    ModelNotReadyError,
)
from deployments.gateway import fleet as fleet_module
from deployments.gateway.fleet import ControllerFleet
from deployments.gateway.inference import Inference
from deployments.telemetry import Counters
from deployments.traffic.table import RouteState, RoutingTable
from tests.fakes import FakeTransport, make_route, make_table, run_virtually

LOADED = make_route("wine")
BROKEN = make_route("wine", state=RouteState.UNAVAILABLE, weight=0, reason="no such file")


class Method:
    """One method behind a deployment handle."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self.remote = call


class FakeController:
    """Answers what the test says, and knows which table all gateways have."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.trouble: BaseException | None = None
        self.revision = 0
        self.acknowledged = 0
        self.load = Method(self._load)
        self.unload = Method(self._unload)
        self.is_applied = Method(self._is_applied)

    async def _load(self, *args: Any) -> int:
        self._ask("load", *args)
        return self.revision

    async def _unload(self, *args: Any) -> None:
        self._ask("unload", *args)

    async def _is_applied(self, revision: int) -> bool:
        return self.acknowledged >= revision

    def _ask(self, *what: Any) -> None:
        self.asked.append(what)
        if self.trouble is not None:
            raise self.trouble


class Scene:
    """A gateway that asks, and its controller."""

    def __init__(self, mode: str = "explicit") -> None:
        self.controller = FakeController()
        counters = Counters("gateway-1")
        self.inference = Inference(lambda _: FakeTransport(), counters)
        handle: Any = self.controller
        self.fleet = ControllerFleet(handle, self.inference, counters, mode)

    def apply(self, table: RoutingTable, acknowledged: bool = True) -> None:
        self.inference.apply(table)
        if acknowledged:
            self.controller.acknowledged = table.revision


async def settle() -> None:
    """Let everybody do what they can without waiting for anything new."""
    await asyncio.sleep(10 * fleet_module.POLL_S)


def test_a_load_ends_when_every_gateway_has_the_table_in_which_it_is_in_force() -> None:
    async def test() -> None:
        scene = Scene()
        scene.apply(make_table(1, wine=(LOADED,)))
        scene.controller.revision = 2
        loading = asyncio.create_task(scene.fleet.load("wine", {"max_batch_size": 8}))
        await settle()
        assert not loading.done()  # ready here, but as it was before

        scene.apply(make_table(2, wine=(LOADED,)), acknowledged=False)
        await settle()
        assert not loading.done()  # another gateway has yet to follow

        scene.controller.acknowledged = 2
        await loading
        assert scene.controller.asked == [("load", "wine", {"max_batch_size": 8})]

    run_virtually(test)


def test_a_load_that_fails_says_why() -> None:
    async def test() -> None:
        scene = Scene()
        scene.apply(make_table(1, wine=(BROKEN,)))

        with pytest.raises(ModelNotReadyError, match="no such file"):
            await scene.fleet.load("wine", None)

    run_virtually(test)


def test_an_unload_ends_when_every_gateway_has_a_table_without_the_model() -> None:
    async def test() -> None:
        scene = Scene()
        scene.apply(make_table(1, wine=(LOADED,)))
        unloading = asyncio.create_task(scene.fleet.unload("wine"))
        await settle()
        scene.apply(make_table(2), acknowledged=False)
        await settle()
        assert not unloading.done()

        scene.controller.acknowledged = 2
        await unloading

    run_virtually(test)


@pytest.mark.parametrize("replies", [True, False], ids=["not-in-force", "controller-hangs"])
def test_nobody_waits_for_ever(replies: bool) -> None:
    async def never(*_: Any) -> int:
        await asyncio.Event().wait()
        return 0

    async def test() -> None:
        scene = Scene()
        if not replies:
            scene.controller.load = Method(never)

        with pytest.raises(DeadlineExceededError):
            await scene.fleet.load("wine", None)

    run_virtually(test)


@pytest.mark.parametrize("action", ["load", "unload"])
def test_nothing_is_asked_unless_the_config_allows_it(action: str) -> None:
    async def test() -> None:
        scene = Scene(mode="none")
        call = scene.fleet.load("wine", None) if action == "load" else scene.fleet.unload("wine")

        with pytest.raises(ForbiddenError, match="model_control_mode: explicit"):
            await call

        assert scene.controller.asked == []

    run_virtually(test)


def remote(error: Exception) -> Exception:
    """An error as it comes from another process."""
    task_error: Any = RayTaskError
    found: Exception = task_error(
        "load", "traceback with host and pid", error
    ).as_instanceof_cause()
    return found


@pytest.mark.parametrize(
    ("trouble", "expected", "words"),
    [
        pytest.param(
            remote(ConflictError("the config's")), ConflictError, "the config's", id="our"
        ),
        pytest.param(RayActorError(), DependencyError, "the controller cannot", id="gone"),
    ],
)
def test_what_goes_wrong_at_the_controller(
    trouble: Exception, expected: type[FleetError], words: str
) -> None:
    async def test() -> None:
        scene = Scene()
        scene.controller.trouble = trouble

        with pytest.raises(expected) as raised:
            await scene.fleet.load("wine", None)

        assert str(raised.value).startswith(words)

    run_virtually(test)
