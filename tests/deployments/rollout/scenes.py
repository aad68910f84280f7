"""Rollouts of model `m` from version 1 to 2, and looks at them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from deployments.rollout.advance import advance
from deployments.rollout.commands import Request, equal_arms, start
from deployments.rollout.looking import TICK_S
from deployments.rollout.plan import Hook, Plan
from deployments.rollout.seen import Answered, Seen, VersionSeen
from deployments.rollout.signals import Counts
from deployments.rollout.state import Advanced, Arm, Phase, Rollout
from deployments.rollout.strategies import plan_of
from deployments.rolloutspec import RolloutSpec

NOW_S = 10_000.0
EDGES = (0.01, 0.1, 1.0)
READY = VersionSeen(ready=True, replicas=1)
LOADING = VersionSeen(reason="its first replica is starting")
FAILED = VersionSeen(failed=True, reason="RuntimeError: weights file is torn")
DOWN = VersionSeen(ready=True, down=True, reason="The actor died")
GOOD = Counts(requests=20_000, latency=(20_000, 0, 0, 0), mirrored=20_000)
BAD = Counts(requests=20_000, errors=600, latency=(20_000, 0, 0, 0))
YES, NO = Answered(True, True, "yes"), Answered(False, True, "webhook 'gate' answered 403")
SILENT = Answered(False, False, "webhook 'gate' cannot be reached")


def a_plan(*steps: Mapping[str, Any], **settings: Any) -> Plan:
    """Of settings as a config has them."""
    return plan_of(RolloutSpec.load({"steps": list(steps), **settings}))


def a_hook(kind: str) -> Hook:
    return Hook("gate", kind, "http://127.0.0.1/gate")


def with_hooks(plan: Plan, *kinds: str) -> Plan:
    return msgspec.structs.replace(plan, hooks=tuple(map(a_hook, kinds)))


def begun(
    plan: Plan,
    *,
    follows: bool = False,
    challenger: str | None = None,
    versions: Sequence[str] = ("2",),
) -> Rollout:
    """One that was just asked for."""
    arms = equal_arms(versions) if plan.strategy == "ab" else (Arm(versions[0], 0),)
    request = Request("m", arms, "1", plan, "ada", "asked for", follows, challenger)
    return start(request, "r1", NOW_S).rollout


def seen(**changes: Any) -> Seen:
    """A look at which all is well and nothing was counted."""
    ready = {"1": READY, "2": READY, "3": READY}
    return replace(Seen(NOW_S, "1", None, versions=ready, edges=EDGES), **changes)


def of(*versions: VersionSeen) -> dict[str, VersionSeen]:
    """How versions 2, 3 and so on fare beside a stable one that is well."""
    return {"1": READY} | {str(n): each for n, each in enumerate(versions, start=2)}


def counted(canary: Counts, stable: Counts = GOOD, **changes: Any) -> Seen:
    return seen(counts={"1": stable, "2": canary, "3": canary}, **changes)


def later(look: Seen, rollout: Rollout, seconds: float = TICK_S) -> Seen:
    return replace(look, now_s=rollout.clock_s + seconds)


def run(rollout: Rollout, look: Seen, *, most: int = 10_000) -> Advanced:
    """See the same again and again, until nothing changes but the time, or it is over."""
    events: tuple[Any, ...] = ()
    quiet = 0
    for _ in range(most):
        done = advance(rollout, later(look, rollout))
        events += done.events
        quiet = 0 if done.events else quiet + 1
        rollout = done.rollout
        if rollout.phase.is_final or quiet > 2000:
            break
    return Advanced(rollout, events)


def is_over(rollout: Rollout) -> bool:
    return rollout.phase in {Phase.SUCCESSFUL, Phase.ABORTED}
