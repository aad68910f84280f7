"""A call that HTTP carries, and what its path asks for."""

import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Self

import msgspec

from deployments.errors import UnavailableError
from deployments.gateway.budget import SMALL_BYTES, ByteBudget, Hold
from deployments.gateway.calls import Call, Protocol
from deployments.gateway.http import BLANKS, Headers, Receive, Scope, header_text, read_body
from deployments.gateway.weighing import SHORT_CODED_BYTES, reads_slowly
from deployments.protocols import open_inference
from deployments.protocols.infer_envelope import MAX_DIGITS

HEADER_LENGTH = open_inference.HEADER.lower().encode()

SHORT_BODY_BYTES = SMALL_BYTES
"""A body whose text is this long is read before anybody works on its request."""

SHORT_BINARY_BYTES = 16 * 1024 * 1024
"""As long as this with binary tensors, which cost little to decode: ASGI hands a body over in
pieces of 64 KiB, and a task that waits for each of them costs more than all else."""

Short = tuple[tuple[str, str | None], Hold | None]
"""The model and version that a short request asks, and what its body took, if that is large."""

MAX_PATH = 256
"""Characters of a path that a span says."""


class HttpCall(Call, kw_only=True):
    """A call that HTTP carries."""

    method: str
    path: str
    headers: Headers

    body: bytes | None = None
    """None while it is still to be read."""

    receive: Receive | None = None
    """ASGI's, where the body is still to be read."""

    hold: Hold | None = None
    """Of a large body; None where it is known to be small."""

    extra_headers: list[tuple[bytes, bytes]] = msgspec.field(default_factory=list)

    @classmethod
    def of_scope(cls, scope: Scope, receive: Receive) -> Self:
        """A call that ASGI carries."""
        return cls(
            method=scope["method"],
            path=scope["path"],
            headers=dict(scope["headers"]),
            receive=receive,
        )

    def header(self, name: bytes) -> str | None:
        """See `Call.header`."""
        return header_text(self.headers, name)

    def described(self) -> tuple[str, dict[str, str]]:
        """See `Call.described`."""
        return described(self.method, self.path)

    async def read(self, limit_bytes: int, budget: ByteBudget) -> bytes:
        """The body.

        Args:
            limit_bytes: Longest that is read.
            budget: Where a large one takes its part.

        Raises:
            FleetError: See `read_body`.
            ClientGoneError: The client left before the end.
        """
        if self.body is None and self.receive is not None:
            self.hold = budget.hold()
            self.body = await read_body(self.headers, self.receive, limit_bytes, self.hold)
        return self.body or b""

    @property
    def reads_slowly(self) -> bool:
        """Whether its body takes long to decode."""
        return reads_slowly(self.body or b"", self.header(HEADER_LENGTH))

    def release(self) -> None:
        """Give back what its body took."""
        if self.hold is not None:
            self.hold.release()


def protocol_of(path: str) -> Protocol:
    """Whose words the answers at a path are in."""
    if path.startswith("/models/") or path in {"/ping", "/health", "/version", "/invocations"}:
        return Protocol.MLFLOW_SCORING
    return Protocol.OPEN_INFERENCE


def inference_path(path: str) -> tuple[str, str | None] | None:
    """The model and version that a path asks to infer; None where it is another path."""
    match path.split("/"):
        case ["", "v2", "models", model, "infer"]:
            return model, None
        case ["", "v2", "models", model, "versions", version, "infer"]:
            return model, version
    return None


def described(method: str, path: str) -> tuple[str, dict[str, str]]:
    """What `Call.described` says of a request that HTTP carries."""
    route = _route(path)
    said = {"http.request.method": method, "url.path": path[:MAX_PATH], "http.route": route}
    return f"{method} {route}", said


def _route(path: str) -> str:
    match path.strip("/").split("/"):
        case ["v2", "models", _, "versions", _, "infer"]:
            return "/v2/models/{model}/versions/{version}/infer"
        case ["v2", "models", _, "infer"]:
            return "/v2/models/{model}/infer"
        case ["models", _, "versions", _, "invocations"]:
            return "/models/{model}/versions/{version}/invocations"
    return "/models/{model}/invocations"


def short_inference(
    url: bytes, headers: Iterable[tuple[bytes, bytes]], budget: ByteBudget, limit_bytes: int
) -> Short | None:
    """What `inference_path` finds, where the target is plain and the body quickly understood.

    Args:
        url: The request's.
        headers: The request's.
        budget: Where a large body takes its part; one for which there is no room is refused on
            the longer way.
        limit_bytes: Longest body; a longer one, the same.
    """
    if not url.isascii() or b"%" in url or b"?" in url or b"#" in url:
        return None
    said = dict(headers)
    length = _number(said.get(b"content-length", b""))
    if length > limit_bytes or (length > SHORT_CODED_BYTES and b"content-encoding" in said):
        return None
    if length > SHORT_BODY_BYTES:
        text = _number(said.get(HEADER_LENGTH, b""))
        if text > SHORT_BODY_BYTES or length > SHORT_BINARY_BYTES:
            return None
    target = inference_path(url.decode("ascii"))
    if target is None or length <= SHORT_BODY_BYTES:
        return None if target is None else (target, None)
    with suppress(UnavailableError):
        return target, budget.hold(int(length))
    return None


def _number(value: bytes) -> float:
    value = value.strip(BLANKS)
    return int(value) if value.isdigit() and len(value) <= MAX_DIGITS else math.inf
