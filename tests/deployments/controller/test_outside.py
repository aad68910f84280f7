"""What is asked outside the fleet, and when."""

from typing import Any

from deployments.controller.checks import Check
from deployments.controller.outside import Outside
from deployments.rollout.plan import Step, StepKind
from deployments.rollout.seen import Checked
from tests.deployments.controller.rolloutworld import Errands
from tests.deployments.rollout.scenes import a_plan, begun
from tests.fakes import make_route, make_table


def test_a_version_is_checked_once_the_table_has_it() -> None:
    asked: list[Check] = []

    def run_check(check: Check) -> Checked:
        asked.append(check)
        return Checked(1, 0)

    errands: Any = Errands()
    nobody: Any = None  # is not asked
    outside = Outside(nobody, nobody, errands, errands, run_check)
    rollout, step = begun(a_plan()), Step(StepKind.CHECK)
    stable, canary = make_route("m"), make_route("m", "2", weight=0)

    outside.check(rollout, step, make_table(m=(stable,)).models["m"])
    assert asked == []  # else its reason would be that the version is not hosted

    outside.check(rollout, step, make_table(m=(stable, canary)).models["m"])
    assert [check.version for check in asked] == ["2"]
