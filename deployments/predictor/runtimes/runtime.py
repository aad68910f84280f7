"""What a replica asks of a framework, and which frameworks there are."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, Self

from deployments.errors import ConfigError
from deployments.predictor.gpu_budget import Claim
from deployments.predictor.runtimes.capped import Cap, CappedRuntime
from deployments.protocols.tensors import Batch, Outputs
from deployments.schema import ModelSpec, TorchSpec


class Runtime(Protocol):
    """A loaded model. Called from one thread at a time; may be slow, must not keep state."""

    def predict(self, batch: Batch) -> Outputs:
        """Answer a batch.

        Args:
            batch: Arrays by input name, rows on axis 0, already checked against the
                signature; not modified.

        Raises:
            Exception: Whatever the model raises.
        """
        ...


NO_GPU = Claim(num_gpus=0.0)
UNCHANGED = TorchSpec()


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What a model's spec says about how its versions are run."""

    claim: Claim = NO_GPU
    torch: TorchSpec = UNCHANGED

    files: str | None = None
    """Folder with the model's files, where they are known to be; None asks the registry."""

    @classmethod
    def of(cls, spec: ModelSpec) -> Self:
        """Read them off a model's spec."""
        claim = Claim(spec.ray_actor_options.num_gpus, spec.gpu_memory_mib)
        return cls(claim, spec.torch)


PLAIN = RuntimeOptions()
"""A CPU, and every setting at its default."""

RUNTIMES: Mapping[str, str] = {
    "sklearn": "deployments.predictor.runtimes.sklearn:SklearnRuntime",
    "torch": "deployments.predictor.runtimes.torch:TorchRuntime",
    "tensorflow": "deployments.predictor.runtimes.tensorflow:TensorflowRuntime",
    "pyfunc": "deployments.predictor.runtimes.pyfunc:PyfuncRuntime",
}
"""Import paths, not classes: importing TensorFlow costs seconds and half a gigabyte."""

CAPS: Mapping[str, str] = {
    "torch": "deployments.predictor.runtimes.torch_memory:cap_torch",
    "tensorflow": "deployments.predictor.runtimes.tensorflow_memory:cap_tensorflow",
}
"""What holds each framework to a budget of GPU memory."""

TENSORFLOW_FLAVORS = {"tensorflow", "keras"}


def make_runtime(
    kind: str,
    model_uri: str,
    tracking_uri: str,
    registry_uri: str,
    options: RuntimeOptions = PLAIN,
) -> Runtime:
    """Load a registered model with the runtime of that name.

    Args:
        kind: A key of `RUNTIMES`.
        model_uri: `models:/NAME/VERSION`.
        tracking_uri: Where MLflow finds the run's artifacts; absolute.
        registry_uri: Where MLflow finds the version; absolute.
        options: How it is run, and what of a GPU it may take.

    Raises:
        ConfigError: No such runtime, or it cannot be run with these options.
        MemoryError: It needs more of its GPU than its budget.
    """
    path = RUNTIMES.get(kind)
    if path is None:
        raise ConfigError(f"unknown runtime {kind!r}, known: {', '.join(sorted(RUNTIMES))}")
    if options.torch != UNCHANGED and kind != "torch":
        raise ConfigError(f"torch: only the runtime 'torch' reads it, and this one is {kind!r}")
    fetch = cache(lambda: options.files or _fetched(model_uri, tracking_uri, registry_uri))
    # Before anything is loaded: frameworks take a cap only while they have taken nothing.
    cap = _cap(kind, fetch, options.claim) if options.claim.num_gpus else None
    load: Callable[..., Runtime] = _imported(path)
    files = fetch()
    arguments = (files, options) if kind == "torch" else (files,)
    runtime = load(*arguments) if cap is None else CappedRuntime(lambda: load(*arguments), cap)
    from deployments.predictor.runtimes.watched import watched  # noqa: PLC0415, pandas, as below

    model, _, version = model_uri.removeprefix("models:/").rpartition("/")
    return watched(runtime, files, model, version)


def _fetched(model_uri: str, tracking_uri: str, registry_uri: str) -> str:
    """The model's folder here, in which the runtime and others find what they need."""
    import mlflow  # noqa: PLC0415, a second that gateways, which import this, need not spend

    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(registry_uri)
    return mlflow.artifacts.download_artifacts(artifact_uri=model_uri)


def _cap(kind: str, fetch: Callable[[], str], claim: Claim) -> Cap | None:
    """Hold the version's framework to its budget; None where nobody asked and nothing can."""
    framework = _framework(kind, fetch)
    cap: Cap | None = _imported(CAPS[framework])(claim) if framework is not None else None
    if cap is not None or (kind not in CAPS and claim.gpu_memory_mib is None):
        return cap
    if framework is None:
        raise ConfigError(
            f"gpu_memory_mib {claim.gpu_memory_mib}: the runtime {kind!r} cannot be held to it"
        )
    raise ConfigError(f"num_gpus {claim.num_gpus:g}: {framework} sees no GPU in the replica")


def _framework(kind: str, fetch: Callable[[], str]) -> str | None:
    """What takes the GPU's memory: a key of `CAPS`; None when it is none of ours."""
    if kind != "pyfunc":
        return kind if kind in CAPS else None
    from mlflow.models.model import get_model_info  # noqa: PLC0415, as above

    if TENSORFLOW_FLAVORS & get_model_info(fetch()).flavors.keys():
        return "tensorflow"
    return "torch" if importlib.util.find_spec("torch") is not None else None


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
