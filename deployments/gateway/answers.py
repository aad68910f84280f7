"""From what a version answered to what leaves by an HTTP door."""

import msgspec

from deployments.gateway.http import Answer
from deployments.gateway.http_call import HEADER_LENGTH, HttpCall
from deployments.gateway.joining import AnyRequest
from deployments.gateway.weighing import LARGE_BYTES
from deployments.protocols import open_inference
from deployments.protocols.compression import compress
from deployments.protocols.tensors import Outputs
from deployments.traffic.table import Route


class Asked(msgspec.Struct):
    """An inference request that was read, and for whom."""

    call: HttpCall
    route: Route
    request: AnyRequest

    given_id: str
    """Names the request in its answer where its body does not."""


def inferred(asked: Asked, outputs: Outputs) -> Answer:
    """Answer an inference request.

    Raises:
        FleetError: What `open_inference.encode_infer` raises.
    """
    call, request = asked.call, asked.request
    encoded = open_inference.encode_infer(
        request,
        outputs,
        model=call.model,
        version=asked.route.version,
        request_id=request.id or asked.given_id,
    )
    headers = call.extra_headers
    if encoded.header_length is not None:
        headers.append((HEADER_LENGTH, b"%d" % encoded.header_length))
    return Answer(200, encoded.body, encoded.content_type.encode(), tuple(headers))


def compressed(call: HttpCall, answer: Answer) -> Answer:
    """The answer as its caller takes it."""
    accepted = call.headers.get(b"accept-encoding")
    if accepted is None:
        return answer
    body, encoding = compress(answer.body, accepted.decode("latin-1"))
    if encoding is None:
        return answer
    # A cache must not hand it to those who cannot read it.
    coding = ((b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding"))
    headers = (*answer.headers, *coding)
    return Answer(answer.status, body, answer.content_type, headers)


def is_long(call: HttpCall, answer: Answer) -> bool:
    """Whether `compressed` may take longer than about a millisecond."""
    return len(answer.body) > LARGE_BYTES and b"accept-encoding" in call.headers
