"""Models that share one NVIDIA GPU: `make test-gpu`, on a node that has one.

Each replica is a process of its own that Ray places by `num_gpus`, as in a fleet.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import ray
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from deployments.errors import ConfigError, PredictionError
from deployments.predictor.gpu_budget import Claim, Device
from deployments.predictor.predictor import Predictor
from deployments.predictor.runtimes.nvidia import read_devices
from deployments.predictor.runtimes.runtime import RuntimeOptions, make_runtime
from deployments.protocols.tensors import Array, Batch, Layout
from deployments.schema import CONTEXT_MIB, TorchSpec

pytestmark = [pytest.mark.gpu, pytest.mark.ray]

MIB = 2**20
WIDTH = 65_536
"""Numbers that `wide` answers for each row: a quarter of a MiB."""

QUARTER = Claim(0.25)


@pytest.fixture(scope="module")
def gpu() -> Device:
    return read_devices()[0]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Versions 1: `wide` and `keras`, whose answers are large, and `heavy`, 1 GiB of weights."""
    import keras  # noqa: PLC0415, only where a GPU is
    import tensorflow as tf  # noqa: PLC0415
    import torch  # noqa: PLC0415

    # Here it makes a model, and would take nearly all of the GPU for that.
    tf.config.set_visible_devices([], "GPU")
    folder: Path = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    experiment = mlflow.create_experiment("gpu", artifact_location=folder.as_uri())
    mlflow.set_experiment(experiment_id=experiment)
    register("wide", "pytorch", torch.nn.Linear(1, WIDTH), 1)
    register("heavy", "pytorch", torch.nn.Linear(16_384, 16_384), 16_384)
    layers = [keras.Input((1,)), keras.layers.Dense(WIDTH)]
    register("keras", "tensorflow", keras.Sequential(layers), 1)
    return uri


def register(name: str, flavor: str, model: Any, width: int) -> None:
    signature = ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, width))]))
    options = {"serialization_format": "pickle"} if flavor == "pytorch" else {}
    argument = "pytorch_model" if flavor == "pytorch" else "model"
    getattr(mlflow, flavor).log_model(
        **{argument: model},
        name=name,
        signature=signature,
        pip_requirements=[],
        registered_model_name=name,
        **options,
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Replica:
    """A predictor in a process of its own, with its share of the GPU."""

    def __init__(self, model: str, kind: str, uri: str, claim: Claim) -> None:
        options = RuntimeOptions(claim)
        self._predictor = Predictor(model, "1", kind, uri, uri, options=options)

    def ask(self, n_rows: int) -> tuple[int, ...]:
        """Shape of the answer to so many rows."""
        batch = Batch({"input-0": np.ones((n_rows, 1), np.float32)}, {}, Layout.TENSOR)
        answer = asyncio.run(self._predictor.predict(batch, "gateway", 1))
        return next(iter(answer.arrays.values())).shape


def start(model: str, kind: str, uri: str, claim: Claim = QUARTER) -> Any:
    remote = ray.remote(Replica).options(num_cpus=0.1, num_gpus=claim.num_gpus)
    return remote.remote(model, kind, uri, claim)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(("model", "kind"), [("wide", "torch"), ("keras", "tensorflow")])
def test_of_four_models_on_one_gpu_the_one_that_takes_too_much_fails_alone(
    registry: str, gpu: Device, model: str, kind: str
) -> None:
    replicas = [start(model, kind, registry) for _ in range(4)]
    assert ray.get([each.ask.remote(1) for each in replicas]) == [(1, WIDTH)] * 4
    greedy, others = replicas[0], replicas[1:]

    # More than a quarter, much less than the whole: without a cap it would be answered.
    too_many = int(gpu.total_mib * 0.3) * MIB // (WIDTH * 4)
    too_much = greedy.ask.remote(too_many)
    meanwhile = [each.ask.remote(64) for each in others]

    with pytest.raises(PredictionError) as caught:
        ray.get(too_much)
    said = str(caught.value)
    assert said.startswith(f"model {model!r} version 1 failed: MemoryError: out of the budget of ")
    assert gpu.name in said
    assert ray.get(meanwhile) == [(64, WIDTH)] * 3
    assert ray.get(greedy.ask.remote(1)) == (1, WIDTH)
    for each in replicas:
        ray.kill(each)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        pytest.param(Claim(0.5, CONTEXT_MIB + 256), "out of the budget of 768 MiB", id="weights"),
        pytest.param(Claim(0.01, 500_000), "gpu_memory_mib 500000: more than all of", id="device"),
    ],
)
def test_a_model_beyond_its_budget_is_not_loaded(
    registry: str, gpu: Device, claim: Claim, reason: str
) -> None:
    replica = start("heavy", "torch", registry, claim)

    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        ray.get(replica.ask.remote(1))

    said = str(caught.value)
    assert f"{ConfigError.__name__}: model 'heavy' version 1: {reason}" in said
    assert gpu.name in said


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        pytest.param({}, 1e-4, id="plain"),
        pytest.param({"half_precision": "float16"}, 0.01, id="float16"),
        pytest.param({"half_precision": "bfloat16"}, 0.05, id="bfloat16"),
        pytest.param({"pin_memory": True}, 1e-4, id="pinned"),
        pytest.param({"compile": True}, 1e-4, id="compiled"),
        pytest.param(
            {"compile": True, "half_precision": "float16", "pin_memory": True}, 0.01, id="all"
        ),
    ],
)
def test_each_option_answers_as_the_cpu_does(
    registry: str, settings: dict[str, Any], tolerance: float
) -> None:
    expected = answer(make_runtime("torch", "models:/wide/1", registry, registry))

    # The whole of it: a process caps its share once, and other tests' processes are gone.
    options = RuntimeOptions(Claim(1.0), TorchSpec(**settings))
    runtime = make_runtime("torch", "models:/wide/1", registry, registry, options)

    actual = answer(runtime)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=tolerance)


def answer(runtime: Any) -> Array:
    rows = np.linspace(0, 1, 8, dtype=np.float32).reshape(8, 1)
    outputs = runtime.predict(Batch({"input-0": rows}, {}, Layout.TENSOR))
    return np.asarray(next(iter(outputs.arrays.values())))
