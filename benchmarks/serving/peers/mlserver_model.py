"""A custom MLServer runtime for models that none of its own runtimes loads."""

from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.models import load


class LoadedModel(MLModel):  # type: ignore[misc]
    """Decodes one tensor, asks the model, and encodes one."""

    async def load(self) -> bool:
        """Load the file that the settings name."""
        self._predict = load(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request, or several that MLServer has joined."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("predict", self._predict(rows))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
