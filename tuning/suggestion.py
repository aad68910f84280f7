"""Which configuration comes next: a design that needs no results, or Optuna that learns."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import optuna

from tuning.crossvalidation import Report
from tuning.goals import ObjectiveSpec
from tuning.ledger import Prior, Trial, TrialState
from tuning.samplers import DORMANT, STATEFUL, Repeating, frozen, make_sampler
from tuning.sequence import Design, make_design
from tuning.space import Params, sample
from tuning.spec import SweepSpec
from tuning.values import value_of

OUTCOMES = {
    TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
}
UNKNOWN_VIOLATION = 1.0
"""Of a bound on a metric that a trial never reported."""


class Suggestions(Protocol):
    """Chooses configurations, one for each trial number, from 0.

    They are asked for in their order, but for those that `restore` was not told of.
    """

    def draw(self, number: int) -> tuple[Params, dict[str, Any]]:
        """Choose the configuration of a trial.

        Returns:
            The parameters, and the draws behind them by qualified names, by which
            `restore` repeats them.
        """
        ...

    def restore(self, trials: Sequence[Trial]) -> None:
        """Take up the trials of an earlier process, by number, finished or not."""
        ...

    def close(self, number: int, state: TrialState, reports: Sequence[Report]) -> None:
        """Learn how a trial ended."""
        ...


def make_suggestions(spec: SweepSpec, priors: Sequence[Prior] = ()) -> Suggestions:
    """Build what a spec's searcher names.

    Args:
        spec: The sweep.
        priors: What an earlier sweep found; of use to searchers that learn.
    """
    design = make_design(spec.space, spec.searcher, spec.seed)
    return Designed(design) if design is not None else Learned(spec, priors)


class Designed:
    """Follows a design, whatever the results."""

    def __init__(self, design: Design) -> None:
        self._design = design

    def draw(self, number: int) -> tuple[Params, dict[str, Any]]:
        """Ask the design."""
        return self._design.draw(number)

    def restore(self, trials: Sequence[Trial]) -> None:
        """Need nothing: a number says it all."""

    def close(self, number: int, state: TrialState, reports: Sequence[Report]) -> None:
        """Learn nothing."""


class Learned:
    """An Optuna study in memory, rebuilt from the ledger when a sweep resumes."""

    def __init__(self, spec: SweepSpec, priors: Sequence[Prior] = ()) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._spec = spec
        self._dormant = spec.searcher.kind in DORMANT
        self._objectives: tuple[ObjectiveSpec, ...] = spec.goals
        self._study = optuna.create_study(
            directions=[
                "maximize" if objective.mode == "max" else "minimize"
                for objective in self._objectives
            ],
            sampler=optuna.samplers.RandomSampler(seed=spec.seed),
        )
        self._priors = [frozen(prior, spec.searcher, spec.space) for prior in priors]
        for prior in self._priors:
            self._study.add_trial(prior)
        self._open: dict[int, optuna.Trial] = {}

    def draw(self, number: int) -> tuple[Params, dict[str, Any]]:
        """Ask Optuna."""
        self._study.sampler = self._sampler(number)
        return self._ask(number)

    def restore(self, trials: Sequence[Trial]) -> None:
        """Repeat what was asked and told, in the order in which it was."""
        ended = sorted(
            (trial for trial in trials if trial.state is not TrialState.RUNNING),
            key=lambda trial: (trial.ended_at_s or 0.0, trial.number),
        )
        told = 0
        for trial in trials:
            while told < min(trial.known, len(ended)) and ended[told].number < trial.number:
                self._close(ended[told])
                told += 1
            inner = (
                self._sampler(trial.number)
                if self._spec.searcher.kind in STATEFUL
                else optuna.samplers.RandomSampler(seed=self._spec.seed)
            )
            self._study.sampler = Repeating(inner, trial.draws)
            self._ask(trial.number)
        for trial in ended[told:]:
            self._close(trial)

    def close(self, number: int, state: TrialState, reports: Sequence[Report]) -> None:
        """Tell Optuna."""
        trial = self._open.pop(number)
        for place, constraint in enumerate(self._spec.limits):
            value = value_of(reports, constraint.metric)
            beyond = constraint.violation(value) if value is not None else UNKNOWN_VIOLATION
            trial.set_constraint(str(place), beyond)
        values = None
        if state is TrialState.COMPLETE:
            values = self._values(reports)
            state = TrialState.COMPLETE if values is not None else TrialState.FAILED
        if len(self._objectives) == 1:
            for report in reports:
                # Duplicates occur where a fold ended early; Optuna keeps the first.
                trial.report(report.mean, report.progress)
        self._study.tell(trial, values, state=OUTCOMES[state])

    def _close(self, trial: Trial) -> None:
        self.close(trial.number, trial.state, trial.reports)

    def _values(self, reports: Sequence[Report]) -> list[float] | None:
        values = [reports[-1].mean]
        for objective in self._objectives[1:]:
            value = value_of(reports, objective.metric)
            if value is None:
                return None
            values.append(value)
        return values

    def _ask(self, number: int) -> tuple[Params, dict[str, Any]]:
        trial = self._study.ask()
        self._open[number] = trial
        params = sample(self._spec.space, trial, dormant=self._dormant)
        return params, dict(trial.params)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        # A generator of its own for each trial: a resumed sweep must not start the
        # stream anew, which would propose the first configurations a second time.
        seed = int(np.random.SeedSequence([self._spec.seed, number]).generate_state(1)[0])
        spec = self._spec
        return make_sampler(spec.searcher, spec.space, spec.n_trials, seed, self._priors)
