"""The command that checks a config, beside a registry that needs no server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import cli, validation
from tests.deployments.validation.configs import FakeRegistry


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYFLEET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.setattr(validation, "Registry", FakeRegistry)


@pytest.fixture
def validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the command on a config; returns its status and what it says, the path as FILE."""
    path = tmp_path / "fleet.yaml"

    def run(content: Any, *options: str) -> tuple[int, str]:
        if content is not None:
            path.write_text(
                content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
            )
        status = cli.main(["validate", *options, str(path)])
        captured = capsys.readouterr()
        return status, (captured.out + captured.err).replace(str(path), "FILE").strip()

    return run
