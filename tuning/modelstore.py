"""Where a winner's model is logged, from whichever process has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tuning.flavors import Flavor, pinned_requirements
from tuning.probes import require_database

OF_ONE_MACHINE = frozenset({"", "file", "sqlite"})
"""Schemes of addresses that mean another place on every machine."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A model that MLflow has."""

    uri: str
    model_id: str


@dataclass(frozen=True, slots=True)
class ModelStore:
    """MLflow's run for the model, and what leads there."""

    tracking_uri: str
    artifact_uri: str
    """Of the run."""

    run_id: str

    @property
    def is_anywhere(self) -> bool:
        """Whether other machines mean the same place by these addresses."""
        return not OF_ONE_MACHINE & {
            urlsplit(uri).scheme for uri in (self.tracking_uri, self.artifact_uri)
        }

    def log(self, flavor: Flavor, model: Any, arguments: Mapping[str, Any]) -> Logged:
        """Log a model from this process.

        Args:
            flavor: The model's.
            model: As its trainer made it.
            arguments: MLflow's own.

        Raises:
            Exception: Whatever MLflow's stores raise, or the flavor.
        """
        import mlflow  # noqa: PLC0415, seconds, which trials need not pay

        require_database(self.tracking_uri)
        mlflow.set_tracking_uri(self.tracking_uri)
        with mlflow.start_run(run_id=self.run_id):
            info = flavor.log(
                model, pip_requirements=pinned_requirements(flavor.packages), **arguments
            )
        return Logged(info.model_uri, info.model_id)
