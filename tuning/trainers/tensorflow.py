"""A small network in Keras on TensorFlow.

The model answers probabilities; rows go in raw, because its first layer holds the mean
and variance of the rows that it was fitted on.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from tuning.data import Labels, Rows
from tuning.errors import ConfigError
from tuning.space import Params
from tuning.trainers.neural import check_params, require_matrix
from tuning.trainers.scores import CLASSIFICATION_METRICS, classification_metrics
from tuning.trainers.tensorflow_step import joined_strategy, make_step
from tuning.trainers.trainer import Fold, Metrics, Problem

DEFAULTS: Mapping[str, float] = {
    "learning_rate": 0.01,
    "l2": 0.0001,
    "batch_size": 32,
    "hidden": 32,
    "dropout": 0.1,
}
LIMITS: Mapping[str, tuple[float, float]] = {
    "learning_rate": (1e-6, 10.0),
    "l2": (0.0, 10.0),
    "batch_size": (1, 65536),
    "hidden": (1, 65536),
    "dropout": (0.0, 0.95),
}


def make_keras_trainer(problem: Problem, options: Mapping[str, Any]) -> "KerasTrainer":
    """Build the trainer, refusing data that a network cannot take."""
    require_matrix("tensorflow", problem)
    if options:
        raise ConfigError(f"options: {sorted(options)}: the tensorflow trainer has none")
    return KerasTrainer(problem)


class KerasTrainer:
    """Fits with Adam, reporting after each epoch."""

    metrics = (*CLASSIFICATION_METRICS, "train_loss")
    flavor = "tensorflow"
    backend = "tensorflow"
    mutable = ("learning_rate", "l2", "dropout")

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.row_shape: tuple[int, ...] | None = (len(problem.columns),)
        self._state: Callable[[], bytes] = bytes
        self._model_now: Any = None

    def check(self, params: Params) -> None:
        """Refuse unknown parameters and values out of range."""
        check_params(params, LIMITS)

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        """Fit one fold, validating after each epoch."""
        yield from self._validated(params, fold, None)

    def state(self) -> bytes:
        """Return the model with its optimizer, and the generator, as they are after an epoch."""
        return self._state()

    def resume(self, params: Params, fold: Fold, state: bytes) -> Iterator[Metrics]:
        """Go on with a fold after the epoch that `state` was taken at."""
        yield from self._validated(params, fold, state)

    def model(self) -> Any:
        """Return the model after the last report."""
        return self._model_now

    def _validated(self, params: Params, fold: Fold, state: bytes | None) -> Iterator[Metrics]:
        for model, train_loss in self._epochs(params, fold.rows, fold.labels, state):
            scores = self.score(model, fold.validation_rows, fold.validation_labels)
            yield {**scores, "train_loss": train_loss}

    def refit(self, params: Params, rows: Rows, labels: Labels) -> Any:
        """Return the model after the last epoch."""
        *_, (model, _) = self._epochs(params, rows, labels)
        return model

    def score(self, model: Any, rows: Rows, labels: Labels) -> Metrics:
        """Measure the most probable class, and the probabilities."""
        # `predict` would build a graph for every model; a call costs a millisecond.
        probabilities = model(np.asarray(rows, dtype=np.float32), training=False).numpy()
        return classification_metrics(labels, probabilities.argmax(axis=1), probabilities)

    def _epochs(
        self, params: Params, rows: Rows, labels: Labels, state: bytes | None = None
    ) -> Iterator[tuple[Any, float]]:
        keras = self._prepared_keras()
        settings = {**DEFAULTS, **params}
        inputs = np.asarray(rows, dtype=np.float32)
        model = self._model(keras, settings, inputs)
        done = 0
        size = int(float(str(settings["batch_size"])))
        generator = np.random.default_rng(self._problem.seed)
        if state is not None:
            variables, done, generator.bit_generator.state = pickle.loads(state)  # noqa: S301, ours
            model.optimizer.build(model.trainable_variables)
            for variable, value in zip(_variables(model), variables, strict=True):
                variable.assign(value)
            model.optimizer.learning_rate.assign(float(str(settings["learning_rate"])))
        step = make_step(model, self._problem.workers)
        for epoch in range(done, self._problem.epochs):
            order = generator.permutation(len(inputs))
            loss_sum = 0.0
            for start in range(0, len(order), size):
                chosen = order[start : start + size]
                loss_sum += step(inputs[chosen], labels[chosen]) * len(chosen)
            self._state = partial(_saved, model, epoch + 1, generator)
            self._model_now = model
            yield model, loss_sum / len(inputs)

    def _prepared_keras(self) -> Any:
        # Read by TensorFlow once, when it is imported: only errors reach the terminal.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # oneDNN sums in varying order
        # Else the first of several processes on one GPU takes all of its memory.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        import keras  # noqa: PLC0415, costs seconds: only a process that trains pays
        import tensorflow as tf  # noqa: PLC0415, as above

        try:
            tf.config.threading.set_intra_op_parallelism_threads(self._problem.n_threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            pass  # TensorFlow has run before in this process, which settled its threads
        if not self._problem.gpu:
            tf.config.set_visible_devices([], "GPU")
        if self._problem.workers.size > 1:
            joined_strategy()
        keras.utils.set_random_seed(self._problem.seed)
        return keras

    def _model(self, keras: Any, settings: Mapping[str, Any], inputs: Any) -> Any:
        layers = keras.layers
        scale = layers.Normalization()
        scale.adapt(inputs)
        model = keras.Sequential(
            [
                keras.Input((inputs.shape[1],)),
                scale,
                layers.Dense(
                    int(settings["hidden"]),
                    activation="relu",
                    kernel_regularizer=keras.regularizers.L2(float(settings["l2"])),
                ),
                layers.Dropout(float(settings["dropout"])),
                layers.Dense(self._problem.n_classes, activation="softmax"),
            ]
        )
        model.compile(
            optimizer=keras.optimizers.Adam(float(settings["learning_rate"])),
            loss="sparse_categorical_crossentropy",
            jit_compile=False,  # compiling takes longer than a small network's whole fit
        )
        return model


def _variables(model: Any) -> list[Any]:
    # Dropout's seeds are among the model's, which `weights` leaves out.
    return [*model.variables, *model.optimizer.variables]


def _saved(model: Any, epochs: int, generator: np.random.Generator) -> bytes:
    values = [variable.numpy() for variable in _variables(model)]
    return pickle.dumps((values, epochs, generator.bit_generator.state))
