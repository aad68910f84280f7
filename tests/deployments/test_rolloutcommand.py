"""`rayfleet rollout` against a control API that answers over HTTP."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from deployments.cli import main
from deployments.controlclient import URL_VARIABLE
from deployments.controller.api import make_api
from deployments.haproxy import free_port
from deployments.server import console_script
from tests.deployments.controller.desks import FakeDesk, make_rollout
from tests.deployments.test_openapi import served

pytestmark = pytest.mark.ray  # starts servers

CURSOR_HIDDEN, CURSOR_SHOWN = b"\x1b[?25l", b"\x1b[?25h"


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDesk]:
    desk = FakeDesk()
    control: Any = None  # not asked

    async def ready() -> None:
        pass

    with served(make_api(control, ready, rollouts=desk, only_loopback=True)) as url:
        monkeypatch.setenv(URL_VARIABLE, url)
        monkeypatch.setenv("LOGNAME", "ada")
        yield desk


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["rollout", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_start_shows_what_began(desk: FakeDesk, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "start", "churn", "--version", "3")

    assert status == 0
    assert "churn canary to 3 from 1  progressing" in out
    assert desk.asked == [("start", "3", None, None, "ada")]


def test_an_argument_too_many_is_refused_with_the_usage_of_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["rollout", "start", "churn", "99"])

    said = capsys.readouterr().err
    assert said.startswith("usage: rayfleet rollout start ")
    assert "rayfleet rollout start: error: unrecognized arguments: 99" in said


def test_settings_come_from_a_file(
    desk: FakeDesk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "careful.yaml"
    path.write_text("steps: [{setWeight: 5}]\n")

    run(capsys, "start", "churn", "--versions", "2", "3", "--rollout", str(path))

    assert desk.asked == [("start", None, ["2", "3"], {"steps": [{"setWeight": 5}]}, "ada")]


def test_commands_carry_their_reason(desk: FakeDesk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.rollouts = [make_rollout()]

    for name in ("pause", "resume", "approve", "promote", "abort"):
        assert run(capsys, name, "churn", "--reason", "lunch")[0] == 0
    assert run(capsys, "rollback", "churn", "--version", "1")[0] == 0

    names = [asked[0] for asked in desk.asked]
    assert names == ["pause", "resume", "approve", "promote", "abort", "rollback"]
    assert desk.asked[0] == ("pause", "lunch", "ada")


def test_status_of_all_models_and_as_json(
    desk: FakeDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "status")[1] == "no model has had a rollout yet\n"
    desk.rollouts = [make_rollout()]

    assert "progressing" in run(capsys, "status")[1]
    assert json.loads(run(capsys, "status", "churn", "--json")[1])["id"] == "r1"


@pytest.mark.parametrize(("phase", "expected"), [("successful", 0), ("aborted", 1)])
def test_watching_ends_with_the_rollout(
    desk: FakeDesk, capsys: pytest.CaptureFixture[str], phase: str, expected: int
) -> None:
    desk.rollouts = [make_rollout(), make_rollout(), make_rollout(phase=phase, reason="over")]

    status, out, _ = run(capsys, "status", "churn", "--watch")

    lines = out.splitlines()
    assert status == expected
    assert len(lines) == 2, "one for each change"
    assert lines[-1] == f"churn canary to 2 from 1  {phase}  step 2 of 3  over"


def test_watching_outlives_a_fleet_that_is_away_for_a_moment(
    desk: FakeDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.rollouts = [make_rollout(), make_rollout(phase="successful")]
    desk.away = 2

    assert run(capsys, "status", "churn", "--watch")[0] == 0


def test_watching_stays_with_the_rollout_that_it_began_with(
    desk: FakeDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    # What is asked for meanwhile is the model's last, and succeeds.
    desk.rollouts = [make_rollout(), make_rollout(id="r2", phase="successful")]
    desk.rollouts.append(make_rollout(phase="aborted"))

    assert run(capsys, "status", "churn", "--watch")[0] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_terminal_has_its_cursor_back_however_watching_ends(
    desk: FakeDesk, number: signal.Signals
) -> None:
    desk.rollouts = [make_rollout()]
    ours, theirs = os.openpty()
    command = [console_script("rayfleet"), "rollout", "status", "churn", "--watch"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as watch:
        os.close(theirs)
        shown = b""
        while CURSOR_HIDDEN not in shown:
            shown += os.read(ours, 1 << 16)
        watch.send_signal(number)
        with suppress(OSError):  # Linux's way to say that the other end is closed
            while more := os.read(ours, 1 << 16):
                shown += more
    os.close(ours)

    assert watch.returncode == 130
    assert CURSOR_SHOWN in shown[shown.rindex(CURSOR_HIDDEN) :]


def test_history_with_its_events(desk: FakeDesk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.rollouts = [make_rollout(phase="aborted")]

    _, out, _ = run(capsys, "history", "churn", "--events")

    first, second = out.splitlines()
    assert first.startswith("1970-01-01 00:16:40Z  churn canary to 2")
    assert second == "  1970-01-01 00:17:40Z  ada  step setWeight 5 → analysis: step done"


@pytest.mark.parametrize("command", [["history", "churn"], ["status", "churn", "--watch"]])
def test_brackets_in_a_reason_are_text(
    desk: FakeDesk, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    desk.rollouts = [make_rollout(phase="aborted", reason="cannot open [/opt/weights.bin] [red]")]

    _, out, _ = run(capsys, *command)

    assert out.rstrip().endswith("step 2 of 3  cannot open [/opt/weights.bin] [red]")


def test_a_history_of_nothing_says_so(desk: FakeDesk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.rollouts = []

    assert run(capsys, "history", "churn")[:2] == (0, "model 'churn' never had a rollout\n")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["start", "churn", "--version", "abc"], "--version: 'abc': should be a version's number"),
        (["rollback", "churn", "--version", "0"], "--version: '0': should be a version's number"),
        (["start", "churn", "--versions", "2", "x"], "--versions: 'x': should be a version's"),
        (["history", "churn", "--limit", "0"], "--limit: '0': should be a number from 1 to 100"),
        (["history", "churn", "--limit", "all"], "--limit: 'all': should be a number from 1"),
    ],
)
def test_what_cannot_be_an_argument_is_refused_before_anybody_is_asked(
    capsys: pytest.CaptureFixture[str], arguments: list[str], fault: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["rollout", *arguments])

    assert refused.value.code == 2
    assert fault in capsys.readouterr().err


def test_what_the_fleet_refuses_is_one_line(
    desk: FakeDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.rollouts = [make_rollout()]

    status, out, err = run(capsys, "start", "churn")

    assert (status, out) == (1, "")
    assert err == "rayfleet: model 'churn' has an active rollout, to version 2\n"


def test_no_fleet(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    status, _, err = run(capsys, "status", "--url", url)

    assert status == 1
    assert err.startswith(f"rayfleet: no fleet answers at {url}: ")
    assert err.count("\n") == 1


def test_no_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "status", "--url", "here")[2] == (
        "rayfleet: 'here' is no address, allowed: http://HOST:PORT\n"
    )
