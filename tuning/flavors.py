"""How a fitted model becomes an MLflow model that serving can load anywhere.

Every model gets a signature that it will be held to: one unnamed tensor for matrices and
images, named columns for a DataFrame. Requirements are exact versions, without the local
label (`2.13.0`, not `2.13.0+cpu`) that only some package indexes know.
"""

import importlib
import io
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from packaging.version import Version

from tuning.data import Rows
from tuning.errors import ConfigError
from tuning.safeformat import import_skops

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.models.model import ModelInfo


class Flavor(Protocol):
    """A framework's way through MLflow. Methods import the framework when called."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions that loading the model needs."""
        ...

    def prepare(self) -> None:
        """Import what `outputs` and `log` need, which may take seconds."""
        ...

    def outputs(self, model: Any, rows: Rows) -> NDArray[Any]:
        """Answer as the served model will: codes, a probability per class, or measurements."""
        ...

    def size_bytes(self, model: Any) -> int:
        """How large the file of the model is."""
        ...

    def log(self, model: Any, **arguments: Any) -> "ModelInfo":
        """Log the model to the active run, with MLflow's own arguments."""
        ...

    def load(self, uri: str) -> Any:
        """Load a model that `log` stored, as the trainer made it."""
        ...


class SklearnFlavor:
    """Answers class codes, or float64 numbers of a regression, shape (rows,)."""

    packages = ("mlflow", "scikit-learn", "skops", "numpy", "pandas", "scipy")

    def prepare(self) -> None:
        """Import MLflow's flavor and the format that it is stored in."""
        importlib.import_module("mlflow.sklearn")
        import_skops()

    def outputs(self, model: Any, rows: Rows) -> NDArray[Any]:
        """Return what `predict` says."""
        answers = np.asarray(model.predict(rows))
        return answers.astype(np.float64 if answers.dtype.kind == "f" else np.int64)

    def size_bytes(self, model: Any) -> int:
        """Count what `log` stores."""
        return len(import_skops().dumps(model))

    def log(self, model: Any, **arguments: Any) -> "ModelInfo":
        """Store in the skops format, which unlike a pickle runs no code when it is read."""
        import mlflow.sklearn  # noqa: PLC0415, seconds, which a validation must not cost

        skops_io = import_skops()
        # We fitted it a moment ago, so the types in it are the ones to trust later.
        trusted = skops_io.get_untrusted_types(data=skops_io.dumps(model))
        logged: ModelInfo = mlflow.sklearn.log_model(
            model, serialization_format="skops", skops_trusted_types=trusted, **arguments
        )
        return logged

    def load(self, uri: str) -> Any:
        """Load the pipeline."""
        import mlflow.sklearn  # noqa: PLC0415, as above

        import_skops()
        return mlflow.sklearn.load_model(uri)


class PytorchFlavor:
    """Answers float32 probabilities, shape (rows, classes)."""

    packages = ("mlflow", "torch", "numpy")

    def prepare(self) -> None:
        """Import PyTorch and MLflow's flavor."""
        importlib.import_module("mlflow.pytorch")

    def outputs(self, model: Any, rows: Rows) -> NDArray[Any]:
        """Call the module without gradients."""
        import torch  # noqa: PLC0415, as above

        with torch.inference_mode():
            answers: NDArray[Any] = model(torch.tensor(np.asarray(rows))).numpy()
        return answers

    def size_bytes(self, model: Any) -> int:
        """Count what PyTorch writes."""
        import torch  # noqa: PLC0415, as above

        file = io.BytesIO()
        torch.save(model, file)
        return file.tell()

    def log(self, model: Any, **arguments: Any) -> "ModelInfo":
        """Store as a pickle of PyTorch's own modules."""
        import mlflow.pytorch  # noqa: PLC0415, as above

        logged: ModelInfo = mlflow.pytorch.log_model(
            model, serialization_format="pickle", **arguments
        )
        return logged

    def load(self, uri: str) -> Any:
        """Load the module onto the CPU."""
        import mlflow.pytorch  # noqa: PLC0415, as above

        return mlflow.pytorch.load_model(uri, map_location="cpu")


class TensorflowFlavor:
    """Answers float32 probabilities, shape (rows, classes)."""

    packages = ("mlflow", "tensorflow", "keras", "numpy")

    def prepare(self) -> None:
        """Import TensorFlow and MLflow's flavor."""
        importlib.import_module("mlflow.tensorflow")
        importlib.import_module("tensorflow")
        # MLflow tries the example out with a progress bar on the terminal.
        importlib.import_module("keras").config.disable_interactive_logging()

    def outputs(self, model: Any, rows: Rows) -> NDArray[Any]:
        """Call the model as at inference."""
        answers: NDArray[Any] = model(rows, training=False).numpy()
        return answers

    def size_bytes(self, model: Any) -> int:
        """Count what Keras writes."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            model.save(path)
            return path.stat().st_size

    def log(self, model: Any, **arguments: Any) -> "ModelInfo":
        """Store in Keras' own format."""
        import mlflow.tensorflow  # noqa: PLC0415, as above

        logged: ModelInfo = mlflow.tensorflow.log_model(model, **arguments)
        return logged

    def load(self, uri: str) -> Any:
        """Load the Keras model."""
        import mlflow.tensorflow  # noqa: PLC0415, as above

        return mlflow.tensorflow.load_model(uri)


FLAVORS: Mapping[str, Flavor] = {
    "pytorch": PytorchFlavor(),
    "sklearn": SklearnFlavor(),
    "tensorflow": TensorflowFlavor(),
}


def require_flavor(name: str) -> Flavor:
    """Look up a trainer's flavor.

    Raises:
        ConfigError: There is none of that name.
    """
    flavor = FLAVORS.get(name)
    if flavor is None:
        known = ", ".join(sorted(FLAVORS))
        raise ConfigError(f"trainer: its flavor {name!r} is unknown, allowed: {known}")
    return flavor


def predicted_codes(outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Turn a model's answer into class codes.

    Args:
        outputs: Class codes of shape (rows,) or (rows, 1), or a score for each class, of
            shape (rows, classes).
    """
    if outputs.ndim == 2 and outputs.shape[1] > 1:
        outputs = outputs.argmax(axis=1)
    codes: NDArray[np.int64] = outputs.reshape(-1).astype(np.int64)
    return codes


def pinned_requirements(packages: tuple[str, ...]) -> list[str]:
    """Pin distributions to the versions that are installed here."""
    return [f"{package}=={Version(version(package)).public}" for package in packages]


def make_signature(rows: Rows, outputs: NDArray[Any]) -> "ModelSignature":
    """Describe a model by what went in and what came out; the number of rows is free."""
    from mlflow.models import ModelSignature  # noqa: PLC0415, as above
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec  # noqa: PLC0415, as above

    if isinstance(rows, pd.DataFrame):
        inputs = Schema(
            [
                ColSpec(DataType.string if rows[name].dtype == object else DataType.double, name)
                for name in rows.columns
            ]
        )
    else:
        inputs = Schema([TensorSpec(rows.dtype, (-1, *rows.shape[1:]))])
    return ModelSignature(inputs, Schema([TensorSpec(outputs.dtype, (-1, *outputs.shape[1:]))]))
