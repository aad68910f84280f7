"""Whether a request that was read for one version fits another one's signature: pure."""

from deployments.errors import MalformedRequestError
from deployments.gateway.joining import AnyRequest
from deployments.protocols.conformance import WireTensor, conform
from deployments.protocols.datatypes import datatype_of
from deployments.protocols.signature import column_labels
from deployments.protocols.tensors import Array, Layout, Request, Signature, TensorSpec


def is_alike(own: Signature, other: Signature) -> bool:
    """Whether what fits the inputs of one signature fits the other's as it is."""
    return (own.layout, own.inputs) == (other.layout, other.inputs)


def fit(request: AnyRequest, own: Signature, other: Signature) -> Request | None:
    """Turn a request for one version into one for another.

    Inputs of other types are cast where a client's would be; those that the other version
    does not know are left out.

    Args:
        request: Checked against `own`.
        own: Signature of the version that it was read for.
        other: Signature of the version that is to get it, too.

    Returns:
        What the other version can be asked; None if it wants inputs that this has not.
    """
    inputs = request.inputs
    if other.layout is Layout.UNKNOWN:
        arrays, layout = dict(inputs), request.layout
    else:
        if any(spec.required and spec.name not in inputs for spec in other.inputs):
            return None
        shared = [spec for spec in other.inputs if spec.name in inputs]
        try:
            arrays = {spec.name: _fit(inputs[spec.name], spec, own, other) for spec in shared}
        except MalformedRequestError:
            return None
        layout = other.layout
    return Request(
        inputs=arrays,
        rows=request.rows,
        id=request.id,
        params=request.params,
        layout=layout,
        labels=column_labels(other, arrays),
    )


def _fit(array: Array, spec: TensorSpec, own: Signature, other: Signature) -> Array:
    if own.layout is other.layout and spec in own.inputs:
        return array
    sent = WireTensor(spec.name, datatype_of(array.dtype) or "", array, decimal=True)
    return conform([sent], Signature(other.layout, (spec,)))[spec.name]
