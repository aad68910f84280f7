"""Requests that are kept to check a version by, and whether its answers are right: pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.errors import ConfigError, MalformedRequestError, RequestError
from deployments.protocols.mlflow_scoring import decode_invocation
from deployments.protocols.open_inference import JSON_TYPE, decode_infer
from deployments.protocols.tensors import Array, Batch, Layout, Request, Signature
from deployments.traffic.agreement import compare
from tuning.configfile import meant

MOST_REQUESTS = 10_000
"""In one file."""

EXPECTED = "expected"
"""Key of a request under which it has the outputs that are expected."""

KEYS = {"id", "parameters", "inputs", "outputs", EXPECTED}

ANYTHING = Signature(Layout.UNKNOWN)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One request, and its right answer where that is known."""

    name: str
    request: Request
    expected: Mapping[str, Array] | None = None
    """Outputs by name; None holds the answer against stable's."""

    @property
    def batch(self) -> Batch:
        """What goes to a replica."""
        request = self.request
        return Batch(request.inputs, request.params, request.layout, request.labels)


def requests_of(path: str, text: bytes, signature: Signature) -> list[HeldOut]:
    """Read a file of requests, one inference request of the Open Inference Protocol a line.

    Args:
        path: Of the file, for errors.
        text: That it has.
        signature: Of the version that is to be asked.

    Raises:
        ConfigError: One line: which line is wrong, and how; or the file has none, or too many.
    """
    found: list[HeldOut] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if len(found) == MOST_REQUESTS:
            raise ConfigError(f"{path}: more than {MOST_REQUESTS} requests")
        try:
            found.append(_request_of(f"line {number}", line, signature))
        except (RequestError, ValueError) as error:
            raise ConfigError(f"{path}: line {number}: {error}") from None
    if not found:
        raise ConfigError(f"{path}: has no requests")
    return found


def example_of(text: bytes, signature: Signature) -> list[HeldOut]:
    """Read the input example that MLflow keeps with a version, in its scoring protocol's words.

    Raises:
        ConfigError: It does not fit the version's signature.
    """
    try:
        return [HeldOut("its input example", decode_invocation(text, JSON_TYPE, signature))]
    except (RequestError, ValueError) as error:
        raise ConfigError(f"its input example: {error}") from None


def wrong(
    held: HeldOut, answer: Mapping[str, Array], right: Mapping[str, Array], tolerance: float
) -> str | None:
    """Say how an answer differs from the right one; None where it does not.

    Args:
        held: What was asked.
        answer: Outputs by name.
        right: As above; of what was written down, outputs that are not there may be anything.
        tolerance: As mirrored answers are compared with, >= 0.
    """
    if held.expected is not None:
        answer = {name: array for name, array in answer.items() if name in right}
    if missing := right.keys() - answer.keys():
        return f"{held.name}: no output {min(missing)!r}"
    agreement = compare(dict(_wide(right, answer)), answer, held.request.rows, tolerance)
    if not agreement.differs.any():
        return None
    whose = "stable's answer" if held.expected is None else "what is expected"
    largest = agreement.largest[agreement.differs].max()
    by = f", by {largest:g}" if largest > 0 else ""
    return f"{held.name}: differs from {whose}{by}"


def _wide(right: Mapping[str, Array], answer: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Give what was written down the shape in which it was answered, if it fits."""
    for name, array in right.items():
        like = answer[name]
        yield name, array.reshape(like.shape) if array.size == like.size else array


def _request_of(place: str, line: bytes, signature: Signature) -> HeldOut:
    body = json.loads(line)
    if not isinstance(body, dict):
        raise MalformedRequestError("should be an inference request, such as {'inputs': [...]}")
    if unknown := body.keys() - KEYS:
        name = min(unknown)
        # What is misspelt here would let stable decide what is right.
        raise MalformedRequestError(f"unknown key {name!r}{meant(name, sorted(KEYS))}")
    outputs: Any = body.pop(EXPECTED, None)
    request = decode_infer(json.dumps(body).encode(), None, signature)
    if outputs is None:
        return HeldOut(place, request)
    if not isinstance(outputs, list):
        raise MalformedRequestError(f"{EXPECTED}: {outputs!r:.60}: should be a list of outputs")
    # Outputs are written as inputs are.
    written = decode_infer(json.dumps({"inputs": outputs}).encode(), None, ANYTHING)
    return HeldOut(place, request, dict(written.inputs))
