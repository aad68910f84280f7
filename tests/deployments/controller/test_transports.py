from typing import Any

import pytest
from pydantic import ValidationError

from deployments.controller.facts import VersionFacts
from deployments.controller.transports import LIGHT_BYTES, choose_transport
from deployments.schema import ModelSpec
from tests.fakes import SIGNATURE


def facts(platform: str = "sklearn", size_bytes: int | None = 20_480) -> VersionFacts:
    return VersionFacts(platform, SIGNATURE, platform, size_bytes)


LIGHT = facts()


def picked(spec: ModelSpec, version: VersionFacts, *, is_stable: bool = True) -> tuple[str, str]:
    choice = choose_transport(spec, version, is_stable=is_stable)
    return str(choice.kind), choice.reason


@pytest.mark.parametrize(
    ("settings", "version", "kind", "reason"),
    [
        pytest.param({}, LIGHT, "inline", "sklearn model of 20 KiB is light", id="light"),
        pytest.param({}, facts(size_bytes=LIGHT_BYTES), "inline", "128 KiB", id="just-light"),
        pytest.param({}, facts(size_bytes=3_000_000), "direct", "2,930 KiB, more", id="large"),
        pytest.param({}, facts(size_bytes=None), "direct", "does not say", id="size-unknown"),
        pytest.param({}, facts("torch"), "direct", "torch runtime is too heavy", id="torch"),
        pytest.param({}, facts("tensorflow"), "direct", "half a gigabyte", id="tensorflow"),
        pytest.param({"runtime": "pyfunc"}, LIGHT, "direct", "pyfunc runtime", id="pyfunc"),
        pytest.param({"num_replicas": 2}, LIGHT, "direct", "replicas of its own", id="replicas"),
        pytest.param({"autoscaling_config": {}}, LIGHT, "direct", "of its own", id="autoscaling"),
        pytest.param(
            {"ray_actor_options": {"num_gpus": 0.25}}, LIGHT, "direct", "num_gpus 0.25", id="gpu"
        ),
    ],
)
def test_auto_picks_and_says_why(
    settings: dict[str, Any], version: VersionFacts, kind: str, reason: str
) -> None:
    found = picked(ModelSpec.model_validate({"transport": "auto", **settings}), version)

    assert found[0] == kind
    assert reason in found[1]


@pytest.mark.parametrize("transport", ["auto", "inline"])
def test_a_canary_never_runs_in_a_gateway(transport: Any) -> None:
    kind, reason = picked(ModelSpec(transport=transport), LIGHT, is_stable=False)

    assert (kind, reason) == ("direct", "a canary never runs in a gateway's process")


def test_inline_takes_what_auto_would_not() -> None:
    spec = ModelSpec(transport="inline", num_replicas=2)

    kind, reason = picked(spec, facts("torch", 3_000_000))

    assert (kind, "`transport`" in reason) == ("inline", True)


def test_inline_gives_way_where_a_later_version_needs_tensorflow() -> None:
    kind, reason = picked(ModelSpec(transport="inline"), facts("tensorflow"))

    assert kind == "direct"
    assert "TensorFlow" in reason


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({"ray_actor_options": {"num_gpus": 0.5}}, "num_gpus 0.5", id="gpu"),
        pytest.param({"ray_actor_options": {"accelerator_type": "L4"}}, "L4", id="accelerator"),
        pytest.param({"ray_actor_options": {"resources": {"edge": 1}}}, "edge", id="resources"),
        pytest.param(
            {"ray_actor_options": {"runtime_env": {"pip": ["x"]}}}, "runtime_env", id="environment"
        ),
        pytest.param({"torch": {"compile": True}}, "torch settings", id="torch-settings"),
        pytest.param({"runtime": "tensorflow"}, "TensorFlow", id="tensorflow"),
    ],
)
def test_inline_is_refused_with_a_reason(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ModelSpec.model_validate({"transport": "inline", **settings})

    (fault,) = refused.value.errors()
    assert reason in fault["msg"]
    assert "allowed: 'handle', 'direct', 'auto'" in fault["msg"]
