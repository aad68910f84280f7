"""Read from MLflow what the controller decides on: aliases, flavors and signatures."""

import os
from collections.abc import Iterable, Mapping

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models.model import ModelInfo, get_model_info

from deployments.controller.decide import RegistryView, VersionFacts
from deployments.protocols.signature import signature_from_mlflow
from deployments.schema import ModelSpec

NATIVE = (
    ("sklearn", "sklearn"),
    ("pytorch", "torch"),
    ("tensorflow", "tensorflow"),
    ("keras", "tensorflow"),
)
"""MLflow flavors with a runtime of ours, in the order of preference, and the runtime's name."""


class Registry:
    """The model registry as the controller sees it. Every call may block on the network."""

    def __init__(self, tracking_uri: str, registry_uri: str) -> None:
        # MLflow waits minutes for a dead server by default; we look again in a second.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        # `models:/` addresses resolve through the process-wide setting only.
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(registry_uri)
        self._client = mlflow.MlflowClient(tracking_uri, registry_uri)
        self._facts: dict[tuple[str, str], VersionFacts] = {}

    def look(self, specs: Mapping[str, ModelSpec]) -> RegistryView:
        """Read all aliases in one query, and the facts of versions not seen before."""
        aliases = self._aliases()
        facts = {}
        for model, version in _named(specs, aliases):
            found = self._facts_of(model, version)
            if found is not None:
                facts[model, version] = found
        return RegistryView(
            aliases={model: aliases[model] for model in specs if model in aliases},
            versions=facts,
            answered=True,
        )

    def names(self) -> list[str]:
        """Every registered model."""
        return sorted(self._aliases())

    def _aliases(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        token: str | None = None
        while True:
            page = self._client.search_registered_models(max_results=1000, page_token=token)
            for model in page:
                found[model.name] = {alias: str(v) for alias, v in model.aliases.items()}
            token = page.token
            if not token:
                return found

    def _facts_of(self, model: str, version: str) -> VersionFacts | None:
        """Facts of an immutable version, read once; None when there is no such version."""
        known = self._facts.get((model, version))
        if known is None:
            try:
                info = get_model_info(f"models:/{model}/{version}")
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise
            known = VersionFacts(_platform(info), signature_from_mlflow(_signature(info)))
            self._facts[model, version] = known
        return known


def _named(
    specs: Mapping[str, ModelSpec], aliases: Mapping[str, Mapping[str, str]]
) -> Iterable[tuple[str, str]]:
    for model, spec in specs.items():
        for key in spec.traffic:
            version = key if key.isdigit() else aliases.get(model, {}).get(key)
            if model in aliases and version is not None:
                yield model, version


def _platform(info: ModelInfo) -> str:
    """Runtime that answers for this version when its spec says `auto`."""
    pyfunc = info.flavors.get("python_function", {})
    if info.signature is not None and info.signature.params:
        return "pyfunc"  # only MLflow's own wrapper hands `params` to the model
    for flavor, runtime in NATIVE:
        # A pipeline logged by another loader keeps the flavor but answers differently.
        if flavor in info.flavors and pyfunc.get("loader_module") == f"mlflow.{flavor}":
            return runtime
    return "pyfunc"


def _signature(info: ModelInfo) -> dict[str, str] | None:
    return info.signature.to_dict() if info.signature is not None else None
