"""Population based training with Ray Tune: trials that copy better ones while they train.

All folds of a trial advance together, epoch by epoch, so that two trials can be compared and
copied at the same epoch. What a trial did is a list of segments: epochs and their parameters.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune import Trainable
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.schedulers.pbt import _PBTTrialState

from tuning.exploring import explored, mutable_dimensions
from tuning.spec import SweepSpec, Task
from tuning.work import PopulationWork, make_team
from tuning.workload import Workload

STATE = "population.pickle"


class PopulationTrial(Trainable):
    """Runs one epoch of all folds of one trial per step."""

    def setup(
        self, config: dict[str, Any], workload: Workload | None = None, shared: Sequence[Any] = ()
    ) -> None:
        """Build the trainer and cut the folds, once for all trials of this actor."""
        if workload is None:
            raise ValueError("bind the workload with tune.with_parameters")
        self._team = make_team(PopulationWork, workload, shared)
        self._team.call("begin", config["params"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in this actor; a checkpoint may follow."""
        self._team.call("begin", new_config["params"])
        return True

    def step(self) -> dict[str, Any]:
        """Train every fold for one epoch."""
        result: dict[str, Any] = self._team.call("step")
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write all by which this or another trial goes on."""
        (Path(checkpoint_dir) / STATE).write_bytes(self._team.call("save"))

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        """Go on from there, with parameters of one's own."""
        self._team.call("load", (Path(checkpoint_dir) / STATE).read_bytes())

    def cleanup(self) -> None:
        """End the workers with the actor."""
        self._team.close()


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
