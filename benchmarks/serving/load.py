"""Drive one target with wrk and read what it measured."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.serving.workload import Workload

SCRIPT = Path(__file__).with_name("check.lua")

GRACE_S = 30
"""Time beyond the measured duration after which wrk is taken to hang, seconds."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One run of the load generator, or the median of several."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float

    faults: int
    """Answers that were wrong or not 2xx, and connections that were lost."""


class _Output(msgspec.Struct):
    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    wrong: int
    lost: int


def drive(url: str, workload: Workload, *, connections: int, duration_s: int) -> Reading:
    """Send the workload's examples in turn over so many connections.

    One wrk thread is enough, and cores are scarce: checking every answer costs the fastest
    target 4 % of its requests/s, and the others less.
    """
    command = ["wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{duration_s}s", "--script", str(SCRIPT)]
    command += [url + workload.infer_path, "--", str(workload.bodies)]
    finished = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=duration_s + GRACE_S
    )
    return parse(finished.stdout)


def parse(stdout: str) -> Reading:
    """Read the JSON line with which `check.lua` ends wrk's output."""
    output = msgspec.json.decode(stdout.splitlines()[-1], type=_Output)
    return Reading(
        requests_per_s=output.requests / output.duration_us * 1e6,
        p50_ms=output.p50_us / 1e3,
        p99_ms=output.p99_us / 1e3,
        faults=output.wrong + output.lost,
    )


def middle(readings: list[Reading]) -> Reading:
    """Take the median of each figure; faults add up, since none may hide."""
    return Reading(
        requests_per_s=median(reading.requests_per_s for reading in readings),
        p50_ms=median(reading.p50_ms for reading in readings),
        p99_ms=median(reading.p99_ms for reading in readings),
        faults=sum(reading.faults for reading in readings),
    )
