"""`/api/v1/training`: sweeps over the control API."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from deployments.errors import DependencyError
from deployments.training.training import Training
from deployments.training.views import NewSweep, SweepComparison, SweepLogs, SweepView

PREFIX = "/api/v1/training"

Answer = TypeVar("Answer")

ANSWER_S = 30.0
"""Longest wait for Ray and MLflow: their own clients may wait for ever, seconds."""

SWEEP_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Name = Annotated[str, Path(description="A sweep.", max_length=100, pattern=SWEEP_NAME)]
Lines = Annotated[int, Query(description="Most lines, the last ones.", ge=1, le=100_000)]

Problems = Callable[..., dict[int | str, dict[str, Any]]]


class Sweeps(BaseModel):
    """All sweeps."""

    sweeps: list[SweepView]


def training_router(training: Training, problems: Problems) -> APIRouter:
    """Build the routes.

    Args:
        training: Answers.
        problems: Describes the answers of these statuses.
    """
    router = APIRouter(prefix=PREFIX, tags=["training"])

    @router.get("", responses=problems(503))
    async def list_sweeps() -> Sweeps:
        """Every sweep that Ray or MLflow knows, the newest first."""
        return Sweeps(sweeps=await _answer(training.sweeps))

    @router.post("", status_code=202, responses=problems(400, 409, 413, 503))
    async def submit_sweep(body: NewSweep) -> SweepView:
        """Run a sweep as a Ray job; one of the same name that was interrupted goes on."""
        return await _answer(training.submit, body)

    @router.get("/{name}", responses=problems(400, 404, 503))
    async def get_sweep(name: Name) -> SweepView:
        """Where a sweep stands."""
        return await _answer(training.sweep, name)

    @router.get("/{name}/logs", responses=problems(400, 404, 503))
    async def get_logs(name: Name, lines: Lines = 200) -> SweepLogs:
        """What a sweep's newest job printed."""
        return await _answer(training.logs, name, lines)

    @router.post("/{name}/stop", status_code=202, responses=problems(400, 404, 409, 413, 503))
    async def stop_sweep(name: Name) -> SweepView:
        """Interrupt a sweep, as Ctrl-C does; what its trials found is kept."""
        return await _answer(training.stop, name)

    @router.post("/{name}/resume", status_code=202, responses=problems(400, 404, 409, 413, 503))
    async def resume_sweep(name: Name) -> SweepView:
        """Submit a sweep again; it runs what is left."""
        return await _answer(training.resume, name)

    @router.get("/{name}/compare/{other}", responses=problems(400, 404, 503))
    async def compare_sweeps(name: Name, other: Name) -> SweepComparison:
        """Two sweeps side by side, `name` left and `other` right."""
        return await _answer(training.compare, name, other)

    return router


async def _answer(call: Callable[..., Answer], *arguments: Any) -> Answer:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await asyncio.to_thread(call, *arguments)
    except TimeoutError:
        what = "Ray job API or MLflow tracking server"
        raise DependencyError(what, f"no answer within {ANSWER_S:g} s") from None
