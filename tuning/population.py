"""Population based training with Ray Tune: trials that copy better ones while they train.

All folds of a trial advance together, epoch by epoch, so that two trials can be compared and
copied at the same epoch. What a trial did is a list of segments: epochs and their parameters.
"""

import pickle
import traceback
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np
from ray.tune import Trainable
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.schedulers.pbt import _PBTTrialState

from tuning.crossvalidation import Report, cut_folds, deciding
from tuning.exploring import Segment, explored, extended, mutable_dimensions, one_epoch
from tuning.spec import SweepSpec, Task
from tuning.trainers.trainer import Evolving, Metrics
from tuning.workload import Workload

STATE = "population.pickle"


class PopulationTrial(Trainable):
    """Runs one epoch of all folds of one trial per step."""

    def setup(self, config: dict[str, Any], workload: Workload | None = None) -> None:
        """Build the trainer and cut the folds, once for all trials of this actor."""
        if workload is None:
            raise ValueError("bind the workload with tune.with_parameters")
        self._workload = workload
        self._trainer = cast("Evolving", workload.make_trainer())
        self._reports: tuple[Report, ...] = ()
        self._segments: tuple[Segment, ...] = ()
        self._folds = cut_folds(workload.rows, workload.labels, workload.folds)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in this actor; a checkpoint may follow."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train every fold for one epoch."""
        try:
            return self._epoch()
        except Exception:  # noqa: BLE001, whatever a trainer raises is its trial's outcome
            return {"error": traceback.format_exc(), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write all by which this or another trial goes on."""
        kept = (self._states, self._reports, self._segments)
        (Path(checkpoint_dir) / STATE).write_bytes(pickle.dumps(kept))

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        """Go on from there, with parameters of one's own."""
        kept = pickle.loads((Path(checkpoint_dir) / STATE).read_bytes())  # noqa: S301, ours
        states, self._reports, self._segments = kept
        self._states[:] = states

    def _begin(self, config: dict[str, Any]) -> None:
        self._params = config["params"]
        self._states: list[bytes | None] = [None] * len(self._folds)
        self._reports, self._segments = (), ()

    def _epoch(self) -> dict[str, Any]:
        results = []
        for place, fold in enumerate(self._folds):
            metrics, self._states[place] = one_epoch(
                self._trainer, self._params, fold, self._states[place]
            )
            results.append(metrics)
        self._segments = extended(self._segments, self._params)
        epoch = sum(segment.epochs for segment in self._segments) - 1
        epochs = self._workload.problem.epochs
        self._reports = (
            *self._reports,
            *epoch_reports(results, epoch, epochs, self._workload.metric),
        )
        return {
            "reports": self._reports,
            "params": self._params,
            "segments": self._segments,
            "mean": self._reports[-1].mean,
            "progress": epoch + 1,
            "done": epoch + 1 == epochs,
        }


def epoch_reports(results: Sequence[Metrics], epoch: int, epochs: int, metric: str) -> list[Report]:
    """Report an epoch of all folds: their means while they train, each at the end."""
    values = [deciding(metrics, metric) for metrics in results]
    if epoch + 1 < epochs:
        names = set.intersection(*(set(metrics) for metrics in results))
        means = {name: fmean(float(each[name]) for each in results) for name in sorted(names)}
        return [Report(0, epoch, epoch + 1, means, fmean(values), False, False)]
    return [
        Report(
            fold=fold,
            epoch=epoch,
            progress=epochs + fold,
            metrics={name: float(value) for name, value in metrics.items()},
            mean=fmean(values[: fold + 1]),
            fold_complete=True,
            complete=fold + 1 == len(results),
        )
        for fold, metrics in enumerate(results)
    ]


class Population(PopulationBasedTraining):
    """Ray Tune's scheduler, with our way to change parameters: seeded, and within bounds."""

    def __init__(self, task: Task) -> None:
        spec: SweepSpec = task.spec
        super().__init__(
            time_attr="progress",
            metric="mean",
            mode=spec.mode,
            perturbation_interval=spec.scheduler.perturbation_interval,
            quantile_fraction=spec.scheduler.quantile,
            custom_explore_fn=lambda config: config,  # `_get_new_config` does it all
            log_config=False,
            require_attrs=False,
        )
        self._mutable = mutable_dimensions(spec.space, task.trainer)
        self._resample = spec.scheduler.resample
        self._generator = np.random.default_rng(spec.seed)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take up a trial.

        Tune refuses a search algorithm beside this scheduler, for it could not tell what a copy
        has to do with what was suggested; ours only says where each trial begins (Ray 2.60).
        """
        self._trial_state[trial] = _PBTTrialState(trial)

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], Any]:
        # A trial that copies another stays the trial that it is.
        params = explored(
            trial_to_clone.config["params"],
            self._mutable,
            resample=self._resample,
            generator=self._generator,
        )
        return {"number": trial.config["number"], "params": params}, {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles it into its snapshots, which are never read.
        return PopulationBasedTraining, ("progress",)
