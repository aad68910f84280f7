"""A small network in PyTorch: convolutional for images, a perceptron for plain rows.

The model consists of PyTorch's own modules only, so that loading it needs no code of
this package. It answers probabilities; rows go in raw, because its first layer learns
their scale.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from tuning.configfile import Spec
from tuning.data import Labels, Rows
from tuning.errors import ConfigError
from tuning.space import Params
from tuning.trainers.neural import check_params, require_matrix
from tuning.trainers.scores import CLASSIFICATION_METRICS, classification_metrics
from tuning.trainers.torch_loss import make_loss
from tuning.trainers.trainer import Fold, Metrics, Problem

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULTS: Mapping[str, float] = {
    "learning_rate": 0.003,
    "weight_decay": 0.0001,
    "batch_size": 64,
    "channels": 16,
    "hidden": 64,
    "dropout": 0.1,
}
LIMITS: Mapping[str, tuple[float, float]] = {
    "learning_rate": (1e-6, 10.0),
    "weight_decay": (0.0, 10.0),
    "batch_size": (2, 65536),  # batch normalization cannot train on one row
    "channels": (1, 1024),
    "hidden": (1, 65536),
    "dropout": (0.0, 0.95),
}


class TorchOptions(Spec):
    """What the PyTorch trainer can be told beside its parameters."""

    image_shape: (
        Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], Field(strict=False)] | None
    ) = None
    """Channels, height and width that the columns of a row spell; None has no images."""


def make_torch_trainer(problem: Problem, options: Mapping[str, Any]) -> "TorchTrainer":
    """Build the trainer, refusing options that do not fit the data."""
    require_matrix("torch", problem)
    shape = TorchOptions.load(options, path="options").image_shape
    if shape is not None and prod(shape) != len(problem.columns):
        raise ConfigError(
            f"options.image_shape: {list(shape)}: {prod(shape)} values, "
            f"but the data has {len(problem.columns)} columns"
        )
    if shape is not None and min(shape[1:]) < 4:
        raise ConfigError(f"options.image_shape: {list(shape)}: height and width must be 4 or more")
    return TorchTrainer(problem, shape or (len(problem.columns),))


class TorchTrainer:
    """Fits with AdamW and a one-cycle learning rate, reporting after each epoch."""

    metrics = (*CLASSIFICATION_METRICS, "train_loss")
    flavor = "pytorch"
    backend = "torch"
    mutable = ("learning_rate", "weight_decay", "dropout")

    def __init__(self, problem: Problem, row_shape: tuple[int, ...]) -> None:
        self._problem = problem
        self.row_shape: tuple[int, ...] | None = row_shape
        self._state: Callable[[], bytes] = bytes
        self._model_now: nn.Module | None = None

    def check(self, params: Params) -> None:
        """Refuse unknown parameters and values out of range."""
        check_params(params, LIMITS)

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        """Fit one fold, validating after each epoch."""
        yield from self._validated(params, fold, None)

    def state(self) -> bytes:
        """Return weights, optimizer, schedule and generators, as they are after an epoch."""
        return self._state()

    def resume(self, params: Params, fold: Fold, state: bytes) -> Iterator[Metrics]:
        """Go on with a fold after the epoch that `state` was taken at."""
        yield from self._validated(params, fold, state)

    def model(self) -> "nn.Module":
        """Return the model after the last report, on the CPU, ready to predict."""
        if self._model_now is None:
            raise ValueError("nothing was trained yet")
        return self._model_now.cpu().eval()

    def _validated(self, params: Params, fold: Fold, state: bytes | None) -> Iterator[Metrics]:
        for model, train_loss in self._epochs(params, fold.rows, fold.labels, state):
            scores = self.score(model, fold.validation_rows, fold.validation_labels)
            yield {**scores, "train_loss": train_loss}

    def refit(self, params: Params, rows: Rows, labels: Labels) -> "nn.Module":
        """Return the model after the last epoch, on the CPU, ready to predict."""
        *_, (model, _) = self._epochs(params, rows, labels)
        return model.cpu().eval()

    def score(self, model: "nn.Module", rows: Rows, labels: Labels) -> Metrics:
        """Measure the most probable class, and the probabilities."""
        import torch  # noqa: PLC0415, costs seconds: only a process that trains pays

        device = next(model.parameters()).device
        model.eval()
        with torch.inference_mode():
            probabilities = model(_tensor(rows).to(device)).cpu().numpy()
        return classification_metrics(labels, probabilities.argmax(axis=1), probabilities)

    def _epochs(
        self, params: Params, rows: Rows, labels: Labels, state: bytes | None = None
    ) -> Iterator[tuple["nn.Module", float]]:
        import torch  # noqa: PLC0415, as above

        from tuning.trainers.torch_optimizer import EagerAdamW  # noqa: PLC0415, as above

        torch.set_num_threads(self._problem.n_threads)
        torch.manual_seed(self._problem.seed)
        device = torch.device("cuda" if self._problem.gpu else "cpu")
        settings = {**DEFAULTS, **params}
        model = self._model(settings).to(device)
        inputs, targets = _tensor(rows).to(device), torch.tensor(labels, device=device)

        batches = _batches(len(inputs), int(float(str(settings["batch_size"]))))
        rate = float(str(settings["learning_rate"]))
        optimizer = EagerAdamW(
            model.parameters(), lr=rate, weight_decay=float(str(settings["weight_decay"]))
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=rate, total_steps=self._problem.epochs * len(batches)
        )
        network = model[0]
        parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
        done = _restored(parts, state) if state is not None else 0
        _set_rates(optimizer, rate, float(str(settings["weight_decay"])))
        batch_loss = make_loss(network, self._problem.workers)
        for epoch in range(done, self._problem.epochs):
            network.train()
            loss_sum = 0.0
            order = torch.randperm(len(inputs), device="cpu").to(device)
            for batch in batches:
                chosen = order[batch]
                optimizer.zero_grad()
                loss = batch_loss(inputs, targets, chosen)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                loss_sum += loss.item() * len(chosen)
            self._state, self._model_now = partial(_saved, parts, epoch + 1), model
            yield model, batch_loss.summed(loss_sum) / len(inputs)

    def _model(self, settings: Mapping[str, Any]) -> "nn.Sequential":
        from torch import nn  # noqa: PLC0415, as above

        shape = self.row_shape or ()
        n_classes = self._problem.n_classes
        layers = _convolutional if len(shape) == 3 else _perceptron
        # Training needs the scores, serving the probabilities: one sits inside the other.
        return nn.Sequential(nn.Sequential(*layers(shape, n_classes, settings)), nn.Softmax(dim=1))


def _saved(parts: Mapping[str, Any], epochs: int) -> bytes:
    import torch  # noqa: PLC0415, as above

    file = io.BytesIO()
    states = {name: part.state_dict() for name, part in parts.items()}
    random = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    torch.save({**states, "random": random, "cuda": cuda, "epochs": epochs}, file)
    return file.getvalue()


def _restored(parts: Mapping[str, Any], state: bytes) -> int:
    """Put a state back into its parts; return how many epochs it has behind it."""
    import torch  # noqa: PLC0415, as above

    saved = torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    torch.set_rng_state(saved["random"])
    if saved["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["cuda"])
    return int(saved["epochs"])


def _set_rates(optimizer: Any, rate: float, weight_decay: float) -> None:
    """Scale a schedule to a learning rate that may have changed since it began."""
    for group in optimizer.param_groups:
        ratio = rate / group["max_lr"]
        if ratio != 1.0:
            for key in ("lr", "initial_lr", "max_lr", "min_lr"):
                group[key] *= ratio
        group["weight_decay"] = weight_decay


def _convolutional(
    shape: tuple[int, ...], n_classes: int, settings: Mapping[str, Any]
) -> list["nn.Module"]:
    from torch import nn  # noqa: PLC0415, as above

    n_channels, height, width = shape
    wide, hidden = int(settings["channels"]), int(settings["hidden"])
    return [
        nn.BatchNorm2d(n_channels),
        nn.Conv2d(n_channels, wide, 3, padding=1),
        nn.BatchNorm2d(wide),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(wide, 2 * wide, 3, padding=1),
        nn.BatchNorm2d(2 * wide),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * wide * (height // 4) * (width // 4), hidden),
        nn.ReLU(),
        nn.Dropout(float(settings["dropout"])),
        nn.Linear(hidden, n_classes),
    ]


def _perceptron(
    shape: tuple[int, ...], n_classes: int, settings: Mapping[str, Any]
) -> list["nn.Module"]:
    from torch import nn  # noqa: PLC0415, as above

    hidden = int(settings["hidden"])
    return [
        nn.BatchNorm1d(shape[0]),
        nn.Linear(shape[0], hidden),
        nn.ReLU(),
        nn.Dropout(float(settings["dropout"])),
        nn.Linear(hidden, n_classes),
    ]


def _batches(n_rows: int, size: int) -> list[slice]:
    starts = range(0, n_rows, size)
    # Batch normalization cannot train on a last batch of one row.
    return [slice(start, start + size) for start in starts if n_rows - start > 1]


def _tensor(rows: Rows) -> "Tensor":
    import torch  # noqa: PLC0415, as above

    # A copy, because PyTorch may not be handed the object store's read-only memory.
    values: NDArray[np.float32] = np.array(rows, dtype=np.float32)
    return torch.from_numpy(values)
