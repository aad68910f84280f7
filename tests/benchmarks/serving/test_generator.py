"""Both load generators against servers that misbehave in known ways."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving.cases import Wire
from benchmarks.serving.dialects import MLFLOW, OPEN_INFERENCE, Dialect
from benchmarks.serving.generator import Generator
from benchmarks.serving.load import Aim, drive, parse
from benchmarks.serving.workload import Workload

pytestmark = pytest.mark.ray  # starts servers and load generators

Reply = Callable[[bytes], bytes]
"""From what was read to what is sent back; empty bytes close the connection."""

NOTHING_YET = b"\0"
"""Not to be sent: more must be read first."""


def http(body: bytes, *, status: int = 200, headers: str = "") -> bytes:
    return (
        b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n" % (*(status, len(body), headers.encode()),)
        + body
    )


def echo(request: bytes) -> bytes:
    """Answer with the request's own body."""
    return http(request.partition(b"\r\n\r\n")[2])


@contextmanager
def serving(reply: Reply) -> Iterator[int]:
    """Answer each connection in a thread of its own; small requests come in one piece."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def converse(peer: socket.socket) -> None:
        with peer, suppress(ConnectionError):  # a load generator leaves when its time is over
            while request := peer.recv(65536):
                answer = reply(request)
                if not answer:
                    return
                if answer is not NOTHING_YET:
                    peer.sendall(answer)

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=converse, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def generator(port: int) -> Generator:
    """Two questions that an echo answers rightly."""
    bodies = [b"first", b"second"]

    def is_right(position: int, body: bytes, _headers: Mapping[str, str]) -> bool:
        return body == bodies[position]

    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    return Generator(port, [head % len(body) + body for body in bodies], is_right)


def test_right_answers_are_counted() -> None:
    with serving(echo) as port:
        reading = generator(port).closed(connections=4, duration_s=0.3)

    assert reading.requests_per_s > 100
    assert reading.faults == 0


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(lambda _: http(b"other"), id="wrong-body"),
        pytest.param(lambda request: echo(request).replace(b"200", b"500"), id="status"),
        pytest.param(lambda _: b"", id="closed-without-an-answer"),
    ],
)
def test_nothing_but_right_answers_counts(reply: Reply) -> None:
    with serving(reply) as port:
        reading = generator(port).open(rate_per_s=100, duration_s=0.2)

    assert reading.requests_per_s == 0
    assert reading.faults == 20


def test_a_connection_that_says_close_is_replaced_without_a_fault() -> None:
    def reply(request: bytes) -> bytes:
        return http(request.partition(b"\r\n\r\n")[2], headers="Connection: close\r\n")

    with serving(reply) as port:
        reading = generator(port).open(rate_per_s=100, duration_s=0.2)

    assert reading.faults == 0
    assert reading.requests_per_s > 0


def test_constant_arrivals_arrive_at_their_rate() -> None:
    with serving(echo) as port:
        reading = generator(port).open(rate_per_s=200, duration_s=0.5)

    assert reading.offered_per_s == 200
    assert reading.requests_per_s == pytest.approx(200, rel=0.1)
    assert reading.faults == 0


def test_a_stall_shows_in_the_latency_of_all_that_it_delays() -> None:
    stall_s = 0.3
    stalled = threading.Event()
    lock = threading.Lock()

    def reply(request: bytes) -> bytes:
        with lock:  # one at a time, as a server whose event loop hangs
            if not stalled.is_set():
                stalled.set()
                time.sleep(stall_s)
        return echo(request)

    with serving(reply) as port:
        reading = generator(port).open(rate_per_s=200, duration_s=0.4)

    # 60 of 80 arrivals fall into the stall. Closed connections would have seen one slow answer
    # each and then stopped asking; here the median arrival waited for a good part of it.
    assert reading.p50_ms > stall_s * 1e3 / 4
    assert reading.faults == 0


def test_a_large_question_and_an_answer_in_pieces() -> None:
    content = b"x" * 3_000_000
    question = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
    received = 0

    def reply(part: bytes) -> bytes:
        nonlocal received
        received += len(part)
        return http(b"y" * 300_000) if received % len(question) == 0 else NOTHING_YET

    def is_right(_position: int, body: bytes, _headers: Mapping[str, str]) -> bool:
        return body == b"y" * 300_000

    with serving(reply) as port:
        reading = Generator(port, [question], is_right).closed(connections=1, duration_s=0.3)

    assert reading.requests_per_s > 0
    assert reading.faults == 0


WORKLOAD = Workload("wine", np.array([[[0.5]], [[1.5]]]), np.array([[0.0], [1.0]]))


def aim(port: int, dialect: Dialect, folder: Path) -> Aim:
    return Aim(WORKLOAD, Wire.JSON, dialect, port, folder)


def open_inference(request: bytes) -> bytes:
    """Answer as the model of `WORKLOAD` does, with the id of the question."""
    number = b"1" if b"1.5" in request else b"0"
    return http(b'{"id": "%s", "outputs": [{"shape": [1], "data": [%s]}]}' % (number, number))


def scoring(request: bytes) -> bytes:
    """The same in MLflow's words, which have no id."""
    return http(b'{"predictions": [%s]}' % (b"1" if b"1.5" in request else b"0"))


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not on the PATH")
@pytest.mark.parametrize(
    ("dialect", "reply", "all_right"),
    [
        pytest.param(OPEN_INFERENCE, open_inference, True, id="by-id"),
        pytest.param(MLFLOW, scoring, True, id="by-turn"),
        pytest.param(
            OPEN_INFERENCE,
            lambda request: open_inference(request).replace(b'"data": [0]', b'"data": [1]'),
            False,
            id="wrong-by-id",
        ),
        pytest.param(MLFLOW, lambda _: http(b'{"predictions": [0]}'), False, id="wrong-by-turn"),
        pytest.param(
            OPEN_INFERENCE, lambda _: http(b'{"error": "no"}', status=503), False, id="refused"
        ),
    ],
)
def test_every_answer_is_checked_by_id_or_by_turn(
    dialect: Dialect, reply: Reply, all_right: bool, tmp_path: Path
) -> None:
    with serving(reply) as port:
        reading = drive(aim(port, dialect, tmp_path), connections=4, duration_s=1)

    assert reading.requests_per_s > 100
    if all_right:
        assert reading.faults == 0
    else:
        assert reading.faults >= reading.requests_per_s * 0.4


def test_output_of_a_load_generator_is_its_last_line() -> None:
    line = '{"requests": 300, "duration_us": 2000000, "p50_us": 1500, "p99_us": 9000, '

    reading = parse(f'Running 2s test\n{line}"wrong": 2, "lost": 1}}\n')

    assert (reading.requests_per_s, reading.p50_ms, reading.p99_ms) == (150.0, 1.5, 9.0)
    assert reading.faults == 3
