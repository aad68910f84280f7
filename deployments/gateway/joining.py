"""Which requests may share a batch, and the batch that they make."""

import json
from collections.abc import Sequence

import numpy as np

from deployments.protocols.flat_infer import FlatRequest
from deployments.protocols.tensors import Array, Batch, Request

AnyRequest = Request | FlatRequest

Shape = tuple[object, ...]
"""What must agree for two requests to share a batch."""


def shape_of(request: AnyRequest) -> Shape:
    """See `batch_shape`."""
    return request.plan.shape if type(request) is FlatRequest else batch_shape(request)


def batch_shape(request: AnyRequest) -> Shape:
    """What must agree for two requests to be joined: all but the rows."""
    arrays = tuple(
        (name, array.dtype.str, array.shape[1:]) for name, array in request.inputs.items()
    )
    params = json.dumps(request.params, default=str) if request.params else ""
    return (arrays, params, request.layout, request.labels)


def join(requests: Sequence[AnyRequest], request_ids: bytes = b"") -> Batch:
    """Join the inputs of requests of one shape along axis 0.

    Args:
        requests: At least one.
        request_ids: See `Batch.request_ids`.
    """
    first = requests[0]
    flat = [request for request in requests if type(request) is FlatRequest]
    if len(flat) == len(requests):
        plan = flat[0].plan
        inputs: dict[str, Array] = {plan.name: plan.array([request.data for request in flat])}
        return Batch(inputs, {}, plan.layout, plan.labels, request_ids)
    if len(requests) == 1:
        return Batch(first.inputs, first.params, first.layout, first.labels, request_ids)
    every = [request.inputs for request in requests]
    inputs = {name: np.concatenate([each[name] for each in every]) for name in every[0]}
    return Batch(inputs, first.params, first.layout, first.labels, request_ids)
