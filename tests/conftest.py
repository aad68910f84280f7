"""What every test file may rely on."""

import os
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def addresses_of_mlflow() -> Iterator[None]:
    """Forget the addresses that a file gave MLflow.

    MLflow writes them into the environment too, where the processes that later files start
    would find another file's registry.
    """
    yield
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None:
        mlflow.set_tracking_uri("")
        mlflow.set_registry_uri("")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)
