"""Drive one target: with wrk where it can check the answers, else with generators of our own."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.serving.cases import Wire
from benchmarks.serving.dialects import Dialect
from benchmarks.serving.environment import python_of
from benchmarks.serving.generator import make_generator
from benchmarks.serving.readings import Reading
from benchmarks.serving.workload import Workload

WRK_SCRIPT = Path(__file__).with_name("check.lua")
GRPC_SCRIPT = Path(__file__).with_name("grpc_load.py")

CLIENTS = "clients"
"""Environment with a stock gRPC client."""

GRACE_S = 40
"""Time beyond the measured duration after which a load generator is taken to hang, seconds."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is asked, where and how."""

    workload: Workload
    wire: Wire
    dialect: Dialect
    port: int
    folder: Path
    """Holds the questions for programs that read them from files."""


class _Output(msgspec.Struct):
    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    wrong: int
    lost: int


def drive(aim: Aim, *, connections: int, duration_s: int) -> Reading:
    """Send the workload's questions in turn over so many connections, each awaiting its answer."""
    match aim.wire:
        case Wire.JSON if aim.dialect.has_ids:
            return _run(_wrk(aim, connections, duration_s), duration_s)
        case Wire.JSON | Wire.BINARY:
            # wrk hands all connections of a thread to one script, which could not tell whose an
            # answer without an id is; and while it starts a thread for each, it counts answers
            # but not the time.
            generator = make_generator(aim.port, aim.workload, aim.dialect)
            return generator.closed(connections, duration_s)
        case Wire.GRPC:
            return _run(_grpc(aim, connections, duration_s), duration_s)


def drive_openly(aim: Aim, *, rate_per_s: float, duration_s: int) -> Reading:
    """Send questions at a constant rate over HTTP, whether or not answers keep up."""
    return make_generator(aim.port, aim.workload, aim.dialect).open(rate_per_s, duration_s)


def parse(stdout: str) -> Reading:
    """Read the JSON line with which a load generator ends its output."""
    output = msgspec.json.decode(stdout.splitlines()[-1], type=_Output)
    return Reading(
        requests_per_s=output.requests / output.duration_us * 1e6,
        p50_ms=output.p50_us / 1e3,
        p99_ms=output.p99_us / 1e3,
        faults=output.wrong + output.lost,
    )


def _run(command: Sequence[str], duration_s: int) -> Reading:
    finished = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=duration_s + GRACE_S
    )
    return parse(finished.stdout)


def _wrk(aim: Aim, connections: int, duration_s: int) -> list[str]:
    """Ask for one thread: that is enough, and cores are scarce."""
    bodies = aim.folder / "bodies.tsv"
    bodies.write_bytes(b"".join(_lines(aim)))
    path = aim.dialect.path.format(model=aim.workload.model)
    command = ["wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{duration_s}s", "--timeout", "30s", "--script", str(WRK_SCRIPT)]
    return [*command, f"http://127.0.0.1:{aim.port}{path}", "--", str(bodies)]


def _lines(aim: Aim) -> list[bytes]:
    return [
        b"%s\t%s\n"
        % (
            msgspec.json.encode(answer.astype(np.float64).tolist()),
            aim.dialect.encode(position, rows).body,
        )
        for position, (rows, answer) in enumerate(
            zip(aim.workload.questions, aim.workload.answers, strict=True)
        )
    ]


def _grpc(aim: Aim, connections: int, duration_s: int) -> list[str]:
    questions, answers = aim.folder / "questions.npy", aim.folder / "answers.npy"
    np.save(questions, aim.workload.questions)
    np.save(answers, aim.workload.answers)
    return [
        *(str(python_of(CLIENTS)), str(GRPC_SCRIPT)),
        *(f"127.0.0.1:{aim.port}", aim.workload.model, str(duration_s)),
        *(str(questions), str(answers), str(connections)),
    ]
