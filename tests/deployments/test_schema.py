"""Every fault in a config is one line that says where, which value, and what is allowed."""

from typing import Any

import pytest

from deployments.schema import (
    FleetSpec,
    ModelSpec,
    application_name,
    parse_application_name,
)
from deployments.userconfig import ModelsSpec
from tuning.errors import ConfigError


def models(**changes: Any) -> dict[str, Any]:
    return {"models": {"m": changes}}


@pytest.mark.parametrize(
    ("value", "line"),
    [
        pytest.param(
            {"model": {}},
            "FILE: unknown key 'model' (did you mean 'models'?), allowed: models, pools, rollouts",
            id="typo-at-the-top",
        ),
        pytest.param(
            models(trafic={"champion": 100}),
            "FILE: models.m: unknown key 'trafic' (did you mean 'traffic'?), allowed:"
            " autoscaling_config, batch_wait_timeout_s, feedback, gpu_memory_mib, latency_target_s,"
            " max_batch_size, max_concurrent_batches, max_queued_requests, mirror, mirror_samples,"
            " mirror_tolerance, num_replicas, pool, ray_actor_options, request_deadline_s, rollout,"
            " runtime, torch, traffic, transport",
            id="typo-in-a-model",
        ),
        pytest.param(
            models(ray_actor_options={"num_cpu": 1}),
            "FILE: models.m.ray_actor_options: unknown key 'num_cpu' (did you mean 'num_cpus'?),"
            " allowed: accelerator_type, memory, num_cpus, num_gpus, resources, runtime_env",
            id="typo-in-resources",
        ),
        pytest.param(
            models(ray_actor_options={"resources": {"GPU": 1}}),
            "FILE: models.m.ray_actor_options.resources: resource 'GPU' cannot stand here,"
            " use 'num_gpus' beside it",
            id="named-resource-as-a-custom-one",
        ),
        pytest.param(
            models(traffic={"champion": 90, "challenger": 20}),
            "FILE: models.m.traffic: weights {champion: 90, challenger: 20} sum to 110,"
            " must sum to 100",
            id="weights-above-100",
        ),
        pytest.param(
            models(traffic={"champion": 99}),
            "FILE: models.m.traffic: weights {champion: 99} sum to 99, must sum to 100",
            id="weights-below-100",
        ),
        pytest.param(
            models(traffic={"champion": 90, "2": 10}, mirror={2: 50}),
            "FILE: models.m: mirror: '2' is in traffic, where its answers are used",
            id="mirrored-and-answering",
        ),
        pytest.param(
            models(mirror={"challenger": 101}),
            "FILE: models.m.mirror.challenger: 101: should be less than or equal to 100",
            id="mirrored-above-100",
        ),
        pytest.param(
            models(mirror={2: 1, "2": 1}),
            "FILE: models.m.mirror: [2, '2']: a version stands twice, as a number and as text",
            id="mirrored-twice",
        ),
        pytest.param(
            models(mirror_tolerance=1, mirror_samples=101),
            "FILE: models.m.mirror_tolerance: 1: should be less than 1\n"
            "FILE: models.m.mirror_samples: 101: should be less than or equal to 100",
            id="mirror-out-of-bounds",
        ),
        pytest.param(
            models(traffic={"champion": 101, "challenger": -1}),
            "FILE: models.m.traffic.champion: 101: should be less than or equal to 100\n"
            "FILE: models.m.traffic.challenger: -1: should be greater than or equal to 0",
            id="weights-out-of-range",
        ),
        pytest.param(
            models(max_batch_size="many"),
            "FILE: models.m.max_batch_size: 'many': should be a whole number",
            id="wrong-type",
        ),
        pytest.param(
            models(max_batch_size=True),
            "FILE: models.m.max_batch_size: true: should be a whole number",
            id="boolean-as-a-number",
        ),
        pytest.param(
            models(traffic={1.5: 100}),
            "FILE: models.m.traffic.1.5: 1.5: should be text",
            id="version-with-a-fraction",
        ),
        pytest.param(
            models(traffic={"champion": True}),
            "FILE: models.m.traffic.champion: true: should be a whole number",
            id="boolean-as-a-weight",
        ),
        pytest.param(
            models(max_batch_size=10**40),
            f"FILE: models.m.max_batch_size: {10**40}: should be less than or equal to 1000000",
            id="more-than-a-wire-carries",
        ),
        pytest.param(
            models(ray_actor_options={"num_gpus": 1.5}),
            "FILE: models.m.ray_actor_options.num_gpus: 1.5: should be a fraction up to 1, or"
            " whole",
            id="one-gpu-and-a-half",
        ),
        pytest.param(
            models(gpu_memory_mib=4096),
            "FILE: models.m: gpu_memory_mib 4096: there is no GPU to take it of; set"
            " ray_actor_options.num_gpus above 0",
            id="gpu-memory-without-a-gpu",
        ),
        pytest.param(
            models(gpu_memory_mib=512, ray_actor_options={"num_gpus": 1}),
            "FILE: models.m.gpu_memory_mib: 512: should be greater than 512",
            id="gpu-memory-for-the-context-alone",
        ),
        pytest.param(
            models(torch={"half": "bfloat16"}),
            "FILE: models.m.torch: unknown key 'half', allowed: compile, half_precision,"
            " pin_memory",
            id="typo-in-torch",
        ),
        pytest.param(
            models(torch={"half_precision": "float8"}),
            "FILE: models.m.torch.half_precision: 'float8': should be 'float16' or 'bfloat16'",
            id="unknown-precision",
        ),
        pytest.param(
            models(torch={"half_precision": "float16"}),
            "FILE: models.m: torch.half_precision 'float16': PyTorch computes that slowly on CPUs,"
            " where 'bfloat16' is meant; set ray_actor_options.num_gpus above 0",
            id="float16-without-a-gpu",
        ),
        pytest.param(
            models(torch={"pin_memory": True}),
            "FILE: models.m: torch.pin_memory true: it is for copies to a GPU; set"
            " ray_actor_options.num_gpus above 0",
            id="pinned-without-a-gpu",
        ),
        pytest.param(
            models(torch={"compile": True}, runtime="pyfunc"),
            "FILE: models.m: torch: only the runtime 'torch' reads it, not 'pyfunc'",
            id="torch-settings-for-another-runtime",
        ),
        pytest.param(
            models(max_batch_size=0),
            "FILE: models.m.max_batch_size: 0: should be greater than 0",
            id="zero-batch",
        ),
        pytest.param(
            models(runtime="onnx"),
            "FILE: models.m.runtime: 'onnx': should be 'auto', 'sklearn', 'torch', 'tensorflow'"
            " or 'pyfunc'",
            id="unknown-runtime",
        ),
        pytest.param(
            models(num_replicas=2, autoscaling_config={}),
            "FILE: models.m: give num_replicas or autoscaling_config, not both",
            id="fixed-and-scaled",
        ),
        pytest.param(
            models(autoscaling_config={"min_replicas": 3, "max_replicas": 2}),
            "FILE: models.m.autoscaling_config: min_replicas 3 is above max_replicas 2",
            id="bounds-crossed",
        ),
        pytest.param(
            models(autoscaling_config={"initial_replicas": 5, "max_replicas": 2}),
            "FILE: models.m.autoscaling_config: initial_replicas 5 is outside [1, 2]",
            id="starts-outside",
        ),
        pytest.param(
            {"models": {"a/b": {}}},
            "FILE: models: model name 'a/b' cannot be served, allowed: letters, digits, '.', '_'"
            " and single '-', starting with a letter or digit",
            id="slash-in-a-name",
        ),
    ],
)
def test_models_that_are_refused(value: Any, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelsSpec.load(value, where="FILE")

    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("value", "line"),
    [
        pytest.param(
            {"registry_poll_s": 3},
            "FILE: registry_poll_s: 3: should be less than or equal to 2",
            id="polls-too-rarely",
        ),
        pytest.param(
            {"request_deadline_s": 0},
            "FILE: request_deadline_s: 0: should be greater than 0",
            id="no-time",
        ),
        pytest.param(
            {"request_deadline_s": float("inf")},
            "FILE: request_deadline_s: inf: should be a finite number",
            id="time-without-end",
        ),
        pytest.param(
            {"strict_startup": "yes"},
            "FILE: strict_startup: 'yes': should be true or false",
            id="text-as-a-boolean",
        ),
    ],
)
def test_fleets_that_are_refused(value: Any, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FleetSpec.load(value, where="FILE")

    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        pytest.param("breast-cancer", True, id="hyphen"),
        pytest.param("a.b_c", True, id="dot-and-underscore"),
        pytest.param("9lives", True, id="digit-first"),
        pytest.param("a--b", False, id="two-hyphens-mark-a-version"),
        pytest.param("-a", False, id="hyphen-first"),
        pytest.param("", False, id="empty"),
        pytest.param("a b", False, id="space"),
        pytest.param("a\n", False, id="line-end"),
        pytest.param("größe", False, id="not-ascii"),
    ],
)
def test_model_names(name: str, allowed: bool) -> None:
    try:
        ModelsSpec.load({"models": {name: {}}}, where="FILE")
    except ConfigError:
        assert not allowed
    else:
        assert allowed


