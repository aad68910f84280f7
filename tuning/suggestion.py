"""Which configuration comes next: Optuna, fed from the ledger."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna

from tuning.crossvalidation import Report
from tuning.ledger import Trial, TrialState
from tuning.space import Params, sample
from tuning.spec import SweepSpec

OUTCOMES = {
    TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
}


class Suggestions:
    """An Optuna study in memory, rebuilt from finished trials when a sweep resumes."""

    def __init__(self, spec: SweepSpec) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._spec = spec
        self._study = optuna.create_study(
            direction="maximize" if spec.mode == "max" else "minimize"
        )
        self._open: dict[int, optuna.Trial] = {}

    def draw(self, number: int) -> tuple[Params, dict[str, Any]]:
        """Choose the configuration of trial `number`.

        Returns:
            The parameters, and what Optuna drew for them, by which `restore` repeats it.
        """
        # A generator of its own for each trial: a resumed sweep must not start the
        # stream anew, which would propose the first configurations a second time.
        seed = int(np.random.SeedSequence([self._spec.seed, number]).generate_state(1)[0])
        self._study.sampler = self._sampler(seed)
        return self._ask(number)

    def restore(self, trial: Trial) -> Params:
        """Take up a trial of an earlier process, finished or not, with the same draws."""
        self._study.enqueue_trial(trial.draws)
        params, _ = self._ask(trial.number)
        if trial.state is not TrialState.RUNNING:
            self.close(trial.number, trial.state, trial.reports)
        return params

    def close(self, number: int, state: TrialState, reports: Sequence[Report]) -> None:
        """Learn how a trial ended."""
        trial = self._open.pop(number)
        for report in reports:
            # Duplicates occur where a fold ended early; Optuna keeps the first.
            trial.report(report.mean, report.progress)
        value = reports[-1].mean if state is TrialState.COMPLETE else None
        self._study.tell(trial, value, state=OUTCOMES[state])

    def _ask(self, number: int) -> tuple[Params, dict[str, Any]]:
        trial = self._study.ask()
        self._open[number] = trial
        params = sample(self._spec.space, trial)
        return params, dict(trial.params)

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        if self._spec.searcher.kind == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=self._spec.searcher.n_startup_trials,
            # Trials that still run count as bad, or neighbours in time would be twins.
            constant_liar=True,
        )
