"""Two worker nodes against one, on trials that keep a core busy: efficiency, and what limits it.

    python -m benchmarks.nodes [--trials N] [--rounds N] [--work N]

A simulated cluster (`ray.cluster_utils.Cluster`) on one machine: a head without cores for
trials, and one or two nodes with one core each. Rounds alternate between the two.
"""

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

from tuning.quiet import quieten

quieten()

import ray  # noqa: E402, silenced first
from ray.cluster_utils import Cluster as Nodes  # noqa: E402, as above

from benchmarks.cpu import CpuMeter, machine_s  # noqa: E402, as above
from benchmarks.sweeping import run_sweep, trivial_task  # noqa: E402, as above
from benchmarks.tuning_options import nodes_parser  # noqa: E402, as above
from tuning.cluster import Cluster  # noqa: E402, as above
from tuning.ledger import Trial  # noqa: E402, as above

RESULTS = Path("benchmarks/results/nodes.json")
STORE_BYTES = 100 * 1024**2


@dataclass(frozen=True, slots=True)
class Reading:
    """One sweep on so many nodes."""

    nodes: int
    took_s: float
    """From the first question to the last end."""
    first_s: float
    """Until the first end: actors start meanwhile."""
    trial_s: float
    """Mean seconds of a trial's own work."""
    busy: float
    """Share of the nodes' time after the first end in which trials worked."""
    others: float
    """Cores that other programs of this machine kept busy meanwhile."""


def main() -> None:
    """Measure, print and keep the figures."""
    options = nodes_parser(__doc__).parse_args()
    readings = [
        measure(nodes, options.trials, options.work)
        for _ in range(options.rounds)
        for nodes in (1, 2)
    ]
    print(f"{options.trials} trials, {options.rounds} rounds, {os.cpu_count()} cores")
    print("nodes   took s  first end s  trial s  busy  other programs, cores")
    for each in readings:
        print(
            f"{each.nodes:>5} {each.took_s:>8.1f} {each.first_s:>12.1f} {each.trial_s:>8.2f} "
            f"{each.busy:>5.0%} {each.others:>6.2f}"
        )
    for name, value in efficiency(readings).items():
        print(f"{name:<48} {value:6.2f}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(
        json.dumps({"command": vars(options), "readings": list(map(asdict, readings))}, indent=1)
    )


def efficiency(readings: Sequence[Reading]) -> Mapping[str, float]:
    """Take apart what a second node brought; 1.0 is all that it could bring."""
    one, two = ([each for each in readings if each.nodes == nodes] for nodes in (1, 2))

    def ratio(first: Sequence[float], second: Sequence[float]) -> float:
        return median(first) / median(second)

    return {
        "efficiency, start included": ratio([e.took_s for e in one], [e.took_s for e in two]) / 2,
        "efficiency after the first end": ratio(
            [e.took_s - e.first_s for e in one], [e.took_s - e.first_s for e in two]
        )
        / 2,
        "of it: trials that run no slower side by side": ratio(
            [e.trial_s for e in one], [e.trial_s for e in two]
        ),
        "of it: nodes no more idle between trials": ratio(
            [e.busy for e in two], [e.busy for e in one]
        ),
    }


def measure(nodes: int, n_trials: int, work: int) -> Reading:
    """Run one sweep on a cluster of its own."""
    task = trivial_task(
        n_trials,
        trainer="benchmarks.trivial:BusyTrainer",
        options={"work": work},
        searcher={"kind": "random"},
    )
    with simulated(nodes) as cluster, tempfile.TemporaryDirectory() as name:
        watch = Watch()
        took_s = run_sweep(task, cluster, Path(name) / "ours", observers=[watch])
    return watch.reading(nodes, took_s)


@contextmanager
def simulated(nodes: int) -> Iterator[Cluster]:
    """Start a head without cores and so many nodes with one."""
    cluster = Nodes(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES,
        },
    )  # fmt: skip
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        cluster.wait_for_nodes()
        yield Cluster(nodes, None, ray.get_runtime_context().get_job_id(), own=False)
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


class Watch:
    """When trials ran; an observer of the book."""

    def __init__(self) -> None:
        self._meter = CpuMeter()
        self._machine_s = machine_s()
        self._began_at_s = 0.0
        self._first_at_s = 0.0
        self._others_s = 0.0
        self._ended: list[Trial] = []

    def on_start(self, trial: Trial) -> None:
        """Begin the clock with the first trial."""
        if trial.number == 0:
            self._began_at_s = trial.started_at_s

    def on_report(self, trial: Trial) -> None:
        """Need nothing of it: ends say it all."""

    def on_end(self, trial: Trial) -> None:
        """Keep it, and read the clocks while its process lives."""
        if not self._ended:
            self._first_at_s = trial.ended_at_s or 0.0
        self._ended.append(trial)
        self._others_s = machine_s() - self._machine_s - self._meter.read_s()

    def reading(self, nodes: int, took_s: float) -> Reading:
        """Sum up."""
        lengths = [sum(each.metrics["busy_s"] for each in trial.reports) for trial in self._ended]
        last_at_s = max(each.ended_at_s or 0.0 for each in self._ended)
        after_s = max(last_at_s - self._first_at_s, 1e-9)
        return Reading(
            nodes=nodes,
            took_s=took_s,
            first_s=self._first_at_s - self._began_at_s,
            trial_s=fmean(lengths),
            busy=min(1.0, sum(lengths[1:]) / (nodes * after_s)),
            others=max(0.0, self._others_s) / (last_at_s - self._began_at_s),
        )


if __name__ == "__main__":
    main()
