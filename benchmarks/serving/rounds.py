"""The order of a run: rounds over models and servers, each started alone.

What a busy neighbour or a warm processor does to one round it does to all targets, and no
idle server takes processor time from the one that is measured.
"""

import itertools
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmarks.serving.budget import Budget
from benchmarks.serving.cases import CASES, Case, Wire
from benchmarks.serving.dialects import dialect_for
from benchmarks.serving.environment import ensure
from benchmarks.serving.held import wait_for_copy
from benchmarks.serving.hosts import HOSTS, Site, find_site
from benchmarks.serving.load import CLIENTS, Aim, drive, drive_openly
from benchmarks.serving.readings import Reading
from benchmarks.serving.results import Measurement, Results
from benchmarks.serving.running import (
    REPOSITORY,
    StartError,
    clean_environment,
    require_alive,
    running,
    wait_until_ready,
)
from benchmarks.serving.shadow import mirrored, require_copies, scrape, wait_for_copies
from benchmarks.serving.split import wait_for_split
from benchmarks.serving.targets import TARGETS, Door
from benchmarks.serving.workload import Model, make_workload

WARM_UP_S = 1
"""Load before the first measurement of a start, seconds: caches fill, replicas settle."""

FIRST_VISIT_S = 40.0
"""How long a server is expected to take that was not measured yet, seconds."""

Key = tuple[str, str, int | None]
"""Case, target, connections: what one measurement is about."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run measures."""

    cases: tuple[str, ...]
    targets: tuple[str, ...] | None
    """None takes those of each case."""

    connections: tuple[int, ...] | None
    """None takes those of each case."""

    rounds: int

    duration_s: int
    """Of one measurement, seconds."""

    budget_s: float
    """Of the whole run; later rounds are cut short to keep it, seconds."""

    def targets_of(self, case: Case) -> tuple[str, ...]:
        """Who is measured in a case: none that does not speak its wires."""
        chosen = case.targets if self.targets is None else self.targets
        return tuple(name for name in chosen if TARGETS[name].wire_of(case) is not None)

    def connections_of(self, case: Case) -> tuple[int, ...]:
        """The loads of a case."""
        return self.connections or case.connections

    def models(self) -> list[str]:
        """The models that the cases need, each once."""
        return list(dict.fromkeys(CASES[name].model for name in self.cases))

    def visits(self, model: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
        """The hosts to start with a model; for each, its targets in each case."""
        hosts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for name in self.cases:
            case = CASES[name]
            if case.model == model:
                for target in self.targets_of(case):
                    hosts[TARGETS[target].host][name].append(target)
        yield from hosts.items()


@dataclass(frozen=True, slots=True)
class _Visit:
    """One start of a host in one round."""

    number: int
    """Of the round, from 1."""

    host: str
    targets: Mapping[str, list[str]]
    """In each case."""

    site: Site

    @property
    def output(self) -> Path:
        """What the server prints."""
        return self.site.folder / "log"


@dataclass(slots=True)
class Log:
    """What a run has found so far."""

    console: Console
    readings: dict[Key, list[Reading]] = field(default_factory=lambda: defaultdict(list))

    failures: dict[str, str] = field(default_factory=dict)
    """Why something could not be measured, by `HOST, MODEL` or `TARGET, CASE`."""

    skipped: list[str] = field(default_factory=list)
    """What there was no time for."""

    def note(self, number: int, key: Key, reading: Reading) -> None:
        """Keep a reading and show it."""
        case, target, connections = key
        self.readings[key].append(reading)
        share = f"{CASES[case].open_load or 0:.0%} of peak"
        load = f"{connections:3} connections" if connections else f"{share:15}"
        shown = f"round {number}  {case:8} {target:18} {load} {reading.requests_per_s:9,.0f} /s"
        faults = f"  {reading.faults} faults" if reading.faults else ""
        self.console.print(
            f"{shown}  p50 {reading.p50_ms:8.2f} ms  p99 {reading.p99_ms:8.2f} ms{faults}",
            soft_wrap=True,
        )

    def fail(self, what: str, error: Exception) -> None:
        """Keep the reason of a failure and show it; what failed is not tried again."""
        reason = str(error)
        if isinstance(error, subprocess.CalledProcessError):
            reason = f"{reason} {str(error.stderr).strip()[-500:]}"
        self.failures[what] = reason
        self.console.print(f"{what} failed: {reason}", markup=False)

    def peak_per_s(self, case: str, target: str | None) -> float:
        """The most requests/s of a target in its last round.

        Raises:
            StartError: It was not measured.
        """
        last = [
            found[-1].requests_per_s
            for (name, other, connections), found in self.readings.items()
            if (name, other) == (case, target) and connections is not None
        ]
        if not last:
            raise StartError(f"{case}: {target} was not measured, whose peak is wanted")
        return max(last)

    def results(self) -> Results:
        """All readings by what they are about."""
        return Results([Measurement(*key, tuple(found)) for key, found in self.readings.items()])


def prepare(plan: Plan, folder: Path, console: Console) -> dict[str, Model]:
    """Create missing environments, then fit and register the models.

    Raises:
        StartError: One of them is not possible; the message says why.
    """
    for name in sorted(_environments(plan)):
        ensure(name, console)
    return {name: _prepare_model(name, folder / name, console) for name in plan.models()}


def _environments(plan: Plan) -> set[str]:
    chosen = {target for name in plan.cases for target in plan.targets_of(CASES[name])}
    needed = {HOSTS[TARGETS[target].host].environment for target in chosen}
    wires = {TARGETS[t].wire_of(CASES[name]) for name in plan.cases for t in chosen}
    return {name for name in needed if name} | ({CLIENTS} if Wire.GRPC in wires else set())


def _prepare_model(name: str, folder: Path, console: Console) -> Model:
    folder.mkdir(parents=True)
    model = Model(name, folder)
    with console.status(f"fitting and registering {name}"):
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.serving.prepare", name, str(folder)],
            cwd=REPOSITORY,
            env={**clean_environment(), "RAYFLEET_HOME": str(model.home)},
            capture_output=True,
            text=True,
            check=False,
        )
    if finished.returncode != 0:
        raise StartError(f"{name} could not be registered: {finished.stderr.strip()}")
    console.print(f"registered {name}")
    return model


