"""Frames survive any cut of the stream, and nothing else is taken for one."""

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import PredictionError
from deployments.protocols.frames import (
    GATEWAY,
    HEAD,
    MAX_BYTES,
    REPLICA,
    Frame,
    FrameError,
    FrameReader,
    Handshake,
    Kind,
    encode_frame,
    send_frame,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    values=st.lists(st.tuples(VALUES, st.integers(0, 2000)), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 4000), max_size=20),
)
def test_any_cut_gives_the_same_frames(values: list[tuple[Any, int]], cuts: list[int]) -> None:
    sent = [(value, np.arange(size, dtype=np.float32)) for value, size in values]
    stream = b"".join(encode_frame(Kind.ANSWER, n, each) for n, each in enumerate(sent))
    reader = FrameReader()
    got: list[Frame] = []

    for cut in cuts:
        got += reader.feed(stream[:cut])
        stream = stream[cut:]
    got += reader.feed(stream)

    assert [(frame.kind, frame.number) for frame in got] == [
        (Kind.ANSWER, n) for n in range(len(sent))
    ]
    for frame, (value, array) in zip(got, sent, strict=True):
        assert frame.value[0] == value
        np.testing.assert_array_equal(frame.value[1], array)


@given(
    sizes=st.lists(st.sampled_from([0, 1, 7, 20_000, 40_001, 70_000]), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 200_000), max_size=20),
)
def test_large_frames_among_small_ones_are_cut_alike(sizes: list[int], cuts: list[int]) -> None:
    sent = [(np.arange(size, dtype=np.float64), "between", np.ones(size, "u1")) for size in sizes]
    wire = Sent()
    for number, each in enumerate(sent):
        send_frame(wire, Kind.ASK, number, each)
    reader = FrameReader()
    got: list[Frame] = []

    stream = bytes(wire.stream)
    for cut in cuts:
        got += reader.feed(stream[:cut])
        stream = stream[cut:]
    got += reader.feed(stream)

    assert [frame.number for frame in got] == list(range(len(sent)))
    for frame, arrays in zip(got, sent, strict=True):
        np.testing.assert_array_equal(frame.value[0], arrays[0])
        np.testing.assert_array_equal(frame.value[2], arrays[2])
        assert frame.value[0].flags.aligned
        assert frame.value[0].flags.writeable


class Sent:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.stream = bytearray()

    def write(self, data: bytes) -> None:
        self.stream += data

    def writelines(self, list_of_data: Iterable[bytes | memoryview]) -> None:
        for part in list_of_data:
            self.stream += part


def test_arrays_may_be_written_to() -> None:
    (frame,) = FrameReader().feed(encode_frame(Kind.ASK, 7, np.zeros(3)))

    frame.value[0] = 1.0

    assert frame.value.flags.aligned


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(HEAD.pack(0, 0, 1, 0) + b"x", id="kind"),
        pytest.param(HEAD.pack(Kind.ASK, 0, 3, 0) + b"abc", id="no-pickle"),
        pytest.param(HEAD.pack(Kind.ASK, 0, 0, 1) + struct.pack("!Q", MAX_BYTES), id="too-long"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        list(FrameReader().feed(data))


def test_errors_of_ours_survive() -> None:
    error = PredictionError("churn", "1", "ValueError: no")

    (frame,) = FrameReader().feed(encode_frame(Kind.FAILURE, 1, error))

    assert (type(frame.value), str(frame.value)) == (PredictionError, str(error))


class TestHandshake:
    def test_both_sides_prove_that_they_know_the_key(self) -> None:
        gateway, replica = Handshake(b"k" * 32, GATEWAY), Handshake(b"k" * 32, REPLICA)

        replica.check(GATEWAY, gateway.prove(replica.nonce))
        gateway.check(REPLICA, replica.prove(gateway.nonce))

    def test_another_key_is_no_proof(self) -> None:
        gateway, replica = Handshake(b"k" * 32, GATEWAY), Handshake(b"l" * 32, REPLICA)

        with pytest.raises(FrameError, match="does not know the key"):
            replica.check(GATEWAY, gateway.prove(replica.nonce))

    def test_a_proof_sent_back_is_no_proof(self) -> None:
        replica, mirrored = Handshake(b"k" * 32, REPLICA), Handshake(b"k" * 32, REPLICA)

        with pytest.raises(FrameError):
            replica.check(GATEWAY, mirrored.prove(replica.nonce))
