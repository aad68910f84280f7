"""MLflow stores for tests: real ones, whose empty tables are made once and not for each test."""

import functools
import shutil
import tempfile
from pathlib import Path

from mlflow import MlflowClient


def new_mlflow(folder: Path) -> str:
    """Put an empty MLflow store into a folder; returns its address."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(_empty().name) / "mlflow.db", folder)
    return f"sqlite:///{folder / 'mlflow.db'}"


@functools.cache
def _empty() -> "tempfile.TemporaryDirectory[str]":
    # Two seconds: MLflow makes fifty tables and notes every migration since its first.
    folder = tempfile.TemporaryDirectory(prefix="rf-mlflow-")
    MlflowClient(f"sqlite:///{folder.name}/mlflow.db").search_experiments()
    return folder
