"""Requests that no well-behaved client sends."""

import json
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

WORDS = st.sampled_from(
    ["v2", "models", "churn", "wine", "versions", "1", "infer", "invocations", "ready", "health",
     "live", "repository", "index", "stats", "metrics", "ping", "version", "nobody", "", "ä", "%"]
)  # fmt: skip
"""Segments of paths; two of the models' names are hosted where they are used."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)

HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-type", "content-encoding", "accept-encoding", "x-routing-key",
         "x-request-id", "inference-header-content-length"]
    ),
    st.sampled_from(["", "application/json", "gzip", "0", "10", "-1", "text/csv", "ä", "*;q"]),
)  # fmt: skip


def bodies(names: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Bytes, JSON, and what resembles a request for a model with an input of one of the names."""
    tensors = st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(names),
            "shape": st.lists(st.integers(-1, 3), max_size=3) | VALUES,
            "datatype": st.sampled_from(["FP64", "FP32", "BYTES", "FP16", "BOOL", ""]),
            "data": VALUES,
            "parameters": VALUES,
        },
    )
    envelopes = st.fixed_dictionaries(
        {"inputs": st.lists(tensors, max_size=2)},
        optional={"id": VALUES, "parameters": VALUES, "outputs": VALUES, "instances": VALUES},
    )
    return st.binary(max_size=30) | (envelopes | VALUES).map(
        lambda value: json.dumps(value).encode(errors="replace")
    )


INFER, INVOKE = "/v2/models/{model}/infer", "/models/{model}/invocations"

DEPTH = 100_000


def _infer(shape: Sequence[int], data: str) -> bytes:
    head = f'{{"inputs":[{{"name":"input-0","datatype":"FP32","shape":{json.dumps(shape)}'
    return f'{head},"data":{data}}}]}}'.encode()


MALFORMED: Mapping[str, tuple[str, bytes, tuple[int, ...]]] = {
    "deep JSON": (INFER, b"[" * DEPTH, (400,)),
    "deep JSON that closes": (INFER, _infer([1, 13], "[" * DEPTH + "]" * DEPTH), (400,)),
    "deep objects": (INVOKE, b'{"inputs":' * DEPTH, (400,)),
    "an overflowing shape": (INFER, _infer([16, 2**60 + 2], "[1]"), (400,)),
    "a shape beyond 64 bits": (INFER, _infer([2**64, 13], "[1]"), (400,)),
    "a negative shape": (INFER, _infer([-1, 13], "[]"), (400,)),
    "a shape of a billion rows": (INFER, _infer([10**9, 13], "[]"), (400,)),
    "NaN": (INFER, _infer([1, 13], json.dumps([float("nan")] * 13)), (200, 400)),
    "a number beyond floats": (INFER, _infer([1, 13], "[1e999" + ",1" * 12 + "]"), (200, 400)),
    "an endless integer": (INFER, _infer([1, 13], f"[{'9' * 10_000}{',1' * 12}]"), (200, 400)),
    "NaN in another protocol": (INVOKE, b'{"inputs":[[NaN]]}', (400,)),
}  # fmt: skip
"""Paths with a place for a model of 13 numbers, bodies, and the statuses that are right."""