def measure(plan: Plan, models: Mapping[str, Model], folder: Path, console: Console) -> Log:
    """Measure every case in every round, as far as the budget goes.

    A server that fails with a model is not started with it again.
    """
    log = Log(console)
    budget = Budget(plan.budget_s, time.monotonic())
    took_s: dict[str, float] = {}
    sites = itertools.count()
    for number in range(1, plan.rounds + 1):
        for model in plan.models():
            for host, targets in plan.visits(model):
                what = f"{host}, {model}"
                if what in log.failures:
                    continue
                began_s = time.monotonic()
                if not budget.allows(began_s, took_s.get(what, FIRST_VISIT_S)):
                    log.skipped.append(f"round {number}: {what}")
                    continue
                # Ray's sockets lie in it, so neither host nor model is in the name.
                site = find_site(folder / str(next(sites)), models[model])
                _measure_host(_Visit(number, host, targets, site), plan, log)
                took_s[what] = time.monotonic() - began_s
    return log


def _measure_host(visit: _Visit, plan: Plan, log: Log) -> None:
    visit.site.folder.mkdir()
    try:
        with (
            log.console.status(f"round {visit.number}: {visit.host} with {visit.site.model.name}"),
            running(HOSTS[visit.host].start(visit.site), log=visit.output) as process,
        ):
            for case, targets in visit.targets.items():
                for target in targets:
                    _measure_target(visit, case, target, process, plan, log)
                    require_alive(process, log=visit.output)
    except StartError as error:
        log.fail(f"{visit.host}, {visit.site.model.name}", error)


def _measure_target(
    visit: _Visit,
    case: str,
    target: str,
    process: "subprocess.Popen[bytes]",
    plan: Plan,
    log: Log,
) -> None:
    what = f"{target}, {case}"
    if what in log.failures:
        return
    try:
        aim = _aim(case, target, visit.site)
        door = Door.HTTP if aim.wire is Wire.GRPC else TARGETS[target].doors[aim.wire]
        ready = TARGETS[target].json.ready_path.format(model=aim.workload.model)
        url = f"http://127.0.0.1:{door.port(visit.site)}{ready}"
        wait_until_ready(url, process=process, log=visit.output)
        _wait_until_it_is_what_it_should_be(target, aim, visit.site)
        _warm_up(aim, plan.connections_of(CASES[case]))
        copies = []
        for connections, reading in _readings(case, target, aim, plan, log):
            log.note(visit.number, (case, target, connections), reading)
            if target == "shadowed":
                copies.append(mirrored(scrape(aim)))
        if target == "shadowed":
            require_copies(*copies[-2:])
    except (StartError, subprocess.SubprocessError, OSError, ValueError) as error:
        log.fail(what, error)


def _wait_until_it_is_what_it_should_be(target: str, aim: Aim, site: Site) -> None:
    """Wait for what a fleet does not wait for before it answers."""
    match target:
        case "split":
            wait_for_split(aim)
        case "shadowed":
            wait_for_copies(aim)
        case "inline":
            wait_for_copy(site.folder)


def _aim(name: str, target: str, site: Site) -> Aim:
    case = CASES[name]
    wire = TARGETS[target].wire_of(case)
    assert wire is not None, "the plan leaves out targets that cannot be asked"
    port = TARGETS[target].doors[wire].port(site)
    workload = make_workload(site.model, case.rows)
    return Aim(workload, wire, dialect_for(wire, TARGETS[target].json), port, site.folder)


def _warm_up(aim: Aim, connections: tuple[int, ...]) -> None:
    reading = drive(aim, connections=max(connections), duration_s=WARM_UP_S)
    if reading.requests_per_s == 0 or reading.faults > reading.requests_per_s * WARM_UP_S / 2:
        raise StartError(f"answers wrongly: {reading.faults} faults in {WARM_UP_S} s")


def _readings(
    name: str, target: str, aim: Aim, plan: Plan, log: Log
) -> Iterator[tuple[int | None, Reading]]:
    case = CASES[name]
    peak_per_s = 0.0
    for connections in plan.connections_of(case):
        reading = drive(aim, connections=connections, duration_s=plan.duration_s)
        peak_per_s = max(peak_per_s, reading.requests_per_s)
        yield connections, reading
    if case.open_load is None:
        return
    if case.open_peak not in {None, target}:
        peak_per_s = log.peak_per_s(name, case.open_peak)
    rate_per_s = case.open_load * peak_per_s
    duration_s = case.open_times * plan.duration_s
    yield None, drive_openly(aim, rate_per_s=rate_per_s, duration_s=duration_s)
