"""The values between wire formats and predictors, and what a model promises about them.

Every protocol decodes to a `Request` and encodes an `Outputs`. Arrays travel as NumPy
from the socket to the framework; rows are the first axis of every array.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tuning.tracecontext import Parent

Array = NDArray[Any]

UNNAMED_INPUT = "input-0"
"""Name on the wire of the only input of a model whose signature does not name it."""

UNNAMED_OUTPUT = "output-0"
"""Name on the wire of the only output of a model whose signature does not name it."""


class Layout(StrEnum):
    """In which form a model wants its inputs."""

    TENSOR = "tensor"
    """One array, unnamed in the signature."""

    NAMED_TENSORS = "named-tensors"
    """A mapping of arrays by name."""

    COLUMNS = "columns"
    """A data frame, one 1-d array for each column."""

    UNKNOWN = "unknown"
    """The version was registered without a signature: anything goes through unchecked."""


class Form(StrEnum):
    """In which form a model gave its outputs."""

    ARRAY = "array"
    NAMED = "named"
    COLUMNS = "columns"

    SERIES = "series"
    """One column without a label."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a signature promises about one input or output."""

    name: str

    datatype: str
    """Open Inference Protocol word, such as FP32 or BYTES."""

    shape: tuple[int, ...]
    """One entry an axis; -1 where the length is free."""

    required: bool = True

    mlflow_type: str = ""
    """MLflow's own word, such as double, datetime or float64; empty if it is not from MLflow."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's inputs and outputs as the gateway checks and describes them."""

    layout: Layout
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    mlflow: Mapping[str, Any] = field(default_factory=dict)
    """MLflow's own signature as `ModelSignature.to_dict()` gives it; empty when there is none."""


class OutputRequest(msgspec.Struct, frozen=True):
    """One output that a caller asks for."""

    name: str
    binary: bool

    promised: bool = False
    """Whether the model's signature names it: then not to answer it is the model's failure."""


class Wanted(Protocol):
    """Which outputs a caller asks for, and how they are to be written."""

    @property
    def outputs(self) -> Sequence[OutputRequest]:
        """Empty asks for all outputs."""
        ...

    @property
    def binary(self) -> bool:
        """Whether outputs that do not say otherwise are answered in binary."""
        ...


class Request(msgspec.Struct, frozen=True):
    """One inference request, decoded and checked against the signature."""

    inputs: Mapping[str, Array]
    """Arrays by input name; all share the length of axis 0, the rows."""

    rows: int

    id: str | None = None
    """The caller's own id; None when it gave none."""

    params: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """What goes to the model's `params`, already cast to its schema."""

    outputs: tuple[OutputRequest, ...] = ()
    """Empty asks for all outputs."""

    binary: bool = False
    """Whether outputs that do not say otherwise are answered in binary."""

    header: bool = False
    """Whether the request carried the binary extension's header."""

    layout: Layout = Layout.UNKNOWN
    """In which form the inputs go to the model: the signature's, else as the caller sent them."""

    labels: tuple[Hashable, ...] = ()
    """Column labels in the order of `inputs` where they are no strings; empty: the names."""

    wrapped: bool = True
    """Whether MLflow's answer stands under `predictions`; its unified LLM form does not."""


class Batch(msgspec.Struct, frozen=True):
    """What goes to a replica in one call: the rows of one or more requests."""

    inputs: Mapping[str, Array]
    params: Mapping[str, Any]
    layout: Layout
    labels: tuple[Hashable, ...] = ()

    request_ids: bytes = b""
    """What log lines call its requests, in Latin-1, one a line. Texts would cost ten times as
    much on the way, and a replica wants them only when something is wrong."""

    trace: Parent | None = None
    """The span that the replica's own belongs to; None where there is none to make."""

    def plain(self) -> tuple[Any, ...]:
        """The fields alone, for `of`: a frozen dataclass costs ten times as much to unpickle."""
        inputs, params = dict(self.inputs), dict(self.params)
        fields = inputs, params, str(self.layout), self.labels, self.request_ids
        return fields if self.trace is None else (*fields, self.trace)

    @classmethod
    def of(
        cls,
        inputs: Mapping[str, Array],
        params: Mapping[str, Any],
        layout: str,
        labels: tuple[Hashable, ...],
        request_ids: bytes,
        trace: Parent | None = None,
    ) -> Self:
        """Rebuild what `plain` took apart."""
        return cls(inputs, params, Layout(layout), labels, request_ids, trace)


class Outputs(msgspec.Struct, frozen=True):
    """What a predictor answered."""

    arrays: Mapping[str, Array]
    form: Form = Form.ARRAY

    may_have_nan: bool = True
    """False where somebody has looked already, as at a batch as a whole."""

    def rows(self, start: int, stop: int) -> "Outputs":
        """Cut out the rows of one request of a batch, without copying."""
        arrays = {name: array[start:stop] for name, array in self.arrays.items()}
        return Outputs(arrays, self.form, self.may_have_nan)


def has_nan(outputs: Outputs) -> bool:
    """Tell whether a floating-point output holds a value that is no number."""
    return outputs.may_have_nan and any(
        array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in outputs.arrays.values()
    )
