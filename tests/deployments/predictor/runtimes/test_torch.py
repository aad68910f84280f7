"""PyTorch's options on a CPU; `tests/integration/test_gpu.py` has those of a GPU."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import Schema, TensorSpec

from deployments.errors import ConfigError
from deployments.predictor.gpu_budget import Claim
from deployments.predictor.runtimes.runtime import RuntimeOptions, make_runtime
from deployments.protocols.tensors import Array, Batch, Layout
from deployments.schema import TorchSpec

pytestmark = pytest.mark.ray

ROWS = np.random.default_rng(7).normal(size=(12, 1, 8, 8)).astype(np.float32)
NO_GPU = Claim(0.0)
OPEN = ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, -1))]))


@pytest.fixture(scope="module")
def module() -> Any:
    """A small convolutional net, with a layer that autocast leaves in full precision."""
    from torch import manual_seed, nn  # noqa: PLC0415, slow

    manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.LayerNorm(144), nn.Linear(144, 10)
    ).eval()


@pytest.fixture(scope="module")
def path(module: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(module, tmp_path_factory.mktemp("net"), infer_signature(ROWS, np.ones((12, 10))))


@pytest.fixture(scope="module")
def new_cache() -> Iterator[None]:
    """Compile anew; what PyTorch's own headers become is kept from one test to the next."""
    from torch._inductor.utils import fresh_cache  # noqa: PLC0415, slow

    with fresh_cache():
        yield


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Begin with nothing compiled in this process, and forget what was compiled."""
    import torch  # noqa: PLC0415, slow

    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def empty_cache(forgetful: None) -> Iterator[None]:
    """Begin with nothing compiled on the disk either."""
    from torch._inductor.utils import fresh_cache  # noqa: PLC0415, slow

    with fresh_cache():
        yield


def save(module: Any, folder: Path, signature: ModelSignature | None) -> str:
    mlflow.pytorch.save_model(
        module,
        folder / "model",
        signature=signature,
        serialization_format="pickle",
        pip_requirements=[],
    )
    return str(folder / "model")


def load(path: str, claim: Claim = NO_GPU, **settings: Any) -> Any:
    return make_runtime("torch", path, "", "", RuntimeOptions(claim, TorchSpec(**settings)))


def answer(runtime: Any, rows: Array = ROWS) -> Array:
    outputs = runtime.predict(Batch({"input-0": rows}, {}, Layout.TENSOR))
    (array,) = outputs.arrays.values()
    return np.asarray(array)


def test_bfloat16_answers_like_autocast_in_the_model_s_own_type(path: str, module: Any) -> None:
    import torch  # noqa: PLC0415, slow

    halved = answer(load(path, half_precision="bfloat16"))

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = module(torch.from_numpy(ROWS)).float().numpy()
    assert halved.dtype == np.float32
    np.testing.assert_array_equal(halved, expected)
    full = answer(load(path))
    assert not np.array_equal(halved, full)
    np.testing.assert_allclose(halved, full, atol=0.05)


def test_only_the_weights_that_autocast_would_cast_are_halved(path: str) -> None:
    runtime = load(path, half_precision="bfloat16")

    types = [str(parameter.dtype) for parameter in runtime._module.parameters()]

    # Convolution, normalization, linear layer; a weight and a bias each.
    assert types == ["torch.bfloat16"] * 2 + ["torch.float32"] * 2 + ["torch.bfloat16"] * 2


@pytest.mark.thorough
@pytest.mark.usefixtures("new_cache", "forgetful")
@pytest.mark.parametrize("half_precision", [None, "bfloat16"])
def test_a_compiled_module_answers_any_number_of_rows_from_any_thread_at_once(
    path: str, half_precision: Any
) -> None:
    import torch  # noqa: PLC0415, slow

    runtime = load(path, compile=True, half_precision=half_precision)
    plain = load(path, half_precision=half_precision)
    answers: dict[int, Array] = {}

    def ask() -> None:
        with torch.compiler.set_stance("fail_on_recompile"):
            for n_rows in (1, 2, 5, 12):
                answers[n_rows] = answer(runtime, ROWS[:n_rows])

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()

    tolerance = 1e-5 if half_precision is None else 0.05
    assert answers.keys() == {1, 2, 5, 12}
    for n_rows, array in answers.items():
        np.testing.assert_allclose(array, answer(plain, ROWS[:n_rows]), atol=tolerance)


@pytest.mark.usefixtures("empty_cache")
def test_a_missing_compiler_is_one_line(path: str) -> None:
    import torch._inductor.config as inductor  # noqa: PLC0415, slow

    with (
        inductor.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(ConfigError) as caught,
    ):
        load(path, compile=True)

    assert str(caught.value).startswith("torch.compile: ")
    assert "compiler" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("signature", "line"),
    [
        pytest.param(
            OPEN,
            "torch.compile: input 'input-0' is FP32 of shape [-1, -1], should be numbers with"
            " only the rows open",
            id="open-shape",
        ),
        pytest.param(
            None,
            "torch.compile: the version has no signature to compile it for",
            id="no-signature",
        ),
    ],
)
def test_what_cannot_be_compiled_ahead_is_refused(
    module: Any, tmp_path: Path, signature: ModelSignature | None, line: str
) -> None:
    path = save(module, tmp_path, signature)

    with pytest.raises(ConfigError) as caught:
        load(path, compile=True)

    assert str(caught.value) == line


def test_a_gpu_that_was_not_given_is_not_taken(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: PLC0415, slow

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    np.testing.assert_array_equal(answer(load(path)).shape, (12, 10))


def test_a_gpu_that_was_given_and_is_not_there_is_missed(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415, slow

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(ConfigError, match=r"^num_gpus 0\.25: torch sees no GPU in the replica$"):
        load(path, Claim(0.25))


def test_rows_that_cannot_be_written_to_are_taken(path: str) -> None:
    frozen = ROWS.copy()
    frozen.setflags(write=False)

    np.testing.assert_array_equal(answer(load(path), frozen), answer(load(path)))
