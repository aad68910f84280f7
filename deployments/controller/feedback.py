"""Remember answers in the fleet store, and count what is said of them later."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deployments.controller.control import reached
from deployments.errors import MalformedRequestError
from deployments.feedbackspec import FeedbackSpec
from deployments.schema import ModelSpec
from deployments.store.feedback import FeedbackStore, FeedbackTotals, Heard, RememberedRow
from deployments.traffic.feedback import (
    Label,
    Remembered,
    decode_prediction,
    mistakes,
    rewards,
)

ON_ITS_WAY_S = 1.5
"""What a gateway takes to hand an answer over: a label that is quicker has to wait so long."""

PRUNE_S = 10.0
"""Between two looks for what is to be forgotten, for each model, seconds."""

LATE_WINDOWS = 2.0
"""How long requests are kept, in windows, to tell a label that comes late from a wrong id."""


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says of one request."""

    model: str
    request: str
    label: Label | list[Label] | None = None
    reward: float | list[float] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    outcome: str
    """`counted`, `duplicate`, `unknown`, `late` or `refused`."""

    version: str | None = None
    """Which answered; None where that is not known."""

    reason: str = ""
    """Why it did not count."""


class Feedback:
    """Feedback of all models, on the store that all clusters share."""

    def __init__(
        self,
        store: FeedbackStore,
        specs: Callable[[], Mapping[str, ModelSpec]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin.

        Args:
            store: Once it is migrated.
            specs: What is hosted, and how.
            clock: Unix time, seconds.
        """
        self._store = store
        self._specs = specs
        self._clock = clock
        self._pruned_at_s: dict[str, float] = {}

    def remember(self, answers: Sequence[Remembered]) -> bool:
        """Keep answers until their time is over; blocks.

        Returns:
            True; it is not reached while the store is away.
        """
        self._store.remember(
            RememberedRow(
                each.model, each.request, each.version, each.prediction, each.answered_at_s
            )
            for each in answers
        )
        for model in {each.model for each in answers}:
            self._prune(model)
        return True

    async def take(self, said: Sequence[Said]) -> list[Outcome]:
        """Count labels and rewards, each request once for each of the two.

        Raises:
            DependencyError: The store is away; nothing was counted.
        """
        found = await reached("fleet store", self._find, said)
        known = self._known(said)
        if any((each.model, each.request) not in found for each in known):
            await asyncio.sleep(ON_ITS_WAY_S)
            found = await reached("fleet store", self._find, said)
        outcomes: list[Outcome | None] = [None] * len(said)
        due: dict[int, Heard] = {}
        for place, each in enumerate(said):
            graded = self._grade(each, found.get((each.model, each.request)))
            if isinstance(graded, Outcome):
                outcomes[place] = graded
            else:
                due[place] = graded
        counted = await reached("fleet store", self._store.count, list(due.values())) if due else []
        for (place, heard), kinds in zip(due.items(), counted, strict=True):
            outcomes[place] = _outcome(heard, any(kinds))
        return [each for each in outcomes if each is not None]

    def _known(self, said: Sequence[Said]) -> list[Said]:
        """What is about models that have feedback."""
        specs = self._specs()
        return [each for each in said if each.model in specs and specs[each.model].feedback]

    def _find(self, said: Sequence[Said]) -> dict[tuple[str, str], RememberedRow]:
        requests: dict[str, dict[str, None]] = {}
        for each in said:
            requests.setdefault(each.model, {})[each.request] = None
        return {
            (model, name): row
            for model, names in requests.items()
            for name, row in self._store.find(model, list(names)).items()
        }

    def _grade(self, said: Said, row: RememberedRow | None) -> Outcome | Heard:
        """What somebody said of an answer, in numbers."""
        spec = self._specs().get(said.model)
        if spec is None:
            return Outcome("unknown", reason=f"model {said.model!r} is not hosted")
        settings = spec.feedback
        if settings is None:
            return Outcome("refused", reason=f"model {said.model!r} has no feedback settings")
        window = f"{settings.window_s:g} s"
        if row is None:
            reason = (
                f"request {said.request!r} of model {said.model!r} is not remembered: another id,"
                f" left out of the sample, or answered more than {window} ago"
            )
            return Outcome("unknown", reason=reason)
        age_s = self._clock() - row.answered_at_s
        if age_s > settings.window_s:
            reason = f"request {said.request!r} was answered {age_s:.0f} s ago, more than {window}"
            return Outcome("late", row.version, reason)
        try:
            return _heard(said, row, settings)
        except MalformedRequestError as error:
            return Outcome("refused", row.version, f"request {said.request!r}: {error}")

    def _prune(self, model: str) -> None:
        now_s = self._clock()
        spec = self._specs().get(model)
        settings = spec.feedback if spec is not None else None
        if settings is None or now_s - self._pruned_at_s.get(model, -PRUNE_S) < PRUNE_S:
            return
        self._pruned_at_s[model] = now_s
        before_s = now_s - LATE_WINDOWS * settings.window_s
        self._store.prune(model, before_s, settings.max_requests)


def _heard(said: Said, row: RememberedRow, settings: FeedbackSpec) -> Heard:
    """Grade one answer.

    Raises:
        MalformedRequestError: The label or the reward does not fit.
    """
    prediction = decode_prediction(row.prediction)
    label = reward = None
    if said.label is not None:
        label = FeedbackTotals(*mistakes(prediction, said.label, settings.tolerance))
    if said.reward is not None:
        low, high = settings.reward_low, settings.reward_high
        given = rewards(prediction, said.reward, low, high)
        reward = FeedbackTotals(
            rewards=len(given),
            reward_total=sum(given),
            reward_squares=sum(each * each for each in given),
        )
    return Heard(row.model, row.request, row.version, label, reward)


def _outcome(heard: Heard, counted: bool) -> Outcome:
    if counted:
        return Outcome("counted", heard.version)
    return Outcome("duplicate", heard.version, "it has counted before")
