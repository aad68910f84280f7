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
from benchmarks.serving.machine import machine, versions
from benchmarks.serving.rounds import Outcome, Plan, measure, prepare
from benchmarks.serving.running import REPOSITORY, StartError
from benchmarks.serving.targets import TARGETS, USUAL

RESULTS = REPOSITORY / "benchmarks" / "results"

SCRATCH_PARENT = "/tmp"  # noqa: S108, a folder of our own is made in it
"""Not the configured folder for temporary files, whose path may be too long for Ray's sockets."""


def main() -> int:
    """Run the benchmark.

    Returns:
        1 when a target failed or answered wrongly, 2 when wrk is missing, 130 on Ctrl-C.
    """
    plan = _plan()
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


def _plan() -> Plan:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", default="breast-cancer", help="what all targets serve")
    parser.add_argument(
        "--targets", nargs="+", choices=TARGETS, default=list(USUAL), metavar="NAME", help="which"
    )
    parser.add_argument(
        "--connections", nargs="+", type=int, default=[32], metavar="N", help="each"
    )
    parser.add_argument("--rounds", type=int, default=3, help="starts of each target")
    parser.add_argument("--duration-s", type=int, default=4, help="length of a measurement")
    options = parser.parse_args()
    return Plan(
        model=options.model,
        targets=tuple(options.targets),
        connections=tuple(options.connections),
        rounds=options.rounds,
        duration_s=options.duration_s,
    )


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(plan: Plan, console: Console) -> int:
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="rf-", dir=SCRATCH_PARENT, ignore_cleanup_errors=True
    ) as folder:
        workload = prepare(plan, Path(folder) / "workload", console)
        outcome = measure(plan, workload, Path(folder), console)
    _report(plan, outcome, console)
    console.print(f"took {time.monotonic() - started_s:.0f} s")
    faults = sum(measurement.middle.faults for measurement in outcome.measurements)
    return 1 if outcome.failures or faults else 0


def _report(plan: Plan, outcome: Outcome, console: Console) -> None:
    if not outcome.measurements:
        return
    facts = machine()
    caption = (
        f"{plan.model}, one row a request, median of {plan.rounds} rounds of {plan.duration_s} s; "
        f"{facts['cores']} cores ({facts['processor']}), "
        f"{facts['memory_bytes'] / 2**30:.0f} GiB, shared with the load generator"
    )
    for table in report.tables(outcome.measurements):
        console.print(table)
    console.print(caption, markup=False)

    peers = [name for name in plan.targets if TARGETS[name].lock is not None]
    context = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": plan,
        "machine": facts,
        "versions": versions(peers),
        "failures": outcome.failures,
    }
    shown = RESULTS.relative_to(REPOSITORY)
    RESULTS.mkdir(parents=True, exist_ok=True)
    report.write_json(RESULTS / "serving.json", outcome.measurements, context)
    chart.draw(RESULTS / "serving.svg", outcome.measurements, caption=caption)
    console.print(f"wrote {shown / 'serving.json'} and serving.svg beside it", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
