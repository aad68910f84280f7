import pytest

from tests.tuning.reporting.sweeps import make_facts
from tests.tuning.trials import reports, trial
from tuning.ledger import TrialState
from tuning.reporting.effort import effort


def test_what_was_done_and_spared_is_added_up() -> None:
    trials = [
        trial(0, 0.5, 0.5, 0.5, 0.5, started_at_s=10.0, ended_at_s=18.0),
        trial(1, state=TrialState.PRUNED, reports=reports(0.1, of=4), started_at_s=10.0,
              ended_at_s=12.0),
        trial(2, state=TrialState.FAILED, reports=(), started_at_s=12.0, ended_at_s=20.0),
    ]  # fmt: skip

    cost = effort(make_facts(trials))

    assert (cost.wall_s, cost.busy_s, cost.cpu_s) == (10.0, 18.0, 36.0)
    assert cost.at_once == pytest.approx(1.8)
    # One of four folds took two seconds, so three more would have taken six.
    assert (cost.stopped, cost.reports_done, cost.reports_spared) == (1, 5, 3)
    assert cost.spared_s == pytest.approx(6.0)
    assert cost.spared_share == pytest.approx(3 / 8)


def test_nothing_cost_nothing() -> None:
    assert effort(make_facts([])).wall_s == 0.0
