"""A desk that keeps rollouts in memory, and what it shows."""

from typing import Any

from deployments.controller.rolloutviews import (
    CommandName,
    EventView,
    FindingView,
    RolloutView,
    SideView,
    StartRequest,
)
from deployments.errors import ConflictError, DependencyError, NotFoundError


def make_finding(**changes: Any) -> FindingView:
    values: dict[str, Any] = {
        "signal": "errors", "verdict": "inconclusive",
        "reason": "error rate 1.0% of 200 against 0.5% of 3800: rise between -1.0% and +4.1%,"
        " allowed +1.0%",
        "dry_run": False, "canary": 0.01, "n_canary": 200, "stable": 0.005, "n_stable": 3800,
        "low": -0.01, "high": 0.041, "allowed": 0.01,
    }  # fmt: skip
    return FindingView(**values | changes)


def make_side(version: str, track: str, weight: int, **changes: Any) -> SideView:
    values: dict[str, Any] = {
        "version": version, "track": track, "weight": weight, "state": "READY", "requests": 0,
        "errors": 0, "mirrored": 0, "differing": 0, "labels": 0, "mistakes": 0,
    }  # fmt: skip
    return SideView(**values | changes)


def make_rollout(**changes: Any) -> RolloutView:
    values: dict[str, Any] = {
        "id": "r1", "model": "churn", "version": "2", "arms": [], "stable": "1",
        "strategy": "canary", "phase": "progressing", "verdict": "inconclusive",
        "reason": "too little data", "actor": "ada", "step": 1,
        "steps": ["setWeight 5", "analysis", "setWeight 50"], "weight": 5, "mirror": 0,
        "step_left_s": None, "deadline_left_s": 540.0, "started_at_s": 1_000.0,
        "ended_at_s": None, "previous": None, "keep_previous_left_s": None,
        "findings": [make_finding()], "rules": [],
        "sides": [
            make_side("1", "stable", 95, requests=3800, errors=19),
            make_side("2", "canary", 5, requests=200, errors=2),
        ],
    }  # fmt: skip
    return RolloutView(**values | changes)


class FakeDesk:
    """One rollout of the model `churn`, and all that was asked."""

    def __init__(self, *rollouts: RolloutView) -> None:
        self.rollouts = list(rollouts)
        """Shown one after the other, the last one for good."""

        self.asked: list[tuple[Any, ...]] = []
        self.away = 0
        """Looks in vain that begin after the first one."""

        self._looks = 0

    async def start(self, model: str, request: StartRequest, by: str) -> RolloutView:
        self._require(model)
        if any(each.phase == "progressing" for each in self.rollouts):
            raise ConflictError(f"model {model!r} has an active rollout, to version 2")
        self.asked.append(("start", request.version, request.versions, request.rollout, by))
        self.rollouts.append(make_rollout(version=request.version or "2", actor=by))
        return self.rollouts[-1]

    async def command(self, model: str, command: CommandName, reason: str, by: str) -> RolloutView:
        self._require(model)
        self.asked.append((command, reason, by))
        return self.rollouts[0]

    async def rollback(self, model: str, version: str | None, reason: str, by: str) -> RolloutView:
        self._require(model)
        self.asked.append(("rollback", version, reason, by))
        return self.rollouts[0]

    async def current(self, model: str) -> RolloutView:
        self._require(model)
        if not self.rollouts:
            raise NotFoundError(f"model {model!r} never had a rollout")
        self._looks += 1
        if 1 < self._looks <= 1 + self.away:
            raise DependencyError("fleet store", "gone")
        return self.rollouts.pop(0) if len(self.rollouts) > 1 else self.rollouts[0]

    async def all(self) -> list[RolloutView]:
        return self.rollouts[:1]

    async def history(self, model: str, limit: int) -> list[RolloutView]:
        self._require(model)
        return self.rollouts[:limit]

    async def events(self, model: str, rollout: str) -> list[EventView]:
        self._require(model)
        if rollout != "r1":
            raise NotFoundError(f"model {model!r} has no rollout {rollout!r}")
        return [
            EventView(
                at_s=1_060.0, actor="ada", kind="step", before="setWeight 5", after="analysis",
                reason="step done", numbers={"canary": 0.01, "stable": 0.005},
            )
        ]  # fmt: skip

    @staticmethod
    def _require(model: str) -> None:
        if model != "churn":
            raise NotFoundError(f"model {model!r} is not hosted")
