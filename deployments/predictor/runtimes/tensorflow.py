"""Keras models, traced once instead of interpreted for every batch."""

import os
from collections.abc import Mapping
from typing import Any

# Without a GPU it logs several errors about that at import; real ones raise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import mlflow.tensorflow
import numpy as np
import tensorflow as tf

from deployments.predictor.runtimes.frames import sole_array
from deployments.protocols.tensors import UNNAMED_OUTPUT, Batch, Form, Layout, Outputs


class TensorflowRuntime:
    """Calls the model as a function of a free number of rows."""

    def __init__(self, model_uri: str) -> None:
        self._model = mlflow.tensorflow.load_model(model_uri, keras_model_kwargs={"compile": False})
        # Relaxed shapes: one trace serves every batch size. There is no Python control flow
        # to convert, and errors of converted code quote our source.
        self._call = tf.function(self._infer, autograph=False, reduce_retracing=True)

    def predict(self, batch: Batch) -> Outputs:
        """See `Runtime.predict`; several inputs go to the model by name."""
        if batch.layout is Layout.NAMED_TENSORS and len(batch.inputs) > 1:
            named = {name: tf.convert_to_tensor(item) for name, item in batch.inputs.items()}
            answer = self._call(named)
        else:
            answer = self._call(tf.convert_to_tensor(sole_array(batch.inputs)))
        if isinstance(answer, Mapping):
            arrays = {name: np.asarray(item) for name, item in answer.items()}
            return Outputs(arrays, Form.NAMED)
        return Outputs({UNNAMED_OUTPUT: np.asarray(answer)})

    def _infer(self, value: Any) -> Any:
        return self._model(value, training=False)
