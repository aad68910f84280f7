import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments import cli
from deployments.errors import DependencyError, NotFoundError
from deployments.training.commands import AWAY_LOOKS, _patiently


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def look() -> str:
        if left:
            raise left.pop(0)
        return "seen"

    return look


def test_whoever_watches_waits_for_what_is_away() -> None:
    slept: list[float] = []
    away = [DependencyError("Ray job API", "gone")] * 3

    assert _patiently(failing(*away), slept.append) == "seen"
    assert len(slept) == 3


def test_patience_ends() -> None:
    away = [DependencyError("Ray job API", "gone")] * (AWAY_LOOKS + 1)

    with pytest.raises(DependencyError):
        _patiently(failing(*away), lambda _: None)


def test_what_is_wrong_is_not_waited_for() -> None:
    with pytest.raises(NotFoundError):
        _patiently(failing(NotFoundError("sweep 'x'")), lambda _: None)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["submit", "no.yaml"], "no.yaml: cannot be read: No such file or directory"),
        (["resume", "wine", "--working-dir", "no"], "--working-dir: 'no': no such folder"),
        (["logs", "wine", "--lines", "0"], "--lines: 0, allowed: 1 or more"),
        (["list"], "the Ray job API cannot be reached: ConnectionError: Failed to connect to Ray"),
    ],
)
def test_faults_are_one_line(
    words: list[str],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYFLEET_HOME", str(tmp_path / "home"))

    status = cli.main(["sweep", *words, "--address", "http://127.0.0.1:9"])

    assert status == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)


def test_addresses_are_ray_s_own_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def address() -> str:
        parsed: argparse.Namespace = cli._parser().parse_args(["sweep", "list"])
        return str(parsed.address)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert address() == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert address() == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://10.0.0.1:8265")
    assert address() == "http://10.0.0.1:8265"
