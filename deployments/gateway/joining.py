"""Which requests may share a batch, and the batch that they make."""

import json

import numpy as np

from deployments.protocols.tensors import Batch, Request

Shape = tuple[object, ...]
"""What must agree for two requests to share a batch."""


def batch_shape(request: Request) -> Shape:
    """What must agree for two requests to be joined: all but the rows."""
    arrays = tuple(
        (name, array.dtype.str, array.shape[1:]) for name, array in request.inputs.items()
    )
    params = json.dumps(request.params, default=str) if request.params else ""
    return (arrays, params, request.layout, request.labels)


def join(requests: list[Request]) -> Batch:
    """Join the inputs of requests of one shape along axis 0."""
    first = requests[0]
    inputs = first.inputs
    if len(requests) > 1:
        inputs = {name: np.concatenate([r.inputs[name] for r in requests]) for name in inputs}
    return Batch(inputs, first.params, first.layout, first.labels)
