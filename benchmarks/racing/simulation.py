"""Simulated sweeps, one trial after the other, whose truth is known.

A trial's fold score is its own mean, what the fold does to every trial alike, and noise. The
noise of a trial's folds is correlated, as their training rows overlap: by the share of rows
that a fold validates on, which is what Nadeau and Bengio (2003) correct for.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuning.crossvalidation import Report
from tuning.ledger import Trial, TrialState
from tuning.scheduler import SchedulerSpec
from tuning.stopping import Race, Rule

METRIC = "score"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of sweep."""

    name: str
    n_folds: int = 5
    n_trials: int = 30
    spread: float = 1.0
    """Standard deviation of the trials' true means, in units of a fold's noise; 0: all alike."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of many sweeps."""

    best_stopped: float
    """Share of sweeps whose truly best trial was stopped."""

    stopped: float
    """Share of trials that were stopped."""

    saved: float
    """Share of folds that did not have to be run."""

    lost: float
    """How much worse the sweep's winner is in truth than that of the same sweep without a
    rule, on average, in units of a fold's noise."""


def draw_scores(
    scenario: Scenario, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make up the trials' true means, and their scores, shape (trials, folds)."""
    shape = (scenario.n_trials, scenario.n_folds)
    means = scenario.spread * generator.standard_normal(scenario.n_trials)
    correlation = 1.0 / scenario.n_folds
    shared = np.sqrt(correlation) * generator.standard_normal((scenario.n_trials, 1))
    own = np.sqrt(1.0 - correlation) * generator.standard_normal(shape)
    folds = generator.standard_normal(scenario.n_folds)
    return means, means[:, None] + folds[None, :] + shared + own


def run_sweep(scores: NDArray[np.float64], rule: Rule) -> list[int]:
    """Run trials one after the other; return how many folds each was given."""
    n_folds = scores.shape[1]
    given = []
    for number, row in enumerate(scores.tolist()):
        reports: tuple[Report, ...] = ()
        for fold in range(n_folds):
            report = _report(row, fold, n_folds)
            trial = Trial(number, {}, {}, 0.0, reports=reports)
            reports = (*reports, report)
            if not report.complete and rule.stops(trial, report):
                break
        state = TrialState.COMPLETE if len(reports) == n_folds else TrialState.PRUNED
        rule.learn(Trial(number, {}, {}, 0.0, state=state, reports=reports))
        given.append(len(reports))
    return given


def simulate(scenario: Scenario, *, sweeps: int, seed: int, **settings: Any) -> Tally:
    """Run many sweeps of one kind.

    Args:
        scenario: Their kind.
        sweeps: How many.
        seed: Equal seeds make up equal scores, whatever the rule.
        **settings: Of the rule, in the place of the sweep's defaults.
    """
    generator = np.random.default_rng(seed)
    best_stopped = stopped = folds = 0
    lost = 0.0
    for _ in range(sweeps):
        means, scores = draw_scores(scenario, generator)
        given = np.array(run_sweep(scores, make_race(scenario, **settings)))
        complete = given == scenario.n_folds
        best_stopped += not complete[_true_best(means, generator)]
        stopped += int(np.sum(~complete))
        folds += int(given.sum())
        averages = scores.mean(axis=1)
        winner = int(np.argmax(np.where(complete, averages, -np.inf)))
        lost += float(means[int(np.argmax(averages))] - means[winner])
    n_trials = sweeps * scenario.n_trials
    return Tally(
        best_stopped=best_stopped / sweeps,
        stopped=stopped / n_trials,
        saved=1.0 - folds / (n_trials * scenario.n_folds),
        lost=lost / sweeps,
    )


def make_race(scenario: Scenario, **settings: Any) -> Race:
    """Build the rule as a sweep does."""
    defaults: dict[str, Any] = {
        "metric": METRIC,
        "maximize": True,
        "n_folds": scenario.n_folds,
        "test_share": 1.0 / (scenario.n_folds - 1),
        "alpha": SchedulerSpec().alpha,
        "min_folds": 2,
    }
    return Race(**(defaults | settings))


def _true_best(means: NDArray[np.float64], generator: np.random.Generator) -> int:
    # Where all are alike, any of them is the best; the first could never be stopped.
    if np.ptp(means) == 0.0:
        return int(generator.integers(len(means)))
    return int(np.argmax(means))


def _report(row: list[float], fold: int, n_folds: int) -> Report:
    return Report(
        fold=fold,
        epoch=0,
        progress=fold + 1,
        metrics={METRIC: row[fold]},
        mean=sum(row[: fold + 1]) / (fold + 1),
        fold_complete=True,
        complete=fold + 1 == n_folds,
    )
