"""Read from MLflow what the controller decides on: aliases, flavors and signatures."""

import os
from collections.abc import Iterable, Mapping

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models.model import Model, ModelInfo

from deployments.controller.facts import RegistryView, VersionFacts
from deployments.protocols.signature import signature_from_mlflow
from deployments.schema import ModelSpec, is_version
from tuning.probes import require_database

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
        self._uris = (tracking_uri, registry_uri)
        self._opened: MlflowClient | None = None
        # `models:/` addresses resolve through the process-wide setting only.
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(registry_uri)
        self._facts: dict[tuple[str, str], VersionFacts] = {}

    def look(self, specs: Mapping[str, ModelSpec]) -> RegistryView:
        """Read all aliases in one query, and the facts of versions not seen before."""
        aliases = self._aliases()
        facts = {}
        for model, version in _named(specs, aliases):
            found = self._facts_of(model, version)
            if found is not None:
                facts[model, version] = found
        return RegistryView(aliases=aliases, versions=facts, answered=True)

    def _client(self) -> MlflowClient:
        # Opened by the first look rather than at the start: a database may be away, and
        # must not keep the controller from starting.
        if self._opened is None:
            for uri in self._uris:
                require_database(uri)
            self._opened = MlflowClient(*self._uris)
        return self._opened

    def _aliases(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        token: str | None = None
        while True:
            page = self._client().search_registered_models(max_results=1000, page_token=token)
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
                described = Model.load(f"models:/{model}/{version}")
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise
            info = described.get_model_info()
            native = _native(info)
            known = VersionFacts(
                platform=native if native is not None and not _takes_params(info) else "pyfunc",
                signature=signature_from_mlflow(_signature(info)),
                native=native,
                size_bytes=described.model_size_bytes,
            )
            self._facts[model, version] = known
        return known


def _named(
    specs: Mapping[str, ModelSpec], aliases: Mapping[str, Mapping[str, str]]
) -> Iterable[tuple[str, str]]:
    for model, spec in specs.items():
        for key in spec.traffic:
            version = key if is_version(key) else aliases.get(model, {}).get(key)
            if model in aliases and version is not None:
                yield model, version


def _native(info: ModelInfo) -> str | None:
    pyfunc = info.flavors.get("python_function", {})
    for flavor, runtime in NATIVE:
        # A pipeline logged by another loader keeps the flavor but answers differently.
        if flavor in info.flavors and pyfunc.get("loader_module") == f"mlflow.{flavor}":
            return runtime
    return None


def _takes_params(info: ModelInfo) -> bool:
    """Whether calls may carry `params`, which only MLflow's own wrapper hands to the model."""
    return info.signature is not None and bool(info.signature.params)


def _signature(info: ModelInfo) -> dict[str, str] | None:
    return info.signature.to_dict() if info.signature is not None else None
