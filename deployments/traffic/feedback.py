"""What is remembered of an answer, and what a label or a reward says about it: pure."""

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from deployments.errors import MalformedRequestError
from deployments.protocols.tensors import Array

MOST_VALUES = 256
"""Values that are remembered of one answer; of a larger one, its number of rows alone."""

MOST_BYTES = 4096
"""The same as JSON, since texts may be long."""

Label = bool | int | float | str


class Prediction(msgspec.Struct, frozen=True):
    """What one request was answered."""

    rows: int

    values: list[Any] | None = None
    """Of each row: a number, a text, or several numbers; None where it is not remembered."""


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """One answer on its way from a gateway to the store."""

    model: str
    request: str
    version: str

    prediction: bytes
    """A `Prediction` as JSON."""

    answered_at_s: float


def is_sampled(model: str, request: str, share: float) -> bool:
    """Whether a request is remembered: the same everywhere, and apart from the split."""
    if share >= 1:
        return True
    # A hash of its own: by the split's, only one version's requests might be chosen.
    key = f"{model}\0{request}".encode(errors="surrogateescape")
    digest = blake2b(key, digest_size=8, person=b"feedback").digest()
    return int.from_bytes(digest, "little") < share * 2**64


def prediction_of(arrays: Mapping[str, Array], output: str | None, start: int, stop: int) -> bytes:
    """Cut one request's rows out of an answer, as JSON of bounded length.

    Args:
        arrays: Of a batch.
        output: Which of them; None takes the first.
        start: First row of the request.
        stop: First row after it.
    """
    rows = stop - start
    array = next(iter(arrays.values()), None) if output is None else arrays.get(output)
    if array is None or array.ndim == 0 or len(array) < stop:
        return _without_values(rows)
    part = array[start:stop]
    if part.size > MOST_VALUES:
        return _without_values(rows)
    if part.ndim > 1:
        part = part.reshape(-1) if part.size == rows else part.reshape(rows, -1)
    try:
        # Not a number becomes null, and so does infinity.
        body = msgspec.json.encode(Prediction(rows, part.tolist()))
    except (TypeError, ValueError):
        return _without_values(rows)
    return body if len(body) <= MOST_BYTES else _without_values(rows)


def decode_prediction(body: bytes) -> Prediction:
    """Read what `prediction_of` wrote."""
    return msgspec.json.decode(body, type=Prediction)


def mistakes(
    prediction: Prediction, label: Label | Sequence[Label], tolerance: float
) -> tuple[int, int]:
    """Compare an answer with what would have been right.

    Args:
        prediction: The answer.
        label: For its only row, or for each in order. Of a row with several numbers, such as
            probabilities, it is the position of the largest that is compared.
        tolerance: How far a number may be from its label.

    Returns:
        How many rows have a label, and how many of them are mistakes.

    Raises:
        MalformedRequestError: The label does not fit.
    """
    if prediction.values is None:
        raise MalformedRequestError(
            "the prediction is not remembered: it has no such output, or more than"
            f" {MOST_VALUES} values; send a reward instead"
        )
    labels = label if isinstance(label, list) else [label]
    if len(labels) != prediction.rows:
        raise MalformedRequestError(f"{len(labels)} labels for {prediction.rows} rows")
    pairs = zip(prediction.values, labels, strict=True)
    return len(labels), sum(_is_mistake(value, right, tolerance) for value, right in pairs)


def rewards(
    prediction: Prediction, reward: float | Sequence[float], low: float, high: float
) -> list[float]:
    """Clip rewards to their range.

    Args:
        prediction: What they are about.
        reward: For the request, or for each of its rows in order.
        low: Lowest that counts.
        high: Highest that counts.

    Raises:
        MalformedRequestError: The reward does not fit.
    """
    given = list(reward) if isinstance(reward, Sequence) else [reward]
    if isinstance(reward, Sequence) and len(reward) != prediction.rows:
        raise MalformedRequestError(f"{len(reward)} rewards for {prediction.rows} rows")
    wrong = next((each for each in given if not math.isfinite(each)), None)
    if wrong is not None:
        raise MalformedRequestError(f"reward {wrong} is no finite number")
    return [min(max(float(each), low), high) for each in given]


def _is_mistake(value: Any, right: Label, tolerance: float) -> bool:
    """Compare one row.

    Raises:
        MalformedRequestError: One is text and the other a number.
    """
    if isinstance(value, list):
        numbers = [-math.inf if each is None else each for each in value]
        if any(isinstance(each, str) for each in numbers):
            raise MalformedRequestError("the prediction has several texts in a row")
        value = None if None in value else int(np.argmax(numbers))
    if isinstance(right, float) and not math.isfinite(right):
        raise MalformedRequestError(f"label {right} is no finite number")
    if value is None:
        return True
    if isinstance(value, str) != isinstance(right, str):
        kind = "a text" if isinstance(value, str) else "a number"
        raise MalformedRequestError(f"label {right!r} for a prediction that is {kind}")
    if isinstance(value, str) or isinstance(right, str):
        return bool(value != right)
    return bool(abs(value - right) > tolerance)


def _without_values(rows: int) -> bytes:
    return msgspec.json.encode(Prediction(rows))
