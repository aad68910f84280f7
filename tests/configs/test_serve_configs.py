"""Every config that we publish is valid, and says nothing that would be dropped in silence."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from deployments.schema import FleetSpec
from deployments.serveconfig import schema_faults
from deployments.userconfig import ModelsSpec
from deployments.validation import IMPORT_PATH
from tuning.spec import validate_file

CONFIGS = Path(__file__).parents[2] / "configs"
SWEEPS = sorted(CONFIGS.glob("sweeps/**/*.yaml"))
FLEETS = sorted(
    path for path in CONFIGS.rglob("*.yaml") if "applications" in yaml.safe_load(path.read_text())
)


def read(path: Path) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load(path.read_text())
    return raw


def models_of(application: dict[str, Any]) -> Any:
    """The `user_config` of the deployment that hosts the models."""
    deployments = {deployment["name"]: deployment for deployment in application["deployments"]}
    return deployments["Controller"]["user_config"]


def test_there_are_configs_to_check() -> None:
    assert {path.stem for path in SWEEPS} >= {"breast-cancer", "digits", "wine"}
    assert CONFIGS / "fleet.yaml" in FLEETS


@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.stem)
def test_serve_accepts_the_config_and_drops_none_of_its_keys(path: Path) -> None:
    raw = read(path)

    ServeDeploySchema.model_validate(raw)

    assert list(schema_faults(raw, ServeDeploySchema)) == []
    for application in raw["applications"]:
        assert list(schema_faults(application, ServeApplicationSchema)) == []
        for deployment in application.get("deployments", []):
            assert list(schema_faults(deployment, DeploymentSchema)) == []


@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.stem)
def test_fleet_accepts_its_part_of_the_config(path: Path) -> None:
    fleets = [app for app in read(path)["applications"] if app["import_path"] == IMPORT_PATH]

    assert len(fleets) == 1
    FleetSpec.load(fleets[0].get("args", {}), where=str(path))
    hosted = ModelsSpec.load(models_of(fleets[0]), where=str(path))
    assert hosted.models or hosted.pools


@pytest.mark.parametrize(
    ("place", "key"),
    [
        pytest.param((), "proxy_locations", id="top-level"),
        pytest.param(("http_options",), "ports", id="http-options"),
        pytest.param(("applications", 0), "import_paths", id="application"),
        pytest.param(("applications", 0, "deployments", 0), "num_replica", id="deployment"),
    ],
)
def test_a_misspelt_key_is_found_at_every_level(place: tuple[Any, ...], key: str) -> None:
    raw = read(CONFIGS / "fleet.yaml")
    target: Any = raw
    for step in place:
        target = target[step]
    target[key] = 3

    faults = list(schema_faults(raw, ServeDeploySchema))

    assert len(faults) == 1
    assert key in faults[0]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sweep_is_valid(path: Path) -> None:
    name = validate_file(path).name

    assert name == "-".join(path.relative_to(CONFIGS / "sweeps").with_suffix("").parts)


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS))
)
def test_first_line_says_what_runs_the_config(path: Path) -> None:
    first = path.read_text().splitlines()[0]

    assert first.startswith("# ")
    assert str(path.relative_to(CONFIGS.parent)) in first
