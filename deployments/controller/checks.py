"""Have a version answer what was kept to check it by, before it gets any request."""

import asyncio
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.controller.heldout import HeldOut, example_of, requests_of, wrong
from deployments.errors import ConfigError, PredictionError
from deployments.predictor.prediction import Prediction
from deployments.predictor.predictor import DEPLOYMENT
from deployments.protocols.tensors import Array, Signature
from deployments.rollout.seen import Checked
from deployments.traffic.table import ModelRoutes, Route
from tuning.probes import first_line

ASKER = "check"
"""Stands where a gateway names itself to a replica."""

EXAMPLE = "serving_input_example.json"
"""MLflow's name for an input example in its scoring protocol's words."""


@dataclass(frozen=True, slots=True)
class Check:
    """A version, and what it is to be asked."""

    model: str
    version: str
    requests: str | None
    """A file; None for the version's input example."""

    routes: ModelRoutes
    """Of the model, as the table in force has them."""


class Checks:
    """Asks replicas through Serve's handles, on an event loop of its own.

    Serve's handles belong to the loop that they are first used on, and the caller is a thread
    that comes and goes.
    """

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._started: asyncio.AbstractEventLoop | None = None

    def run(self, check: Check) -> Checked:
        """Check a version; blocks.

        Returns:
            What came of it; nothing asked, and why, where there was nothing to ask or nobody
            who answered.
        """
        route = check.routes.route(check.version)
        if route is None:
            return Checked(0, 0, f"version {check.version} is not hosted")
        try:
            held = kept(check, route.signature)
        except (ConfigError, OSError, MlflowException) as error:
            return Checked(0, 0, str(error).partition("\n")[0])
        answering = asyncio.run_coroutine_threadsafe(_Asking(check).ask(route, held), self._loop)
        return answering.result()

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._started is None:
                self._started = asyncio.new_event_loop()
                run = self._started.run_forever
                threading.Thread(target=run, name="checks", daemon=True).start()
            return self._started


def kept(check: Check, signature: Signature) -> list[HeldOut]:
    """Read what is to be asked.

    Raises:
        ConfigError: It is not as it should be.
        OSError: The file cannot be read.
        MlflowException: The registry has no example, or does not answer.
    """
    if check.requests is not None:
        return requests_of(check.requests, Path(check.requests).read_bytes(), signature)
    uri = f"models:/{check.model}/{check.version}"
    nothing = f"no input example of version {check.version}, and no file of requests"
    with tempfile.TemporaryDirectory(prefix="rf-check-") as folder:
        try:
            if EXAMPLE not in {each.path for each in mlflow.artifacts.list_artifacts(uri)}:
                raise ConfigError(nothing)
            path = mlflow.artifacts.download_artifacts(f"{uri}/{EXAMPLE}", dst_path=folder)
        except (MlflowException, OSError) as error:
            raise ConfigError(f"{nothing}: {first_line(error)}") from None
        return example_of(Path(path).read_bytes(), signature)


class _Asking:
    """Handles of a check's own, for one event loop.

    Serve would hand out those that the controller uses on its loop, and they are for one loop.
    """

    def __init__(self, check: Check) -> None:
        self._check = check
        self._handles: dict[str, Any] = {}

    async def ask(self, route: Route, held: list[HeldOut]) -> Checked:
        """Send every request; see `Checks.run`."""
        try:
            return await self._ask(route, held)
        finally:
            for handle in self._handles.values():
                await handle.shutdown_async()

    async def _ask(self, route: Route, held: list[HeldOut]) -> Checked:
        routes, bad, words = self._check.routes, 0, ""
        for each in held:
            try:
                answer = await self._predict(route, each)
            except (PredictionError, TimeoutError) as error:
                said = str(error) or f"no answer within {routes.deadline_s:g} s"
                fault: str | None = f"{each.name}: {said}"
            except (RayError, RayServeException) as error:
                return Checked(0, 0, f"its replica is away: {type(error).__name__}")
            else:
                right = await self._right(each)
                tolerance = routes.mirroring.tolerance
                fault = None if right is None else wrong(each, answer, right, tolerance)
            if fault is not None:
                bad, words = bad + 1, words or fault
        return Checked(len(held), bad, words)

    async def _right(self, held: HeldOut) -> Mapping[str, Array] | None:
        """The answer that is expected, else stable's; None where that has none either."""
        stable = self._check.routes.stable
        if held.expected is not None or stable is None:
            return held.expected
        try:
            return await self._predict(stable, held)
        except (PredictionError, TimeoutError, RayError, RayServeException):
            return None

    async def _predict(self, route: Route, held: HeldOut) -> Mapping[str, Array]:
        """Ask one version.

        Raises:
            PredictionError: The model raised.
            TimeoutError: It took longer than a request may.
            RayError: Its replica is away.
            RayServeException: As above.
        """
        if route.host not in self._handles:
            handle: DeploymentHandle[Any] = DeploymentHandle(DEPLOYMENT, route.host)
            self._handles[route.host] = handle.options(method_name="predict")
        target = (self._check.model, route.version, route.runtime, route.size_bytes)
        told = (target,) if route.pool is not None else ()
        try:
            async with asyncio.timeout(self._check.routes.deadline_s):
                answering: Any = self._handles[route.host].remote(held.batch, ASKER, 1, *told)
                answer: Prediction = await answering
        except RayTaskError as error:
            # Of both classes, and its text is the remote traceback.
            if isinstance(error.cause, PredictionError):
                raise error.cause from None
            raise
        return answer.arrays
