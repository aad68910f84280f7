"""What the control API says about rollouts, and what may be asked of them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, Field

from deployments.controller.views import View
from tuning.configfile import KnownKeys

CommandName = Literal["pause", "resume", "approve", "promote", "abort"]
"""`approve` ends a pause that waits for somebody; `promote` skips all steps that are left."""

VERSION = r"^[1-9][0-9]{0,17}$"

Version = Annotated[str, Field(pattern=VERSION)]
"""A registered version, as MLflow numbers them."""

Text = Annotated[str, Field(max_length=500)]


class FindingView(View):
    """What one signal says. Rates are shares or mean rewards; null of nothing."""

    signal: str
    verdict: Literal["successful", "failed", "inconclusive"]
    reason: str
    dry_run: bool
    """Whether it is only reported."""

    canary: float | None
    n_canary: int
    stable: float | None
    n_stable: int

    low: float
    high: float
    """How much worse the canary is, at least and at most."""

    allowed: float


class RuleView(View):
    """What the measurements of one threshold rule come to."""

    name: str
    phase: Literal["running", "successful", "failed", "inconclusive", "error"]
    reason: str
    dry_run: bool


class SideView(View):
    """One version of a rollout, and what it has done since the rollout began."""

    version: str
    track: str
    """`stable`, `canary`, `shadow`, `previous`, or `arm-1` to `arm-8`."""

    weight: int = Field(ge=0, le=100)
    """Percent of the model's requests."""

    state: Literal["LOADING", "READY", "UNAVAILABLE"]
    requests: int
    errors: int
    mirrored: int
    differing: int
    labels: int
    mistakes: int


class RolloutView(View):
    """One rollout."""

    id: str
    model: str
    version: str
    """The version that is on trial, or comes back; of an A/B test the first arm."""

    arms: list[str]
    """Versions of an A/B test."""

    stable: str | None
    """The version that it is held against."""

    strategy: str
    phase: Literal["pending", "progressing", "paused", "promoting", "successful", "aborted"]
    verdict: Literal["successful", "failed", "inconclusive"] | None
    """The judge's at present, or at the end of a shadow; null before there are numbers, after the
    end of what `phase` says the outcome of, and after an A/B test, where findings have it by arm.
    """

    reason: str
    """Why it is in this phase."""

    actor: str
    """Who started it."""

    step: int
    """Steps that are done."""

    steps: list[str]
    """In order, such as `setWeight 5`, `pause 60 s`, `analysis`."""

    weight: int = Field(ge=0, le=100)
    mirror: int = Field(ge=0, le=100)
    """Percent of stable's requests that the version gets, too, without answering them."""

    step_left_s: float | None
    """Until the present step's time is over; null where none is set."""

    deadline_left_s: float | None
    """Until `on_deadline` decides, without progress before."""

    started_at_s: float
    ended_at_s: float | None
    previous: str | None
    """The version that it replaced, while it is kept warm."""

    keep_previous_left_s: float | None
    findings: list[FindingView]
    rules: list[RuleView]
    sides: list[SideView]
    """Stable first."""


class EventView(View):
    """One entry of a rollout's log."""

    at_s: float
    actor: str
    kind: str
    before: str
    after: str
    reason: str
    numbers: dict[str, Any]
    """Both sides of the comparison behind it."""


class Rollouts(BaseModel):
    """Several rollouts."""

    rollouts: list[RolloutView]


class Events(BaseModel):
    """A rollout's log, oldest first."""

    events: list[EventView]


class StartRequest(KnownKeys):
    """A rollout to start."""

    version: Version | None = None
    """The version to try; null takes the alias `challenger`."""

    versions: list[Version] | None = Field(default=None, min_length=1, max_length=8)
    """Arms of an A/B test beside stable; excludes `version`."""

    rollout: str | dict[str, Any] | None = None
    """A template's name, or settings as a model's `rollout` takes them; null takes the model's."""


class CommandRequest(KnownKeys):
    """Why something is asked."""

    reason: Text = ""
    """For the log."""


class RollbackRequest(CommandRequest):
    """Which version is to come back."""

    version: Version | None = None
    """Any registered version; null takes the one before the champion."""


class RolloutDesk(Protocol):
    """Who answers."""

    async def start(self, model: str, request: StartRequest, by: str) -> RolloutView:
        """Begin a rollout.

        Raises:
            NotFoundError: No such model or version.
            ConflictError: The model has an active rollout, or fixed weights.
            MalformedRequestError: The settings; a line for each fault.
            DependencyError: The registry or the store is away.
        """
        ...

    async def command(self, model: str, command: CommandName, reason: str, by: str) -> RolloutView:
        """Intervene in the active rollout.

        Raises:
            NotFoundError: No such model, or it has no active rollout.
            ConflictError: The command does not fit the rollout's phase.
            DependencyError: The store is away.
        """
        ...

    async def rollback(self, model: str, version: str | None, reason: str, by: str) -> RolloutView:
        """Bring an earlier version back.

        Raises:
            NotFoundError: No such model or version, or nothing came before.
            ConflictError: That version is the champion.
            DependencyError: The registry or the store is away.
        """
        ...

    async def current(self, model: str) -> RolloutView:
        """The active rollout of a model, else its last.

        Raises:
            NotFoundError: No such model, or it never had one.
        """
        ...

    async def all(self) -> list[RolloutView]:
        """The same of every hosted model that ever had one, by name."""
        ...

    async def history(self, model: str, limit: int) -> list[RolloutView]:
        """The last rollouts of a model, newest first.

        Raises:
            NotFoundError: No such model.
        """
        ...

    async def events(self, model: str, rollout: str) -> list[EventView]:
        """What happened to a rollout, oldest first.

        Raises:
            NotFoundError: No such model or rollout.
        """
        ...


def actor_of(headers: Mapping[str, str]) -> str:
    """Name who asks: what the header `X-Actor` says, which nobody checks yet."""
    return headers.get("x-actor", "").strip()[:100] or "api"
