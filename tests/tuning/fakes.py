"""A trainer whose score is a parameter, and that can be told to wait or to fail."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier

from tuning.data import Labels, Rows
from tuning.space import Params
from tuning.trainers.trainer import Fold, Metrics, Problem

SCORES = ("accuracy", "pid")
POLL_S = 0.02


class FakeTrainer:
    """Its accuracy is the parameter `x`.

    Options: `folder`, where every call to `train` is noted as an empty file that names its
    process; `hold`, with which calls wait there for a file `go` once that many were noted;
    `gates`, several such numbers, with a file `go-NUMBER` for each; `fail_below`, under which
    `x` raises; `nan_above`, from which on the accuracy is NaN; `die_below`, under which it ends
    its process; `die_at`, the calls in which it does, by number from 1; `noise`, by which it
    differs from fold to fold; `refit_raises`; `writers`, a folder in which each process is noted
    that writes the model; `refit_dies`, how many processes a refit ends, noted there, too.
    """

    metrics: tuple[str, ...] = SCORES
    flavor = "sklearn"
    row_shape: tuple[int, ...] | None = None

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        self._options = options

    def check(self, params: Params) -> None:
        pass

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        x = float(str(params["x"]))
        n_calls = self._note(x)
        if x < self._options.get("die_below", -1.0) or n_calls in self._options.get("die_at", ()):
            os._exit(1)
        if x < self._options.get("fail_below", -1.0):
            raise ValueError(f"x is too small: {x}")
        if x >= self._options.get("nan_above", math.inf):
            x = math.nan
        noise = self._options.get("noise", 0.0) * math.sin(1e3 * (x + float(np.mean(fold.rows))))
        yield {"accuracy": x + noise, "pid": float(os.getpid())}

    def refit(self, params: Params, rows: Rows, labels: Labels) -> Any:
        if self._options.get("refit_raises"):
            raise ValueError("refit: no\nat length")
        if "writers" not in self._options:
            return DummyClassifier().fit(rows, labels)
        folder = Path(self._options["writers"])
        if len(list(folder.glob("died-*"))) < self._options.get("refit_dies", 0):
            (folder / f"died-{os.getpid()}").touch()
            os._exit(1)
        return Written(str(folder)).fit(rows, labels)

    def score(self, model: Any, rows: Rows, labels: Labels) -> Metrics:
        return {"accuracy": float(np.mean(model.predict(rows) == labels)), "pid": 0.0}

    def _note(self, x: float) -> int:
        """Note a call, and return how many there were."""
        if "folder" not in self._options:
            return 0
        folder = Path(self._options["folder"])
        (folder / f"{x!r}-{time.time_ns()}.{os.getpid()}.call").touch()
        n_calls = len(list(folder.glob("*.call")))
        gates = {gate: f"go-{gate}" for gate in self._options.get("gates", [])}
        gates |= {self._options["hold"]: "go"} if "hold" in self._options else {}
        for gate, name in gates.items():
            while n_calls > gate and not (folder / name).exists():
                time.sleep(POLL_S)
        return n_calls


class Written(DummyClassifier):  # type: ignore[misc]
    """Notes each process that writes it, into a file or to another process."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def __getstate__(self) -> Any:
        (Path(self.folder) / f"wrote-{os.getpid()}").touch()
        return super().__getstate__()


class JoinedTrainer(FakeTrainer):
    """Trains on several workers, for whom `TF_CONFIG` is enough and TensorFlow is not there.

    Option `rank`: the only worker that heeds the other options; the default is all of them.
    """

    metrics = (*SCORES, "size")
    backend = "tensorflow"

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        self._workers = problem.workers
        if problem.workers.size > 1:
            task = json.loads(os.environ["TF_CONFIG"])
            assert task["task"]["index"] == problem.workers.rank
            assert len(set(task["cluster"]["worker"])) == problem.workers.size
        heeds = options.get("rank", problem.workers.rank) == problem.workers.rank
        super().__init__(problem, options if heeds else {})

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        for metrics in super().train(params, fold):
            # Were another worker's report taken, it would be seen.
            own = {"accuracy": -1.0} if self._workers.rank else {}
            yield {**metrics, **own, "size": float(self._workers.size)}


class EvolvingTrainer(JoinedTrainer):
    """Whose state is how many epochs it has behind it."""

    mutable = ("x",)

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        yield from self.resume(params, fold, b"")

    def resume(self, params: Params, fold: Fold, state: bytes) -> Iterator[Metrics]:
        self._epochs, self._fold = len(state), fold
        while True:
            self._epochs += 1
            yield from super().train(params, fold)

    def state(self) -> bytes:
        return bytes(self._epochs)

    def model(self) -> Any:
        return DummyClassifier().fit(self._fold.rows, self._fold.labels)


class OddBackend(FakeTrainer):
    backend = "jax"


class OddMetric(FakeTrainer):
    metrics = ("accuracy", "acc@1")


class OddShape(FakeTrainer):
    row_shape = (3, 3)


class OddCheck(FakeTrainer):
    def check(self, params: Params) -> None:
        raise KeyError("depth")


class NoTrainer:
    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        """Have nothing of what a trainer has."""
