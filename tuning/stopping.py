"""When a trial is stopped early: rules that look at its reports and at those of others.

A rule is asked after each report but the last. It decides from what it has seen before,
so it is the same after a resume, once it was shown the earlier trials.

A trial that breaks a bound cannot win, so it must not stop one that may. Whether it does is
known once it has ended.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from statistics import fmean, median, variance
from typing import Protocol

from tuning.crossvalidation import Report, fold_scores
from tuning.goals import Constraint, broken
from tuning.ledger import Trial, TrialState
from tuning.scheduler import SchedulerSpec

ROUNDING = 1e-9
"""Share of a difference below which its spread is an artefact of arithmetic."""


class Rule(Protocol):
    """Decides which trials go on."""

    def stops(self, trial: Trial, report: Report) -> bool:
        """Whether a trial ends with its newest report, which `trial` does not have yet."""
        ...

    def learn(self, trial: Trial) -> None:
        """Take up a trial that has ended."""
        ...


class Never:
    """Lets every trial finish."""

    def stops(self, trial: Trial, report: Report) -> bool:
        """Say no."""
        return False

    def learn(self, trial: Trial) -> None:
        """Need nothing."""


class Halving:
    """Asynchronous successive halving: at each rung only the best continue.

    With several brackets, trial after trial is given to the one that lacks most of its
    share, which is Hyperband's. Trials are compared before it is known whether they keep to
    the bounds; one that does not is forgotten once it has ended.

    Source: Li et al. (2020), A System for Massively Parallel Hyperparameter Tuning,
    algorithm 2, and Li et al. (2018), Hyperband, algorithm 1; the cut is Ray Tune's.
    """

    def __init__(
        self,
        *,
        maximize: bool,
        grace: int,
        factor: float,
        longest: int,
        brackets: int,
        limits: Sequence[Constraint] = (),
    ) -> None:
        self._sign = 1.0 if maximize else -1.0
        self._limits = limits
        self._factor = factor
        self._rungs = [rungs(grace, factor, longest, bracket) for bracket in range(brackets)]
        self._weights = bracket_weights(brackets, factor)
        self._given: list[int] = [0] * brackets
        self._bracket: dict[int, int] = {}
        self._next = 0
        self._seen: dict[tuple[int, float], list[float]] = {}
        self._passed: dict[int, dict[float, float]] = {}

    def stops(self, trial: Trial, report: Report) -> bool:
        """Whether a rung is reached and the trial is not among its best."""
        bracket = self._bracket_of(trial.number)
        passed = self._passed.setdefault(trial.number, {})
        for rung in reversed(self._rungs[bracket]):
            if report.progress < rung or rung in passed:
                continue
            seen = self._seen.setdefault((bracket, rung), [])
            passed[rung] = value = self._sign * report.mean
            stops = bool(seen) and value < quantile(seen, 1.0 - 1.0 / self._factor)
            insort(seen, value)
            return stops
        return False

    def learn(self, trial: Trial) -> None:
        """Forget what was kept for a trial while it ran, and all of one that breaks a bound."""
        passed = self._passed.pop(trial.number, {})
        if broken(trial, self._limits):
            bracket = self._bracket_of(trial.number)
            for rung, value in passed.items():
                seen = self._seen[bracket, rung]
                del seen[bisect_left(seen, value)]

    def _bracket_of(self, number: int) -> int:
        # By number, so that a resume gives a trial the bracket that it had.
        while self._next <= number:
            shares = [
                (given + 1) / weight
                for given, weight in zip(self._given, self._weights, strict=True)
            ]
            chosen = shares.index(min(shares))
            self._given[chosen] += 1
            self._bracket[self._next] = chosen
            self._next += 1
        return self._bracket[number]


class Median:
    """Stops a trial whose best mean so far is below the median of the others' at that point.

    Source: Golovin et al. (2017), Google Vizier, section 3.2.2.
    """

    def __init__(
        self,
        *,
        maximize: bool,
        grace: int,
        min_trials: int,
        limits: Sequence[Constraint] = (),
    ) -> None:
        self._sign = 1.0 if maximize else -1.0
        self._limits = limits
        self._grace = grace
        self._min_trials = min_trials
        self._averages: dict[int, list[float]] = {}

    def stops(self, trial: Trial, report: Report) -> bool:
        """Whether even the best of the trial's reports is below the median."""
        others = self._averages.get(report.progress, [])
        if report.progress < self._grace or len(others) < self._min_trials:
            return False
        best = max(self._sign * each.mean for each in (*trial.reports, report))
        return best < median(others)

    def learn(self, trial: Trial) -> None:
        """Keep the running average at each report of a completed trial that might win."""
        if trial.state is not TrialState.COMPLETE or broken(trial, self._limits):
            return
        total = 0.0
        for count, report in enumerate(trial.reports, start=1):
            total += self._sign * report.mean
            # Sorted, so that `median` sorts in one pass.
            insort(self._averages.setdefault(report.progress, []), total / count)


