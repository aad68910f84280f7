"""Any MLflow model, through MLflow's own wrapper: the runtime for what has no native one."""

import mlflow.pyfunc

from deployments.predictor.runtimes.frames import as_outputs, model_input
from deployments.protocols.tensors import Batch, Outputs


class PyfuncRuntime:
    """Hands the inputs over in the form that the signature asks for."""

    def __init__(self, model_uri: str) -> None:
        self._model = mlflow.pyfunc.load_model(model_uri)

    def predict(self, batch: Batch) -> Outputs:
        """See `Runtime.predict`."""
        params = dict(batch.params) or None
        return as_outputs(self._model.predict(model_input(batch), params=params))
