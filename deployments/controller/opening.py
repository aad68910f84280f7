"""Open the control API's port, with all that it answers."""

from collections.abc import Awaitable, Callable

from deployments.controller.api import is_loopback, make_api, problems
from deployments.controller.control import Control
from deployments.controller.door import ControlDoor
from deployments.controller.feedback import Feedback
from deployments.controller.feedback_api import feedback_router
from deployments.controller.registry_events import read_secret, registry_router
from deployments.controller.rolloutviews import RolloutDesk
from deployments.controller.training_api import training_router
from deployments.settings import Settings
from deployments.training.cluster import own_training


def open_door(
    settings: Settings,
    control: Control,
    feedback: Feedback,
    desk: RolloutDesk,
    *,
    ready: Callable[[], Awaitable[None]],
    look: Callable[[], None],
) -> ControlDoor | None:
    """Listen, unless the config closes the port.

    Args:
        settings: Of the fleet.
        control: Answers about models.
        feedback: Counts what is said of answers.
        desk: Answers about rollouts.
        ready: Returns once the store was read, or raises a DependencyError.
        look: Has the controller look at the registry at once.
    """
    spec = settings.control
    if spec is None:
        return None
    secret_file = spec.registry_secret_file
    routers = [
        feedback_router(feedback, problems(400, 404, 413, 503)),
        registry_router(lambda: read_secret(secret_file), look, problems(401, 404, 413, 503)),
        training_router(own_training(settings), problems),
    ]
    only_loopback = is_loopback(spec.host)
    api = make_api(
        control, ready, settings.express, routers, rollouts=desk, only_loopback=only_loopback
    )
    return ControlDoor(api, spec)
