import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from deployments.training.showing import list_lines, status_lines, watch
from deployments.training.views import SweepView


def view(**fields: Any) -> SweepView:
    given: dict[str, Any] = {
        "name": "risks",
        "state": "RUNNING",
        "job_id": "sweep-risks-1",
        "message": "",
        "run_id": "run",
        "n_trials": 10,
        "trials": {"complete": 3, "pruned": 1, "running": 2},
        "metric": "accuracy",
        "best": 0.91234,
        "best_std": 0.01,
        "best_trial": 3,
        "best_params": {"C": "0.123456", "kind": "tree"},
        "elapsed_s": 65.0,
        "remaining_s": 30.0,
        "resources": {"cpu": 4.0, "gpu": 0.0},
        "refused": None,
    }
    return SweepView(**(given | fields))


def test_a_status_has_state_time_resources_and_the_best() -> None:
    assert status_lines(view()) == [
        "risks  ███████████░░░░░░░░░░░░░░░░░ 4/10  running",
        "2 running, 3 complete, 1 pruned  1 min 05 s elapsed, about 30 s left  using 4 CPU",
        "best accuracy 0.9123 ± 0.0100  trial 3  C=0.1235, kind=tree",
    ]


def test_a_failure_and_a_refusal_say_why() -> None:
    failed = view(state="FAILED", message="exit code 1\nat length", refused="no better: 0.8")

    assert status_lines(failed)[-2:] == ["not registered: no better: 0.8", "exit code 1"]


def test_a_sweep_without_a_run_has_a_state() -> None:
    assert status_lines(view(run_id=None, state="PENDING")) == ["risks  pending"]


def test_a_list_is_in_columns() -> None:
    waiting = view(name="wine", state="PENDING", run_id=None, best=None, n_trials=0, trials={})

    assert list_lines([view(), waiting]) == [
        "SWEEP  STATE    TRIALS  BEST             JOB",
        "risks  RUNNING  4/10    accuracy 0.9123  sweep-risks-1",
        "wine   PENDING  -       -                sweep-risks-1",
    ]


@pytest.mark.parametrize(("last", "status"), [("SUCCEEDED", 0), ("STOPPED", 1), ("FAILED", 1)])
def test_watching_prints_changes_until_the_end(last: str, status: int) -> None:
    views: Iterator[SweepView] = iter(
        [view(), view(), view(trials={"complete": 9}), view(state=last, trials={"complete": 10})]
    )
    shown = io.StringIO()

    found = watch(lambda: next(views), lambda _: None, console=Console(file=shown, width=200))

    assert found == status
    assert shown.getvalue().splitlines() == [
        "risks  running  of 10: 3 complete, 1 pruned, 2 running, best accuracy 0.9123",
        "risks  running  of 10: 9 complete, best accuracy 0.9123",
        f"risks  {last.lower()}  of 10: 10 complete, best accuracy 0.9123",
    ]


def test_watching_is_live_on_a_terminal() -> None:
    views = iter([view(), view(state="SUCCEEDED", trials={"complete": 10}, remaining_s=0.0)])
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120)

    assert watch(lambda: next(views), lambda _: None, console=console) == 0
    assert "10/10  succeeded" in shown.getvalue()
