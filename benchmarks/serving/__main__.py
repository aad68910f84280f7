"""Measure Rayfleet beside its peers on this machine: python -m benchmarks.serving."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmarks.serving import chart, report
from benchmarks.serving.bars import judge
from benchmarks.serving.cases import CASES
from benchmarks.serving.generator import own_limit
from benchmarks.serving.machine import machine, versions
from benchmarks.serving.readings import Reading
from benchmarks.serving.rounds import Log, Plan, measure, prepare
from benchmarks.serving.running import REPOSITORY, StartError
from benchmarks.serving.targets import TARGETS

RESULTS = REPOSITORY / "benchmarks" / "results"

SCRATCH_PARENT = "/tmp"  # noqa: S108, a folder of our own is made in it
"""Not the configured folder for temporary files, whose path may be too long for Ray's sockets."""

OWN_LIMIT_S = 2.0
"""How long the load generator is measured by itself, seconds."""

LEFT_OUT = 3
"""Exit status where all is well as far as it was measured."""


def main() -> int:
    """Run the benchmark.

    Returns:
        0 whether or not the bars were met; 1 when a target failed or answered wrongly, 2 when
        wrk is missing, `LEFT_OUT` when time was too short for everything, 130 on Ctrl-C.
    """
    plan = read_plan(parser().parse_args())
    console = Console(highlight=False)
    if shutil.which("wrk") is None:
        print("benchmark: wrk is not on the PATH; on Debian: apt-get install wrk", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(plan, console)
    except KeyboardInterrupt:
        console.print("interrupted; nothing is left running")
        return 130
    except StartError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help="which"
    )
    parser.add_argument(
        "--targets", nargs="+", choices=TARGETS, metavar="NAME", help="which, else each case's own"
    )
    parser.add_argument(
        "--connections", nargs="+", type=int, metavar="N", help="each, else each case's own"
    )
    parser.add_argument("--rounds", type=int, default=2, help="starts of each target")
    parser.add_argument("--duration-s", type=int, default=2, help="length of a measurement")
    parser.add_argument(
        "--budget-s", type=float, default=1300.0, help="what would end later is left out"
    )
    return parser


def read_plan(options: argparse.Namespace) -> Plan:
    """Turn options into a plan; cases keep their own order, so that those of a model meet."""
    return Plan(
        cases=tuple(name for name in CASES if name in options.cases),
        targets=tuple(options.targets) if options.targets else None,
        connections=tuple(options.connections) if options.connections else None,
        rounds=options.rounds,
        duration_s=options.duration_s,
        budget_s=options.budget_s,
    )


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(plan: Plan, console: Console) -> int:
    started_s = time.monotonic()
    own = own_limit(OWN_LIMIT_S)
    console.print(f"open-loop generator alone: {own.requests_per_s:,.0f} requests/s at most")
    with tempfile.TemporaryDirectory(
        prefix="rf-", dir=SCRATCH_PARENT, ignore_cleanup_errors=True
    ) as folder:
        models = prepare(plan, Path(folder) / "models", console)
        log = measure(plan, models, Path(folder), console)
    _report(plan, log, own, console)
    console.print(f"took {time.monotonic() - started_s:.0f} s")
    return status_of(log)


def status_of(log: Log) -> int:
    """The exit status that a run's log calls for."""
    measurements = log.results().measurements
    if log.failures or any(measurement.middle.faults for measurement in measurements):
        return 1
    return 0 if measurements and not log.skipped else LEFT_OUT


def _report(plan: Plan, log: Log, own: Reading, console: Console) -> None:
    results = log.results()
    if not results.measurements:
        return
    facts = machine()
    caption = (
        f"median of up to {plan.rounds} rounds of {plan.duration_s} s; "
        f"{facts['cores']} cores ({facts['processor']}), "
        f"{facts['memory_bytes'] / 2**30:.0f} GiB, shared with the load generator"
    )
    for table in report.tables(results):
        console.print(table)
    findings = judge(results)
    console.print(report.bar_table(findings))
    for skipped in log.skipped:
        console.print(f"no time for {skipped}", markup=False)
    console.print(caption, markup=False)

    found = versions({measurement.target for measurement in results.measurements})
    console.print(", ".join(f"{name} {version}" for name, version in found.items()), markup=False)
    context = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": plan,
        "machine": facts,
        "versions": found,
        "generator_limit_per_s": own.requests_per_s,
        "failures": log.failures,
        "skipped": log.skipped,
    }
    shown = RESULTS.relative_to(REPOSITORY)
    RESULTS.mkdir(parents=True, exist_ok=True)
    report.write_json(RESULTS / "serving.json", results, findings, context)
    chart.draw(RESULTS / "serving.png", results, caption=caption)
    console.print(f"wrote {shown / 'serving.json'} and serving.png beside it", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
