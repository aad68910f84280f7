"""What a sweep prints is for whoever reads it; the sweep itself goes on without a reader."""

import io
import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from tests.tuning.reporting.sweeps import make_facts
from tests.tuning.trials import trial
from tuning.__main__ import main
from tuning.console import LOG_FORMAT_VARIABLE, JsonConsole
from tuning.ledger import TrialState
from tuning.progress import Progress

NOON_NS = 1_700_000_000_123_456_789


PRINTS_TO_NOBODY = """\
import sys
from tuning.console import SweepConsole
console = SweepConsole()
console.print("first")
sys.stdin.read()
for _ in range(3):
    console.print("to nobody")
print("done", file=sys.stderr)
"""


@pytest.mark.ray  # starts an interpreter
def test_a_reader_that_has_seen_enough_ends_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PRINTS_TO_NOBODY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.close()

        assert process.stderr.read() == "done\n"
        assert process.wait(timeout=30) == 0


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_each_line_is_an_object_with_the_fields_of_the_fleet_s() -> None:
    written = io.StringIO()
    console = JsonConsole(lambda: NOON_NS, file=written, width=20)
    console.name(sweep="wine", run_id=None)

    console.print(Text("a line that is longer than twenty characters, with \u00e4 [brackets]"))
    console.name(run_id="f00")
    with console.about(logging.WARNING, trial=0, exc_text=""):
        console.print("two\nlines")
    console.print("after")

    first, second, third = lines(written)
    assert (
        first["message"] == "a line that is longer than twenty characters, with \u00e4 [brackets]"
    )
    assert (first["levelname"], first["sweep"], first["component_name"]) == (
        "INFO",
        "wine",
        "sweep",
    )
    assert (first["timestamp_ns"], first["asctime"][-4:]) == (NOON_NS, ",123")
    assert "run_id" not in first
    assert (second["levelname"], second["trial"], second["run_id"]) == ("WARNING", 0, "f00")
    assert second["message"] == "two\nlines"
    assert "exc_text" not in second
    assert (third["levelname"], "trial" in third) == ("INFO", False)


def test_a_table_becomes_one_line() -> None:
    written = io.StringIO()
    table = Table(show_header=False)
    table.add_row("best trial", "3 of 9")
    table.add_row("parameters", "x = 1\ny = 2")

    JsonConsole(file=written).print(table)

    (line,) = lines(written)
    assert line["message"] == "best trial: 3 of 9; parameters: x = 1, y = 2"


def test_a_trial_s_end_names_its_run_and_has_its_traceback() -> None:
    written = io.StringIO()
    error = "Traceback (most recent call last):\nValueError: no\n"

    with Progress(make_facts([]).spec, JsonConsole(file=written)) as progress:
        progress.on_end(trial(0, 0.5))
        progress.run_id = lambda known: f"run-{known.number}"
        progress.on_end(trial(1, state=TrialState.FAILED, error=error))

    unknown, failed = lines(written)
    assert (unknown["trial"], "run_id" in unknown, "exc_text" in unknown) == (0, False, False)
    assert (failed["levelname"], failed["trial"], failed["run_id"]) == ("WARNING", 1, "run-1")
    assert failed["exc_text"] == error.rstrip()
    assert "ValueError: no" in failed["message"]


@pytest.mark.parametrize("by_option", [True, False])
def test_why_a_command_ends_is_a_line_too(
    by_option: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(LOG_FORMAT_VARIABLE, "text" if by_option else "json")

    status = main(["none.yaml", *(["--log-format", "json"] if by_option else [])])

    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert (status, said["levelname"]) == (2, "ERROR")
    assert "none.yaml" in said["message"]


def test_an_unknown_format_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(LOG_FORMAT_VARIABLE, "xml")

    assert main(["none.yaml"]) == 2

    assert capsys.readouterr().err == f"{LOG_FORMAT_VARIABLE}: 'xml', allowed: text, json\n"
