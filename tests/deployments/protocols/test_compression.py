import gzip
import zlib

import pytest

from deployments.errors import (
    MalformedRequestError,
    RequestTooLargeError,
    UnsupportedMediaError,
)
from deployments.protocols.compression import (
    MIN_BYTES,
    compress,
    decompress,
    preferred_coding,
)

BODY = b"tensor " * 100


def bare_deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param(None, BODY, id="none"),
        pytest.param("", BODY, id="empty"),
        pytest.param("identity", BODY, id="identity"),
        pytest.param("gzip", gzip.compress(BODY), id="gzip"),
        pytest.param("GZip", gzip.compress(BODY), id="any-case"),
        pytest.param("x-gzip", gzip.compress(BODY), id="old-name"),
        pytest.param("identity, gzip", gzip.compress(BODY), id="identity-first"),
        pytest.param("deflate", zlib.compress(BODY), id="deflate"),
        pytest.param("deflate", bare_deflate(BODY), id="deflate-without-header"),
    ],
)
def test_decompresses(encoding: str | None, body: bytes) -> None:
    assert decompress(body, encoding, len(BODY)) == BODY


@pytest.mark.parametrize(
    ("encoding", "body", "error"),
    [
        pytest.param("br", b"", UnsupportedMediaError, id="brotli"),
        pytest.param("gzip, gzip", b"", UnsupportedMediaError, id="twice"),
        pytest.param("gzip", BODY, MalformedRequestError, id="no-gzip"),
        pytest.param("gzip", b"", MalformedRequestError, id="nothing"),
        pytest.param("gzip", gzip.compress(BODY)[:-1], MalformedRequestError, id="cut-off"),
        pytest.param("gzip", gzip.compress(BODY) + b"x", MalformedRequestError, id="leftover"),
        pytest.param("deflate", b"\xff", MalformedRequestError, id="no-deflate"),
        pytest.param("gzip", gzip.compress(BODY + b"x"), RequestTooLargeError, id="one-too-many"),
        pytest.param("gzip", gzip.compress(bytes(10**7)), RequestTooLargeError, id="bomb"),
        pytest.param(None, BODY + b"x", RequestTooLargeError, id="plain-too-large"),
    ],
)
def test_refuses(encoding: str | None, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decompress(body, encoding, len(BODY))


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        pytest.param(None, None, id="no-header"),
        pytest.param("", None, id="empty"),
        pytest.param("gzip", "gzip", id="gzip"),
        pytest.param("deflate", "deflate", id="deflate"),
        pytest.param("gzip, deflate", "gzip", id="equal-goes-to-gzip"),
        pytest.param("gzip;q=0.5, deflate;q=0.8", "deflate", id="higher-q-wins"),
        pytest.param("gzip;q=0", None, id="refused"),
        pytest.param("*", "gzip", id="anything"),
        pytest.param("gzip;q=0, *", "deflate", id="anything-else"),
        pytest.param("gzip;q=0.5, identity", None, id="rather-plain"),
        pytest.param("br", None, id="unknown"),
        pytest.param("GZIP; Q=1", "gzip", id="any-case"),
        pytest.param("gzip;q=high", None, id="nonsense"),
        pytest.param("gzip;q=nan", None, id="no-number"),
    ],
)
def test_preferred_coding(accepted: str | None, coding: str | None) -> None:
    assert preferred_coding(accepted) == coding


def test_long_answers_are_compressed_and_short_ones_are_not() -> None:
    long = bytes(MIN_BYTES)

    body, coding = compress(long, "gzip")

    assert (coding, gzip.decompress(body)) == ("gzip", long)
    assert compress(long[1:], "gzip") == (long[1:], None)


def test_deflate_carries_the_zlib_header_that_the_standard_asks_for() -> None:
    body, coding = compress(bytes(MIN_BYTES), "deflate")

    assert (coding, zlib.decompress(body)) == ("deflate", bytes(MIN_BYTES))
