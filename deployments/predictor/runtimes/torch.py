"""PyTorch modules, on the GPU where the replica was given one."""

from collections.abc import Mapping

import mlflow.pytorch
import torch

from deployments.predictor.runtimes.frames import sole_array
from deployments.protocols.tensors import UNNAMED_OUTPUT, Array, Batch, Form, Layout, Outputs


class TorchRuntime:
    """Calls the module in inference mode."""

    def __init__(self, model_uri: str) -> None:
        # Ray hides the GPUs that were not assigned, so what is visible is ours.
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._module = mlflow.pytorch.load_model(model_uri, map_location=self._device)
        self._module.eval()

    def predict(self, batch: Batch) -> Outputs:
        """See `Runtime.predict`; several inputs go to the module by name."""
        with torch.inference_mode():
            if batch.layout is Layout.NAMED_TENSORS and len(batch.inputs) > 1:
                named = {name: self._tensor(array) for name, array in batch.inputs.items()}
                answer = self._module(**named)
            else:
                answer = self._module(self._tensor(sole_array(batch.inputs)))
            if isinstance(answer, Mapping):
                arrays = {name: item.cpu().numpy() for name, item in answer.items()}
                return Outputs(arrays, Form.NAMED)
            return Outputs({UNNAMED_OUTPUT: answer.cpu().numpy()})

    def _tensor(self, array: Array) -> torch.Tensor:
        # Arrays that came through shared memory are read-only, which torch warns about
        # for each batch; nothing here writes to them.
        writable = array if array.flags.writeable else array.copy()
        return torch.from_numpy(writable).to(self._device)
