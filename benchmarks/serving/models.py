"""The measured models: how each is fitted and kept, and how a peer's process loads it.

Loading imports nothing but NumPy and the model's own framework, since it also happens in
the peers' environments. All peers but `mlflow models serve` load with this, so that what
differs between them is the server.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Predict = Callable[[Array], Array]

N_WIDE = 4096
"""Features of the wide model: 64 rows of float32 are 1 MiB."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, and rows to ask it about."""

    model: Any
    rows: Array
    """Shape (rows, ...); their type is the one that the model is served with."""


@dataclass(frozen=True, slots=True)
class ModelKind:
    """One measured model."""

    fit: Callable[[], Fitted]
    flavor: str
    """Name of `tuning.flavors`, which says how it is registered."""

    suffix: str
    """Of the file that `save` writes and `load` reads."""


def fit_small() -> Fitted:
    """Fit the cheapest model: predicting four features costs less than a server's own work."""
    from sklearn.datasets import load_iris  # noqa: PLC0415, only where it is fitted
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415, as above

    rows, labels = load_iris(return_X_y=True)
    return Fitted(LogisticRegression(max_iter=1_000).fit(rows, labels), rows)


def fit_linear() -> Fitted:
    """Fit the model of the demo: two steps, each of which checks its input."""
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415, as above
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415, as above
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415, as above
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415, as above

    rows, labels = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    return Fitted(model.fit(rows, labels), rows)


def fit_forest() -> Fitted:
    """Fit the dear model: some milliseconds, and hardly more for 32 rows than for one."""
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415, as above
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415, as above
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415, as above

    rows, labels = load_breast_cancer(return_X_y=True)
    model = make_pipeline(RandomForestClassifier(100, random_state=0))
    return Fitted(model.fit(rows, labels), rows)


def fit_wide() -> Fitted:
    """Fit a linear regression whose rows are large and whose answer is one number a row."""
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415, as above
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415, as above

    generator = np.random.default_rng(0)
    rows = generator.standard_normal((512, N_WIDE), dtype=np.float32)
    targets = rows[:, :8].sum(axis=1).astype(np.int64)  # whole numbers, as other flavors answer
    model = make_pipeline(LinearRegression())
    return Fitted(model.fit(rows, targets), rows)


def fit_convolutional() -> Fitted:
    """Fit a small convolutional network on images of digits."""
    import torch  # noqa: PLC0415, as above
    from sklearn.datasets import load_digits  # noqa: PLC0415, as above
    from torch import nn  # noqa: PLC0415, as above

    torch.manual_seed(0)
    bunch = load_digits()
    images = bunch.images[:, None].astype(np.float32)
    inputs, targets = torch.from_numpy(images), torch.from_numpy(bunch.target)
    scores = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(scores.parameters(), lr=0.01)
    for _ in range(20):  # enough to answer differently for different images
        optimizer.zero_grad()
        nn.functional.cross_entropy(scores(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Fitted(nn.Sequential(scores, nn.Softmax(dim=1)).eval(), images)


def fit_keras() -> Fitted:
    """Fit a small Keras network on wines."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras  # noqa: PLC0415, as above
    from sklearn.datasets import load_wine  # noqa: PLC0415, as above

    keras.utils.set_random_seed(0)
    rows, labels = load_wine(return_X_y=True)
    rows = rows.astype(np.float32)
    scale = keras.layers.Normalization()
    scale.adapt(rows)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((rows.shape[1],)),
            scale,
            layers.Dense(32, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", jit_compile=False)
    model.fit(rows, labels, epochs=5, verbose=0)
    return Fitted(model, rows)


MODELS: Mapping[str, ModelKind] = {
    "iris": ModelKind(fit_small, "sklearn", ".joblib"),
    "breast-cancer": ModelKind(fit_linear, "sklearn", ".joblib"),
    "forest": ModelKind(fit_forest, "sklearn", ".joblib"),
    "digits": ModelKind(fit_convolutional, "pytorch", ".pt"),
    "wine": ModelKind(fit_keras, "tensorflow", ".keras"),
    "wide": ModelKind(fit_wide, "sklearn", ".joblib"),
}
"""By registered name."""


def save(model: Any, path: Path) -> None:
    """Keep a fitted model where `load` finds it; the suffix says how."""
    match path.suffix:
        case ".joblib":
            import joblib  # noqa: PLC0415, as above

            joblib.dump(model, path)
        case ".pt":
            import torch  # noqa: PLC0415, as above

            torch.save(model, path)
        case ".keras":
            model.save(path)
        case other:
            raise ValueError(f"{other}: should be .joblib, .pt or .keras")


def load(path: Path) -> Predict:
    """Load a model as a function from rows to answers, as fast as its framework allows."""
    match path.suffix:
        case ".joblib":
            import joblib  # noqa: PLC0415, as above

            predict: Predict = joblib.load(path).predict
            return predict
        case ".pt":
            return _load_torch(path)
        case ".keras":
            return _load_keras(path)
        case other:
            raise ValueError(f"{other}: should be .joblib, .pt or .keras")


def _load_torch(path: Path) -> Predict:
    import torch  # noqa: PLC0415, as above

    module = torch.load(path, weights_only=False).eval()

    def predict(rows: Array) -> Array:
        with torch.inference_mode():
            answers: Array = module(torch.from_numpy(rows)).numpy()
        return answers

    return predict


def _load_keras(path: Path) -> Predict:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras  # noqa: PLC0415, as above
    import tensorflow as tf  # noqa: PLC0415, as above

    model = keras.models.load_model(path, compile=False)

    # One trace for every number of rows, as our own runtime has it.
    @tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator]
    def infer(rows: Any) -> Any:
        return model(rows, training=False)

    return lambda rows: np.asarray(infer(tf.convert_to_tensor(rows)))
