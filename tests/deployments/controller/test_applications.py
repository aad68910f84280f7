import traceback
from pathlib import Path
from typing import Any

import pytest
from ray import serve

from deployments.controller.applications import LEAVING_S, Applications, cause
from deployments.controller.pools import PoolDeployment
from deployments.schema import FleetSpec, ModelSpec
from deployments.settings import resolve_settings
from deployments.userconfig import PoolSpec


def load() -> None:
    raise ValueError("not a zip file: model.skops")


def initialize() -> None:
    try:
        load()
    except ValueError:
        raise RuntimeError(traceback.format_exc()) from None


def nested() -> str:
    """What Serve 2.60 says: the replica's traceback inside an error of its own."""
    try:
        initialize()
    except RuntimeError:
        inner = traceback.format_exc()
    indented = "\n".join(f"  {line}" for line in inner.splitlines())
    return f"The deployment failed to start 2 times in a row. Error:\nray::Replica()\n{indented}\n"


@pytest.mark.parametrize(
    ("messages", "line"),
    [
        pytest.param([nested()], "ValueError: not a zip file: model.skops", id="nested"),
        pytest.param(["RuntimeError: no such file"], "RuntimeError: no such file", id="plain"),
        pytest.param(
            ["a.b.OddError: no\n  at length", "", "Waiting for 1 replica."],
            "a.b.OddError: no",
            id="the-error-before-the-rest",
        ),
        pytest.param(["", "Replica was killed.\n"], "Replica was killed.", id="no-error-named"),
        pytest.param(["", ""], "", id="nothing"),
    ],
)
def test_the_cause_is_the_innermost_error_s_own_line(messages: list[str], line: str) -> None:
    assert cause(messages) == line


@pytest.mark.ray
@pytest.mark.parametrize(
    ("own_s", "longest_s"),
    [pytest.param(60.0, 60.0, id="a-model-s"), pytest.param(2.0, 8.0, id="the-fleet-s")],
)
def test_a_pool_may_leave_for_as_long_as_any_model_may_take(
    own_s: float, longest_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets: list[Any] = []
    monkeypatch.setenv("RAYFLEET_HOME", str(tmp_path))
    monkeypatch.setattr(serve, "run_many", lambda found, **_: targets.extend(found))
    settings = resolve_settings(FleetSpec(request_deadline_s=8.0))
    specs = {"slow": ModelSpec(request_deadline_s=own_s), "quick": ModelSpec()}

    refused = Applications("fleet", settings).deploy(
        [PoolDeployment("tail", "")], specs, {"tail": PoolSpec(models=["*"], memory_mib=500)}
    )

    assert not refused
    (target,) = targets
    deployment = target.target._bound_deployment
    assert deployment._deployment_config.graceful_shutdown_timeout_s == longest_s + LEAVING_S
    assert deployment.init_kwargs["deadline_s"] == longest_s
