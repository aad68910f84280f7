"""What a replica answers."""

from collections.abc import Mapping
from typing import Any, Self

import msgspec

from deployments.protocols.tensors import Array, Form, Outputs


class Prediction(msgspec.Struct, frozen=True):
    """What a replica answers to one batch."""

    arrays: Mapping[str, Array]
    form: Form

    predict_s: float
    """The model's own time."""

    wait_s: float
    """Time that the batch waited inside the replica for the one before it."""

    def plain(self) -> tuple[Any, ...]:
        """The fields alone, for `of`: a frozen dataclass costs ten times as much to unpickle."""
        return dict(self.arrays), str(self.form), self.predict_s, self.wait_s

    @classmethod
    def of(cls, arrays: Mapping[str, Array], form: str, *times_s: float) -> Self:
        """Rebuild what `plain` took apart."""
        return cls(arrays, Form(form), *times_s)

    @property
    def outputs(self) -> Outputs:
        """The answer without its times."""
        return Outputs(self.arrays, self.form)
