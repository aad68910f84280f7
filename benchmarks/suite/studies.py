"""One searcher on one problem with one seed, without Ray, and the file that keeps the result."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.suite.problems import METRICS, Problem
from tuning.crossvalidation import Report, cross_validate, cut_folds
from tuning.errors import ConfigError
from tuning.ledger import TrialState
from tuning.quiet import quieten
from tuning.spec import check_sweep
from tuning.suggestion import make_suggestions


@dataclass(frozen=True, slots=True)
class Study:
    """What is run, and where its result is kept."""

    problem: Problem
    searcher: str
    n_trials: int
    seed: int
    folder: Path

    @property
    def path(self) -> Path:
        """File of the result."""
        one = self.problem
        return self.folder / f"{one.model}.{one.data}.{one.metric}.{self.searcher}.{self.seed}.json"

    def spec_sha256(self) -> str:
        """What the result depends on."""
        return self.problem.spec(self.searcher, self.n_trials, self.seed).sha256()

    def kept(self) -> list[float] | None:
        """Return the costs of an earlier run of this very study; None if there are none."""
        try:
            found = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return None
        if found.get("spec") != self.spec_sha256():
            return None
        return [math.inf if cost is None else float(cost) for cost in found["costs"]]


def run_study(study: Study) -> list[float]:
    """Run trial after trial, as a sweep with one trial at a time would.

    Returns:
        What each trial cost: the metric if less is better, else its negative; infinite where
        the fit failed.

    Raises:
        ConfigError: The searcher cannot handle the space.
    """
    quieten()
    spec = study.problem.spec(study.searcher, study.n_trials, study.seed)
    task = check_sweep(spec, study.problem.title)
    suggestions = make_suggestions(spec)
    folds = cut_folds(*task.training_rows, task.split.folds)
    sign = -1.0 if METRICS[spec.metric] == "max" else 1.0
    costs = []
    with threadpool_limits(1):
        for number in range(spec.n_trials):
            params, _ = suggestions.draw(number)
            reports: list[Report] = []
            state = TrialState.COMPLETE
            try:
                reports = list(
                    cross_validate(
                        task.trainer, params, folds, metric=spec.metric, epochs=spec.epochs
                    )
                )
            except Exception:  # noqa: BLE001, a space may hold what no fit survives
                state = TrialState.FAILED
            suggestions.close(number, state, reports)
            costs.append(sign * reports[-1].mean if state is TrialState.COMPLETE else math.inf)
    _keep(study, costs)
    return costs


def possible(study: Study) -> bool:
    """Whether the searcher can handle the problem's space."""
    try:
        spec = study.problem.spec(study.searcher, study.n_trials, study.seed)
        check_sweep(spec, study.problem.title)
    except ConfigError:
        return False
    return True


def _keep(study: Study, costs: list[float]) -> None:
    study.folder.mkdir(parents=True, exist_ok=True)
    plain = [cost if math.isfinite(cost) else None for cost in costs]
    unfinished = study.path.with_suffix(".part")
    unfinished.write_text(json.dumps({"spec": study.spec_sha256(), "costs": plain}))
    unfinished.replace(study.path)
