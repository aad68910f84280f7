"""Ask other services over HTTP: with a limit on the time and the bytes, and errors of one line."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from deployments.errors import DependencyError
from tuning.probes import without_password

MOST_BYTES = 8 * 1024 * 1024
"""Longest answer that is read; more is no answer to any question of ours."""

CHUNK_BYTES = 64 * 1024

MOST_SHOWN = 200
"""Characters of another service's words that an error repeats."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect to the caller: urllib would follow a POST with a GET."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def post(
    what: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
) -> tuple[int, bytes]:
    """Send a request and read the answer; blocks.

    Args:
        what: Who is asked, for errors.
        url: Where.
        body: What.
        headers: With which.
        timeout_s: Longest time for all of it, seconds.

    Returns:
        The status, whatever it is, and the body.

    Raises:
        DependencyError: There is no answer.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise DependencyError(what, f"{without_password(url)!r} is no http or https address")
    give_up_at_s = time.monotonic() + timeout_s
    try:
        request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310
        try:
            answer = _OPENER.open(request, timeout=timeout_s)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return int(answer.status), _read(answer, give_up_at_s)
    except TimeoutError:
        raise DependencyError(what, f"no answer within {timeout_s:g} s") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise DependencyError(what, f"no answer within {timeout_s:g} s") from None
        raise DependencyError(what, shown(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DependencyError(what, shown(error)) from None


def shown(reason: object) -> str:
    """Another service's words in one line that is not too long."""
    if isinstance(reason, bytes):
        reason = reason[: 4 * MOST_SHOWN].decode(errors="replace")
    text = " ".join(str(reason).split()) or type(reason).__name__
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _read(answer: Any, give_up_at_s: float) -> bytes:
    """Read an answer to its end.

    Raises:
        TimeoutError: It goes on for longer, a few bytes at a time.
        ValueError: It is too long.
    """
    body = bytearray()
    while chunk := answer.read1(CHUNK_BYTES):
        body += chunk
        if len(body) > MOST_BYTES:
            raise ValueError(f"an answer of more than {MOST_BYTES} bytes")
        if time.monotonic() > give_up_at_s:
            raise TimeoutError
    return bytes(body)
