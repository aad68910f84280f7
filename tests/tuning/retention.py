"""How many trials Ray Tune holds at the end of a sweep: python -m tests.tuning.retention FOLDER.

In a process of its own, since one that has started Ray before has its authentication, and with
the environment of a driver, which says how Tune reports progress (`tuning.quiet.SILENCE`).
"""

import gc
import sys
from pathlib import Path

from ray.tune.experiment import Trial as TuneTrial

from benchmarks.sweeping import run_sweep, trivial_task
from tuning.cluster import ray_cluster
from tuning.ledger import Trial

N_TRIALS = 20


class Retention:
    """Counts Tune's trials when the last one ends."""

    held = 0

    def on_start(self, trial: Trial) -> None:
        """Need nothing of it."""

    def on_report(self, trial: Trial) -> None:
        """Need nothing of it."""

    def on_end(self, trial: Trial) -> None:
        """Count."""
        gc.collect()
        self.held = sum(isinstance(each, TuneTrial) for each in gc.get_objects())


def main(folder: Path) -> None:
    """Run the sweep and print what is held."""
    task = trivial_task(N_TRIALS, searcher={"kind": "random"}, max_concurrent=2)
    retention = Retention()
    with ray_cluster(task.spec.resources) as cluster:
        run_sweep(task, cluster, folder, observers=[retention])
    print(retention.held)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
