"""Files, stores and registries that a config names are there, and one fleet is."""

from pathlib import Path
from typing import Any

import pytest

from deployments import validation
from deployments.errors import ConfigError
from tests.deployments.validation.configs import (
    MODELS,
    FakeRegistry,
    config,
    gateways,
    hosting,
    listening,
)

ARGS = "applications[0].args"


def two_fleets() -> dict[str, Any]:
    fleet = config()
    (first,) = fleet["applications"]
    fleet["applications"].append(first | {"name": "other", "route_prefix": "/other"})
    return fleet


def two_gateways() -> dict[str, Any]:
    fleet = gateways()
    fleet["applications"][0]["deployments"].append({"name": "Gateway"})
    return fleet


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(
            two_fleets(),
            "applications[1].import_path: 'deployments.fleet:build' stands in applications[0],"
            " too; a Serve instance has one fleet",
            id="two-fleets",
        ),
        pytest.param(
            two_gateways(),
            "applications[0].deployments[2].name: 'Gateway' stands twice",
            id="two-gateways",
        ),
        pytest.param(
            hosting(churn={"ray_actor_options": {"num_cpus": 0.00001}}),
            f"{MODELS}.models.churn.ray_actor_options.num_cpus: 1e-05: should be 0, or 0.0001 and"
            " more",
            id="less-than-ray-counts",
        ),
        pytest.param(
            hosting(churn={"traffic": {10**20: 100}}),
            f"{MODELS}.models.churn.traffic: no version has the alias '{10**20}', aliases:"
            " champion",
            id="version-that-no-registry-has",
        ),
        pytest.param(
            config(args={"registry_uri": "sqlite:////no/such/registry.db"}),
            f"{ARGS}.registry_uri: 'sqlite:////no/such/registry.db': there is no folder '/no/such'",
            id="registry-in-no-folder",
        ),
        pytest.param(
            config(args={"tracking_uri": "sqlite:///mlflow.db"}),
            f"{ARGS}.tracking_uri: 'sqlite:///mlflow.db': should be an absolute path",
            id="relative-tracking-store",
        ),
        pytest.param(
            config(args={"registry_uri": "sqlite://"}),
            f"{ARGS}.registry_uri: 'sqlite://': should be an absolute path",
            id="registry-in-memory",
        ),
        pytest.param(
            config(args={"store_url": f"sqlite:///{__file__}"}),
            f"{ARGS}.store_url: 'sqlite:///{__file__}': cannot be reached:"
            " (sqlite3.DatabaseError) file is not a database",
            id="store-that-is-no-database",
        ),
        pytest.param(
            listening(ssl_keyfile="/no/key", ssl_certfile=__file__),
            "http_options.ssl_keyfile: '/no/key': no such file",
            id="serve-s-key",
        ),
        pytest.param(
            config(args={"control": {"registry_secret_file": "/no/secret"}}),
            f"{ARGS}.control.registry_secret_file: '/no/secret': no such file",
            id="secret-of-webhooks",
        ),
    ],
)
def test_what_is_not_there(validate: Any, content: Any, line: str) -> None:
    assert validate(content) == (2, f"FILE: {line}")


@pytest.mark.parametrize(
    ("variable", "other"),
    [("MLFLOW_TRACKING_URI", "registry_uri"), ("MLFLOW_REGISTRY_URI", None)],
)
def test_addresses_of_the_environment_are_named_by_it(
    validate: Any, monkeypatch: pytest.MonkeyPatch, variable: str, other: str | None
) -> None:
    monkeypatch.setenv(variable, "sqlite:////no/such/mlflow.db")
    args = {} if other is None else {other: "http://registry"}

    line = f"FILE: {variable}: 'sqlite:////no/such/mlflow.db': there is no folder '/no/such'"
    assert validate(config(args=args)) == (2, line)


def test_addresses_of_the_environment_that_the_config_overrides_do_not_matter(
    validate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(variable, "sqlite:////no/such/mlflow.db")

    assert validate(config(args={"tracking_uri": "http://mlflow"})) == (0, "FILE: valid")


def test_a_registry_is_asked_without_making_the_tracking_store(
    validate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MLflow does with the file that it is named, or blames the registry where it cannot."""
    asked = []

    class Noted(FakeRegistry):
        def __init__(self, *uris: str) -> None:
            asked.append(uris)

    monkeypatch.setattr(validation, "Registry", Noted)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")

    assert validate(config(args={"registry_uri": "http://registry"})) == (0, "FILE: valid")
    assert asked == [("http://registry", "http://registry")]


def test_what_is_no_fleet_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("name: s\ntrainer: sklearn\n")

    for read in (validation.validate_fleet, validation.read_fleet):
        with pytest.raises(ConfigError) as refused:
            read(path)
        assert str(refused.value).count("\n") == 0
        assert str(refused.value).startswith(f"{path}: applications: ")


@pytest.mark.parametrize("part", [{"registry_uri": "x" * 10**6}, {"x" * 10**6: 1}])
def test_a_line_does_not_repeat_a_megabyte(
    validate: Any, monkeypatch: pytest.MonkeyPatch, part: dict[str, Any]
) -> None:
    class Away(FakeRegistry):
        def look(self, _: object) -> Any:
            raise ConnectionError("x" * 10**6)

    monkeypatch.setattr(validation, "Registry", Away)

    status, said = validate(config(args=part))

    assert (status, len(said) < 3000) == (2, True)
