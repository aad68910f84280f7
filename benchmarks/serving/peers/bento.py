"""A BentoML service with adaptive batching: bentoml serve benchmarks.serving.peers.bento:Model."""

import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np

from benchmarks.serving.models import load

DTYPE = os.environ["BENCHMARK_DTYPE"]


@bentoml.service(metrics={"enabled": False}, traffic={"timeout": 60})
class Model:
    """One model, loaded once for each worker."""

    def __init__(self) -> None:
        self._predict = load(Path(os.environ["BENCHMARK_MODEL"]))

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=64, max_latency_ms=1000)  # type: ignore[untyped-decorator]
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Answer rows, joined by BentoML with those of other requests."""
        answers: np.ndarray[Any, Any] = self._predict(rows.astype(DTYPE, copy=False))
        return answers