def test_version_numbers_in_traffic_may_be_numbers() -> None:
    assert ModelSpec.model_validate({"traffic": {3: 100}}).traffic == {"3": 100}


@pytest.mark.parametrize(
    ("traffic", "stable"),
    [
        pytest.param({"challenger": 10, "champion": 90}, "champion", id="champion-anywhere"),
        pytest.param({"2": 10, "1": 90}, "2", id="else-the-first"),
    ],
)
def test_stable_key(traffic: dict[str, int], stable: str) -> None:
    assert ModelSpec(traffic=traffic).stable_key == stable


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        pytest.param("churn--v3", ("churn", "3"), id="version"),
        pytest.param("a-v1--v12", ("a-v1", "12"), id="model-that-looks-like-one"),
        pytest.param("fleet", None, id="the-fleet-itself"),
        pytest.param("churn--vlatest", None, id="not-a-number"),
        pytest.param("churn--v", None, id="no-number"),
    ],
)
def test_application_names(name: str, parsed: tuple[str, str] | None) -> None:
    assert parse_application_name(name) == parsed
    if parsed is not None:
        assert application_name(*parsed) == name


def test_exponents_are_numbers_although_serve_reads_them_as_text() -> None:
    assert FleetSpec.load({"request_deadline_s": "1e1"}).request_deadline_s == 10.0


def test_a_path_in_the_file_leads_on_into_the_value() -> None:
    with pytest.raises(ConfigError) as caught:
        ModelsSpec.load(models(runtime="onnx"), where="FILE", path="deployments[0].user_config")

    assert str(caught.value).startswith("FILE: deployments[0].user_config.models.m.runtime: 'onnx'")
