"""What a replica answers."""

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.protocols.tensors import Array, Form, Outputs


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a replica answers to one batch."""

    arrays: Mapping[str, Array]
    form: Form

    predict_s: float
    """The model's own time."""

    wait_s: float
    """Time that the batch waited inside the replica for the one before it."""

    @property
    def outputs(self) -> Outputs:
        """The answer without its times."""
        return Outputs(self.arrays, self.form)
