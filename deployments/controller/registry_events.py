"""MLflow's webhooks: a hint to look at the registry now, which is polled anyway.

What they say is not used, only that something was said; so nothing depends on their order,
and one that is lost costs two seconds at most.
"""

import base64
import hmac
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from deployments.errors import NotFoundError

SIGNATURE = "X-MLflow-Signature"
TIMESTAMP = "X-MLflow-Timestamp"
DELIVERY = "X-MLflow-Delivery-Id"

VERSION = "v1"

MOST_AGE_S = 300.0
"""Older or newer ones are refused, as MLflow's manual has it: they may have been recorded."""


def signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """Sign a message as MLflow does.

    Source:
        MLflow 3.17, `mlflow.webhooks.delivery`.
    """
    signed = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), signed, sha256).digest()
    return f"{VERSION},{base64.b64encode(digest).decode()}"


def is_genuine(headers: Mapping[str, str], body: bytes, secret: str, now_s: float) -> bool:
    """Whether a message was signed with a secret, and not long ago.

    Args:
        headers: Of the request; their names may be spelt in any case.
        body: All of it.
        secret: That MLflow's webhook has.
        now_s: Unix time.
    """
    given, timestamp, delivery = (
        headers.get(name, "") for name in (SIGNATURE, TIMESTAMP, DELIVERY)
    )
    expected = signature(secret, delivery, timestamp, body)
    # First, and in constant time: nothing is told of a message that nobody vouches for.
    if not hmac.compare_digest(given.encode(), expected.encode()):
        return False
    return timestamp.isascii() and timestamp.isdigit() and abs(now_s - int(timestamp)) <= MOST_AGE_S


def read_secret(file: str | None) -> str | None:
    """The secret in a file, without the line's end; None without a file, or with nothing in it.

    Read anew each time, so that a secret can be replaced without a restart.
    """
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def registry_router(
    secret: Callable[[], str | None],
    look: Callable[[], None],
    problems: dict[int | str, dict[str, Any]],
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """Build the route.

    Args:
        secret: What messages are signed with; None closes the route.
        look: Has the controller look at the registry at once.
        problems: Descriptions of the statuses of errors.
        clock: Unix time, seconds.
    """
    router = APIRouter()

    @router.post("/api/v1/registry-events", status_code=204, responses=problems)
    async def hear_of_registry(request: Request) -> Response:
        """Look at the registry at once. For MLflow's webhooks, whose signature is checked."""
        known = secret()
        if known is None:
            raise NotFoundError("args.control.registry_secret_file names no secret")
        if not is_genuine(request.headers, await request.body(), known, clock()):
            return Response(b'{"error":"the signature is not ours, or old"}', 401, media_type=JSON)
        look()
        return Response(status_code=204)

    return router


JSON = "application/json"
