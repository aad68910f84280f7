"""A trial as Ray Tune sees it: an actor that outlives its trial.

Tune's default starts a process for each trial, which costs about a second on two cores.
A class trainable with `reuse_actors=True` is reset instead, for about 58 ms (Ray 2.60),
and keeps its imported framework and its folds; so do the workers of its gang.
"""

from collections.abc import Sequence
from typing import Any

from ray.tune import Trainable

from tuning.work import FoldsWork, make_team, trial_checkpoint
from tuning.workload import Workload


class SweepTrial(Trainable):
    """Runs one report of one trial per step."""

    def setup(
        self, config: dict[str, Any], workload: Workload | None = None, shared: Sequence[Any] = ()
    ) -> None:
        """Build the trainer and cut the folds, once for all trials of this actor."""
        if workload is None:
            raise ValueError("bind the workload with tune.with_parameters")
        self._workload = workload
        self._team = make_team(FoldsWork, workload, shared)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in this actor."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Work until the next report."""
        result: dict[str, Any] = self._team.call("step")
        return result

    def cleanup(self) -> None:
        """End the workers with the actor."""
        self._team.close()

    def _begin(self, config: dict[str, Any]) -> None:
        number, params = config["number"], config["params"]
        file = trial_checkpoint(self._workload, number, params)
        # Read once: workers that began at different epochs would wait for each other forever.
        start = file.load() if file is not None else None
        self._team.call("begin", number, params, start, config.get("trace"))
