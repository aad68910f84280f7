"""Read from MLflow what the controller decides on: aliases, flavors and signatures."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models.model import Model, ModelInfo

from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.pools import matched_specs
from deployments.protocols.signature import signature_from_mlflow
from deployments.schema import ModelSpec, is_version
from deployments.userconfig import NO_POOLS, PoolSpec
from tuning.probes import require_database

NATIVE = (
    ("sklearn", "sklearn"),
    ("pytorch", "torch"),
    ("tensorflow", "tensorflow"),
    ("keras", "tensorflow"),
)
"""MLflow flavors with a runtime of ours, in the order of preference, and the runtime's name."""


READERS = 8
"""Versions that are read at the same time where all are waited for: a pool may bring hundreds."""

READERS_BESIDE = 2
"""The same where the look goes on without them: they compute as much as they wait, and more of
them would hold up the tick."""


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
        self._readers = ThreadPoolExecutor(READERS_BESIDE, thread_name_prefix="registry")
        self._reading: dict[tuple[str, str], Future[None]] = {}
        self._lock = Lock()

    def look(
        self,
        specs: Mapping[str, ModelSpec],
        pools: Mapping[str, PoolSpec] = NO_POOLS,
        more: Iterable[tuple[str, str]] = (),
        wait_s: float | None = None,
    ) -> RegistryView:
        """Read all aliases in one query, and the facts of versions not seen before.

        Args:
            specs: The models of interest.
            pools: Those that their patterns take are of interest, too.
            more: And these versions, by model and version.
            wait_s: Longest wait for the facts, seconds; None for as long as it takes. What was
                not read by then is left out, read on, and found by a later look.
        """
        asked_at_s = time.monotonic()
        aliases = self._aliases()
        hosted = {**matched_specs(pools, aliases), **specs}
        asked = {(model, version) for model, version in more if model in aliases}
        named = set(_named(hosted, aliases)) | asked
        is_complete = self._read_all(sorted(named - self._facts.keys()), wait_s)
        facts = {key: self._facts[key] for key in named if key in self._facts}
        return RegistryView(
            aliases, facts, answered=True, complete=is_complete, asked_at_s=asked_at_s
        )

    def _read_all(self, keys: Sequence[tuple[str, str]], wait_s: float | None) -> bool:
        """Read versions; tells whether all were read in time."""
        readers = ThreadPoolExecutor(READERS) if wait_s is None else self._readers
        with self._lock:
            for key in keys:
                if key not in self._reading:
                    self._reading[key] = readers.submit(self._read, *key)
            asked = [self._reading[key] for key in keys]
        done, unread = wait(asked, wait_s)
        with self._lock:
            self._reading = {key: it for key, it in self._reading.items() if not it.done()}
        if readers is not self._readers:
            readers.shutdown()
        for read in done:
            read.result()
        return not unread

    def aliases_of(self, model: str) -> dict[str, str] | None:
        """Versions of one model by alias, as they are now; None if it is not registered."""
        try:
            found = self.client().get_registered_model(model)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise
        return {alias: str(version) for alias, version in found.aliases.items()}

    def missing(self, versions: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Those of some versions, by model and version, that are not registered."""
        return frozenset(each for each in versions if not self._is_registered(*each))

    def _is_registered(self, model: str, version: str) -> bool:
        try:
            self.client().get_model_version(model, version)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return False
            raise
        return True

    def client(self) -> MlflowClient:
        """Its own client; blocks the first time.

        Raises:
            Exception: It is away.
        """
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
            page = self.client().search_registered_models(max_results=1000, page_token=token)
            for model in page:
                found[model.name] = {alias: str(v) for alias, v in model.aliases.items()}
            token = page.token
            if not token:
                return found

    def _read(self, model: str, version: str) -> None:
        """Keep the facts of an immutable version, if there is one."""
        try:
            described = Model.load(f"models:/{model}/{version}")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return
            raise
        info = described.get_model_info()
        native = _native(info)
        self._facts[model, version] = VersionFacts(
            platform=native if native is not None and not _takes_params(info) else "pyfunc",
            signature=signature_from_mlflow(_signature(info)),
            native=native,
            size_bytes=described.model_size_bytes,
        )


def _named(
    specs: Mapping[str, ModelSpec], aliases: Mapping[str, Mapping[str, str]]
) -> Iterable[tuple[str, str]]:
    for model, spec in specs.items():
        for key in (*spec.traffic, *spec.mirror):
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
