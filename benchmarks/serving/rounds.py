"""The order of a run: rounds over the targets, each started alone.

What a busy neighbour or a warm processor does to one round it does to all targets, and no
idle server takes processor time from the one that is measured.
"""

import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.serving.environment import ensure
from benchmarks.serving.load import Reading, drive
from benchmarks.serving.report import Measurement
from benchmarks.serving.running import (
    REPOSITORY,
    StartError,
    clean_environment,
    free_port,
    running,
    wait_until_ready,
)
from benchmarks.serving.targets import TARGETS, Site
from benchmarks.serving.workload import Workload, read_workload

WARM_UP_S = 1
"""Load before the first measurement of a start, seconds: caches fill, replicas settle."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run measures."""

    model: str
    targets: tuple[str, ...]
    connections: tuple[int, ...]
    rounds: int

    duration_s: int
    """Of one measurement, seconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run found."""

    measurements: list[Measurement]

    failures: dict[str, str]
    """Why a target could not be measured, by its name."""


def prepare(plan: Plan, folder: Path, console: Console) -> Workload:
    """Create missing environments, then fit and register the model.

    Raises:
        StartError: One of them is not possible; the message says why.
    """
    for name in plan.targets:
        lock = TARGETS[name].lock
        if lock is not None:
            ensure(name, lock, console)
    folder.mkdir()
    home = folder / "home"
    with console.status(f"fitting and registering {plan.model}"):
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.serving.prepare", plan.model, str(folder)],
            cwd=REPOSITORY,
            env={**clean_environment(), "RAYFLEET_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
    if finished.returncode != 0:
        raise StartError(f"{plan.model} could not be registered: {finished.stderr.strip()}")
    console.print(f"registered {plan.model}")
    return read_workload(plan.model, folder)


def measure(plan: Plan, workload: Workload, folder: Path, console: Console) -> Outcome:
    """Measure every target in every round; one that fails is left out of later rounds."""
    readings: dict[tuple[str, int], list[Reading]] = defaultdict(list)
    failures: dict[str, str] = {}
    for number in range(1, plan.rounds + 1):
        for name in plan.targets:
            if name in failures:
                continue
            site = Site(folder / f"{number}-{name}", free_port(), workload)
            try:
                with console.status(f"round {number}: {name}"):
                    found = _measure_target(name, site, plan)
            except (StartError, subprocess.SubprocessError) as error:
                failures[name] = str(error)
                console.print(f"{name} failed: {error}", markup=False)
                continue
            for connections, reading in found.items():
                readings[name, connections].append(reading)
                console.print(
                    f"round {number} of {plan.rounds}  {name:16} {connections:3} connections "
                    f"{reading.requests_per_s:9,.0f} requests/s"
                )
    measurements = [
        Measurement(name, connections, tuple(readings[name, connections]))
        for connections in plan.connections
        for name in plan.targets
        if readings[name, connections]
    ]
    return Outcome(measurements, failures)


def _measure_target(name: str, site: Site, plan: Plan) -> dict[int, Reading]:
    site.folder.mkdir()
    log = site.folder / "log"
    url = f"http://127.0.0.1:{site.port}"
    with running(TARGETS[name].launch(site), log=log) as process:
        wait_until_ready(url, site.workload, process, log=log)
        warmest = max(plan.connections)
        drive(url, site.workload, connections=warmest, duration_s=WARM_UP_S)
        return {
            connections: drive(
                url, site.workload, connections=connections, duration_s=plan.duration_s
            )
            for connections in plan.connections
        }
