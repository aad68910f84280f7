"""README's requests, sent to a fleet; and its own model, registered and accepted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.haproxy import free_port
from tests.documents import README, Command, blocks, commands, http_request
from tests.integration.hosting import BIN, READY_S, Fleet, fleet_config

pytestmark = pytest.mark.ray

CURLS = [command for command in commands(README) if command.program == "curl"]


@pytest.mark.parametrize("command", CURLS, ids=lambda command: command.place)
def test_fleet_answers_in_the_shape_that_readme_shows(fleet: Fleet, command: Command) -> None:
    shown = json.loads(command.output)
    request = http_request(command)
    assert request.method == ("GET" if request.body is None else "POST")

    status, _, body = fleet.call(request.path, request.body, request.headers)

    assert status == (400 if "error" in shown else 200), body
    assert shape(json.loads(body)) == shape(shown)


@pytest.mark.thorough
def test_a_registered_model_makes_its_config_valid(tmp_path: Path) -> None:
    (script,) = blocks(README, "python")
    (models,) = [
        raw for block in blocks(README, "yaml") if "models" in (raw := yaml.safe_load(block.text))
    ]
    config = tmp_path / "fleet.yaml"
    own = {name: spec for name, spec in models["models"].items() if name in script.text}
    url, grpc_address = (f"127.0.0.1:{free_port()}" for _ in range(2))
    content = fleet_config(f"http://{url}", own, {}, grpc_address=grpc_address)
    config.write_text(yaml.safe_dump(content))

    run(tmp_path, sys.executable, "-c", script.text)
    validated = run(tmp_path, str(BIN / "rayfleet"), "validate", str(config))

    assert list(own) == ["iris"]
    assert validated == f"{config}: valid\n"


def shape(value: Any) -> Any:
    """Keys and kinds, without the values."""
    match value:
        case dict():
            return {key: shape(each) for key, each in value.items()}
        case [first, *_]:
            return [shape(first)]
        case bool() | str() | None:
            return type(value).__name__
        case int() | float():
            return "number"
        case _:
            return value


def run(folder: Path, *command: str) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    finished = subprocess.run(
        command,
        cwd=folder,
        env={**kept, "RAYFLEET_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