class Race:
    """Stops a trial whose folds are worse than the same folds of the best, beyond doubt.

    The differences are tested with Nadeau and Bengio's corrected resampled t-test, one-sided,
    as folds that share their training rows are not independent. A rank test could not do it:
    of five folds, Wilcoxon's smallest p is 1/32 one-sided and 1/16 two-sided, and after
    two it is 1/4.

    Assumes: differences about normal; the looks at one trial share `alpha` equally
        (Bonferroni). The best is the best of many by its own folds and so looks better than
        it is; `python -m benchmarks.racing` shows what that costs.
    Source: Nadeau and Bengio (2003), Inference for the Generalization Error, Machine
        Learning 52, section 3.
    """

    def __init__(
        self,
        *,
        metric: str,
        maximize: bool,
        n_folds: int,
        test_share: float,
        alpha: float,
        min_folds: int,
        limits: Sequence[Constraint] = (),
    ) -> None:
        """Know no trial yet.

        Args:
            metric: What decides.
            maximize: Whether more of it is better.
            n_folds: Folds of a trial.
            test_share: Validation rows of a fold divided by its training rows.
            alpha: Error rate over all looks at a trial.
            min_folds: Finished folds before the first look.
            limits: Bounds that a rival must keep.
        """
        self._metric = metric
        self._sign = 1.0 if maximize else -1.0
        self._test_share = test_share
        self._min_folds = min_folds
        self._limits = limits
        self._alpha_per_look = alpha / max(1, n_folds - min_folds)
        self._best: list[float] = []

    def stops(self, trial: Trial, report: Report) -> bool:
        """Whether a fold has ended and the test says that the trial is worse."""
        if not report.fold_complete or not self._best:
            return False
        scores = list(fold_scores((*trial.reports, report), self._metric).values())
        if len(scores) < self._min_folds:
            return False
        ahead = [best - self._sign * score for best, score in zip(self._best, scores, strict=False)]
        return corrected_p(ahead, self._test_share) < self._alpha_per_look

    def learn(self, trial: Trial) -> None:
        """Keep a completed trial's folds if it is the best so far of those that might win."""
        if trial.state is not TrialState.COMPLETE or broken(trial, self._limits):
            return
        scores = fold_scores(trial.reports, self._metric).values()
        signed = [self._sign * score for score in scores]
        if not self._best or fmean(signed) > fmean(self._best):
            self._best = signed


def corrected_p(differences: Sequence[float], test_share: float) -> float:
    """Probability of differences so far above 0 if there were none, one-sided.

    Args:
        differences: One for each fold, at least 2.
        test_share: Validation rows divided by training rows; 0 is the plain t-test.

    Returns:
        1.0 when all differences are alike, which says nothing about their spread.
    """
    count = len(differences)
    spread = variance(differences)
    if spread <= (ROUNDING * max(map(abs, differences))) ** 2:
        return 1.0
    statistic = fmean(differences) / math.sqrt((1.0 / count + test_share) * spread)
    # Its import costs a fifth of a second, which only sweeps that race need to pay.
    from scipy.special import stdtr  # noqa: PLC0415, as above

    return float(stdtr(count - 1, -statistic))


def rungs(grace: int, factor: float, longest: int, bracket: int) -> list[float]:
    """Points at which a bracket compares trials, ascending."""
    count = _powers(grace, factor, longest) - bracket + 1
    return [grace * factor ** (step + bracket) for step in range(max(0, count))]


def full_brackets(grace: int, factor: float, longest: int) -> int:
    """How many brackets differ, the last of which compares no trials."""
    return _powers(grace, factor, longest) + 1


def _powers(grace: int, factor: float, longest: int) -> int:
    # Of 3 and 243 the logarithms' ratio is 4.999...
    return max(0, int(math.log(longest / grace) / math.log(factor) + 1e-9))


def bracket_weights(brackets: int, factor: float) -> list[float]:
    """Shares of the trials by bracket; the first, which stops the earliest, gets most."""
    weights = [factor ** (brackets - 1 - each) / (brackets - each) for each in range(brackets)]
    return [weight / sum(weights) for weight in weights]


def quantile(ascending: Sequence[float], share: float) -> float:
    """Interpolate linearly between the closest values, as NumPy does by default."""
    place = share * (len(ascending) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (place - below) * (ascending[above] - ascending[below])


def make_rule(
    scheduler: SchedulerSpec,
    *,
    metric: str,
    mode: str,
    n_folds: int,
    n_reports: int,
    test_share: float,
    limits: Sequence[Constraint],
) -> Rule:
    """Build the rule that a spec names."""
    maximize = mode == "max"
    # One beyond the last report, which ends the trial anyway.
    longest = n_reports + 1
    match scheduler.kind:
        case "asha" | "hyperband":
            factor, grace = scheduler.reduction_factor, scheduler.grace_period
            brackets = (
                scheduler.brackets
                if scheduler.kind == "asha"
                else full_brackets(grace, factor, longest)
            )
            return Halving(
                maximize=maximize,
                grace=grace,
                factor=factor,
                longest=longest,
                brackets=brackets,
                limits=limits,
            )
        case "median":
            return Median(
                maximize=maximize,
                grace=scheduler.grace_period,
                min_trials=scheduler.min_trials,
                limits=limits,
            )
        case "race":
            return Race(
                metric=metric,
                maximize=maximize,
                n_folds=n_folds,
                test_share=test_share,
                alpha=scheduler.alpha,
                min_folds=scheduler.min_folds,
                limits=limits,
            )
        case _:
            return Never()
