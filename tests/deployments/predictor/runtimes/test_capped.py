"""A framework that meets its cap names the budget and the device; the rest passes through."""

import numpy as np
import pytest

from deployments.predictor.gpu_budget import Device, Grant
from deployments.predictor.runtimes.capped import Cap, CappedRuntime
from deployments.protocols.tensors import Batch, Layout, Outputs
from tests.deployments.predictor.runtimes.gauges import Gauges
from tests.fakes import sums

BATCH = Batch({"x": np.array([[1.0, 2.0]])}, {}, Layout.TENSOR)
GRANT = Grant(5_758, Device("NVIDIA L4", 23_034, "GPU 1 of node-7"))


class FullError(RuntimeError):
    """What the framework raises."""


class Moody:
    """Raises once it is told to."""

    error: Exception | None = None

    def predict(self, batch: Batch) -> Outputs:
        if self.error is not None:
            raise self.error
        return Outputs(sums(batch))


def capped(model: Moody) -> CappedRuntime:
    return CappedRuntime(lambda: model, Cap(GRANT, FullError, lambda: 7), Gauges().make)


def test_a_batch_beyond_the_budget_fails_by_name_and_the_next_one_is_answered() -> None:
    model = Moody()
    runtime = capped(model)
    model.error = FullError("CUDA out of memory. Tried to allocate 2 GiB.\nStack:\n...")

    with pytest.raises(MemoryError) as caught:
        runtime.predict(BATCH)
    model.error = None

    assert str(caught.value) == (
        "out of the budget of 5758 MiB on NVIDIA L4, GPU 1 of node-7, 23034 MiB: CUDA out of"
        " memory. Tried to allocate 2 GiB."
    )
    assert runtime.predict(BATCH).arrays["output-0"].tolist() == [3.0]


def test_a_model_too_large_to_load_fails_by_name() -> None:
    def load() -> Moody:
        raise FullError("CUDA out of memory.")

    with pytest.raises(MemoryError, match="out of the budget of 5758 MiB on NVIDIA L4, GPU 1"):
        CappedRuntime(load, Cap(GRANT, FullError, lambda: 7), Gauges().make)


def test_other_errors_are_the_model_s_own() -> None:
    model = Moody()
    runtime = capped(model)
    model.error = ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        runtime.predict(BATCH)
