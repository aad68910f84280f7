"""The part of the control API that starts, shows and steers rollouts."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from deployments.controller.rolloutviews import (
    CommandName,
    CommandRequest,
    Events,
    RollbackRequest,
    RolloutDesk,
    Rollouts,
    RolloutView,
    StartRequest,
    actor_of,
)

MODEL = "/api/v1/deployments/{name}"


Name = Annotated[str, Path(description="A hosted model.", max_length=256)]
Id = Annotated[str, Path(description="A rollout's id.", max_length=64)]
Limit = Annotated[int, Query(description="Most rollouts to show.", ge=1, le=1000)]


def rollout_routes(desk: RolloutDesk, problems: Callable[..., dict[int | str, Any]]) -> APIRouter:
    """Build the routes.

    Args:
        desk: Answers.
        problems: Describes errors by their codes.
    """
    router = APIRouter(tags=["rollouts"])

    @router.get("/api/v1/rollouts", responses=problems(503))
    async def list_rollouts() -> Rollouts:
        """The active rollout of every model, else its last."""
        return Rollouts(rollouts=await desk.all())

    @router.get(f"{MODEL}/rollouts", responses=problems(400, 404, 503))
    async def list_rollouts_of_a_model(name: Name, limit: Limit = 100) -> Rollouts:
        """The last rollouts of a model, newest first."""
        return Rollouts(rollouts=await desk.history(name, limit))

    @router.post(f"{MODEL}/rollouts", status_code=201, responses=problems(400, 404, 409, 413, 503))
    async def start_rollout(name: Name, body: StartRequest, request: Request) -> RolloutView:
        """Try a version, or several as arms of an A/B test."""
        return await desk.start(name, body, actor_of(request.headers))

    @router.get(f"{MODEL}/rollout", responses=problems(400, 404, 503))
    async def get_rollout(name: Name) -> RolloutView:
        """The active rollout of a model, else its last."""
        return await desk.current(name)

    @router.get(f"{MODEL}/rollouts/{{rollout}}/events", responses=problems(400, 404, 503))
    async def list_events(name: Name, rollout: Id) -> Events:
        """Who did what to a rollout, when and why, oldest first."""
        return Events(events=await desk.events(name, rollout))

    @router.post(f"{MODEL}/rollback", status_code=201, responses=problems(400, 404, 409, 413, 503))
    async def roll_back(name: Name, body: RollbackRequest, request: Request) -> RolloutView:
        """Bring the previous version back, or any registered one."""
        return await desk.rollback(name, body.version, body.reason, actor_of(request.headers))

    @router.post(f"{MODEL}/rollout/{{command}}", responses=problems(400, 404, 409, 413, 503))
    async def command_rollout(
        name: Name,
        command: Annotated[CommandName, Path(description="What to do.")],
        body: CommandRequest,
        request: Request,
    ) -> RolloutView:
        """Pause, resume, approve, promote now, or abort the active rollout of a model."""
        return await desk.command(name, command, body.reason, actor_of(request.headers))

    return router
