"""What the command does with files, registries and the environment."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import cli, validation
from deployments.controller.facts import RegistryView
from deployments.validation import validate_fleet
from tests.deployments.validation.configs import (
    MODELS,
    STORES,
    FakeRegistry,
    SilentRegistry,
    config,
    hosting,
)


def test_one_file_s_addresses_are_not_the_next_one_s_defaults(
    validate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Writing(FakeRegistry):
        def __init__(self, tracking_uri: str, registry_uri: str) -> None:
            super().__init__()
            os.environ["MLFLOW_TRACKING_URI"] = tracking_uri  # as MLflow does
            os.environ["MLFLOW_REGISTRY_URI"] = registry_uri

    monkeypatch.setattr(validation, "Registry", Writing)

    validate(config(args={"tracking_uri": "http://elsewhere"}))

    assert os.environ["MLFLOW_TRACKING_URI"] == "http://registry"
    assert "MLFLOW_REGISTRY_URI" not in os.environ


def test_a_large_registry_is_not_listed_whole(
    validate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Large(FakeRegistry):
        def look(self, _: object) -> RegistryView:
            return RegistryView({f"m{number:04d}": {} for number in range(5000)}, answered=True)

    monkeypatch.setattr(validation, "Registry", Large)

    _, said = validate(config())

    assert said.endswith(
        "registered: " + ", ".join(f"m{n:04d}" for n in range(20)) + " and 4980 more"
    )


def test_every_fault_of_a_file_is_said(validate: Any) -> None:
    content = hosting(churn={"trafic": {}, "max_batch": 1}, bare={"runtime": "nope"})
    content["applications"][0]["args"] = {"registry_poll_s": 9}

    status, said = validate(content)

    lines = said.splitlines()
    assert (status, len(lines)) == (2, 3)
    assert lines[0].startswith("FILE: applications[0].args.registry_poll_s: 9: should be")
    assert "models.churn: unknown keys 'trafic' (did you mean 'traffic'?), 'max_batch'" in lines[1]
    assert "models.bare.runtime: 'nope': should be" in lines[2]


def test_every_fault_of_a_model_is_said(validate: Any) -> None:
    status, said = validate(hosting(churn={"max_batch_size": 0, "batch_wait_timeout_s": 2}))

    assert (status, len(said.splitlines())) == (2, 2)


def test_a_registry_that_is_away_is_named(validate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "Registry", SilentRegistry)

    status, said = validate(config())

    where = "FILE: applications[0].deployments[0].user_config"
    reason = "the model registry at http://registry cannot be read: connection refused"
    assert (status, said) == (2, f"{where}: {reason}")


def test_a_check_leaves_nothing_behind(
    validate: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    home = tmp_path / "home"
    monkeypatch.setenv("RAYFLEET_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)

    status, said = validate(config())

    line = f"not in the model registry at sqlite:///{home}/mlflow.db, registered: none"
    assert (status, said) == (2, f"FILE: {MODELS}.models.churn: {line}")
    assert not home.exists()


def test_the_environment_s_store_is_looked_at_too(
    validate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYFLEET_STORE", "redis://h")

    line = f"RAYFLEET_STORE: 'redis://h', allowed: {STORES}"
    assert validate(config()) == (2, f"FILE: {line}")


def test_all_files_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(yaml.safe_dump(config()))
    files = [str(tmp_path / "no.yaml"), str(good), str(tmp_path / "none.yaml")]

    status = cli.main(["validate", *files])

    captured = capsys.readouterr()
    assert (status, captured.out) == (2, f"{good}: valid\n")
    assert len(captured.err.splitlines()) == 2


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("applications:\n- &a [*a]\n", id="a-loop"),
        pytest.param("", id="empty"),
        pytest.param("- 1\n", id="a-list"),
        pytest.param("\x00", id="a-control-character"),
        pytest.param("a: !!python/object:os.system {}\n", id="a-tag"),
    ],
)
def test_strange_files_are_refused_without_a_traceback(validate: Any, text: str) -> None:
    status, said = validate(text)

    assert status == 2
    assert said.startswith("FILE:")


def test_models_of_a_valid_config_are_returned(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(config()))

    assert list(validate_fleet(path).models) == ["churn"]
