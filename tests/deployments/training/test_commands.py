import argparse
from pathlib import Path

import pytest

from deployments import cli


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
