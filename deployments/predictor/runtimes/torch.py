"""PyTorch modules, on the GPU where the replica was given one."""

from collections.abc import Mapping
from typing import Any

import mlflow.pytorch
import numpy as np
import torch
from mlflow.models.model import get_model_info

from deployments.errors import ConfigError
from deployments.predictor.runtimes.frames import sole_array
from deployments.predictor.runtimes.runtime import PLAIN, RuntimeOptions
from deployments.protocols.datatypes import DTYPES
from deployments.protocols.signature import signature_from_mlflow
from deployments.protocols.tensors import (
    UNNAMED_OUTPUT,
    Array,
    Batch,
    Form,
    Layout,
    Outputs,
    Signature,
)

HALVES: Mapping[str | None, torch.dtype | None] = {
    None: None,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

HALVED = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
"""Modules whose weights autocast would cast anew for each batch."""

WARM_ROWS = (2, 3, 1)
"""Rows of the batches that compile a module: a number, another, which makes PyTorch 2.13
leave the number of rows open, and one, which it compiles apart."""


class TorchRuntime:
    """Calls the module in inference mode."""

    def __init__(self, model_uri: str, options: RuntimeOptions = PLAIN) -> None:
        # Not what is visible: Ray 2.60 hides no GPU from a replica that was given none.
        self._device = torch.device("cuda" if options.claim.num_gpus else "cpu")
        self._half = HALVES[options.torch.half_precision]
        self._pin_memory = options.torch.pin_memory
        if self._half is torch.bfloat16 and self._device.type == "cuda":
            _require_bfloat16()
        module = mlflow.pytorch.load_model(model_uri, map_location=self._device)
        self._module: Any = module.to(self._device)
        if self._half is not None:
            _halve(module, self._half)
        if options.torch.compile:
            self._module = torch.compile(module)
            self._warm_up(signature_from_mlflow(get_model_info(model_uri).signature))

    def predict(self, batch: Batch) -> Outputs:
        """See `Runtime.predict`; several inputs go to the module by name."""
        with torch.inference_mode():
            if self._half is None:
                return self._answer(batch)
            with torch.autocast(self._device.type, self._half):
                return self._answer(batch)

    def _answer(self, batch: Batch) -> Outputs:
        if batch.layout is Layout.NAMED_TENSORS and len(batch.inputs) > 1:
            named = {name: self._tensor(array) for name, array in batch.inputs.items()}
            answer = self._module(**named)
        else:
            answer = self._module(self._tensor(sole_array(batch.inputs)))
        if isinstance(answer, Mapping):
            return Outputs({name: self._array(item) for name, item in answer.items()}, Form.NAMED)
        return Outputs({UNNAMED_OUTPUT: self._array(answer)})

    def _tensor(self, array: Array) -> torch.Tensor:
        # Arrays that came through shared memory are read-only, which torch warns about
        # for each batch; nothing here writes to them.
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
        if self._pin_memory:
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)

    def _array(self, tensor: torch.Tensor) -> Array:
        # Callers are promised the type that the model has without autocast.
        full = tensor.float() if tensor.dtype is self._half else tensor
        return full.cpu().numpy()

    def _warm_up(self, signature: Signature) -> None:
        """Compile for any number of rows, so that no request waits for it.

        Raises:
            ConfigError: The signature leaves shapes open, or the module cannot be compiled.
            torch.OutOfMemoryError: It does not fit.
        """
        for rows in WARM_ROWS:
            batch = Batch(_zeros(signature, rows), {}, signature.layout)
            try:
                self.predict(batch)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # noqa: BLE001, whatever a compiler or the module meets
                said = str(error).strip().partition("\n")[0]
                raise ConfigError(f"torch.compile: {type(error).__name__}: {said}") from None


def _halve(module: torch.nn.Module, half: torch.dtype) -> None:
    """Cast once what autocast would cast for each batch; the answers are the same."""
    for each in module.modules():
        if isinstance(each, HALVED):
            each.to(half)


def _require_bfloat16() -> None:
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name()
        raise ConfigError(f"torch.half_precision 'bfloat16': {name} cannot compute in it")


def _zeros(signature: Signature, rows: int) -> dict[str, Array]:
    if not signature.inputs:
        raise ConfigError("torch.compile: the version has no signature to compile it for")
    for spec in signature.inputs:
        if -1 in spec.shape[1:] or spec.datatype == "BYTES":
            raise ConfigError(
                f"torch.compile: input {spec.name!r} is {spec.datatype} of shape"
                f" {list(spec.shape)}, should be numbers with only the rows open"
            )
    return {
        spec.name: np.zeros((rows, *spec.shape[1:]), DTYPES[spec.datatype])
        for spec in signature.inputs
    }
