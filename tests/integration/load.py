"""Well-behaved clients that ask at a constant rate and check every answer."""

import asyncio
import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from tests.integration.hosting import HostedModel, eventually

RETRY_AFTER_S = 0.1
"""Wait before a request whose connection was cut is sent once more, seconds."""

PATIENCE_S = 60.0
"""After which an answer has not come, seconds."""

TOLERANCE = 1e-4

SHOWN = 200
"""Most bytes of an answer that are kept where it is not right."""

PROXY_ERRORS = {500, 502, 503, 504}
"""What Serve's proxy says of a gateway that died, with 500 for 502 and 504 in Ray 2.60; the
gateways' own answers name the request."""

FAILED = re.compile(rb"version (\d+) failed")
"""How an error names the version that it is of."""


class Outcome(StrEnum):
    """What became of a request."""

    RIGHT = "right"

    CUT = "cut"
    """The connection was cut under it; sent once more, it was answered rightly."""

    WRONG = "wrong"
    """Status 200 with another answer than the model's own."""

    REFUSED = "refused"
    """Any other status."""

    LOST = "lost"
    """No answer, at the second attempt neither."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request and how to know its answer."""

    path: str
    body: bytes
    is_right: Callable[[Any], bool]
    """Of the answer's JSON."""

    key: str = ""
    """Routing key; empty sends none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and what became of it."""

    at_s: float
    """When it was sent, seconds since the load began."""

    took_s: float
    door: str
    outcome: Outcome
    detail: str = ""
    key: str = ""

    version: str = ""
    """That answered or failed it, as far as the answer says so."""


@dataclass(slots=True)
class Tally:
    """All requests of a load."""

    asked: list[Asked] = field(default_factory=list)

    def count(self, *outcomes: Outcome) -> int:
        """Number of requests with one of these outcomes."""
        return sum(each.outcome in outcomes for each in self.asked)

    @property
    def failed(self) -> int:
        """Requests without their right answer."""
        return self.count(Outcome.WRONG, Outcome.REFUSED, Outcome.LOST)

    @property
    def answered(self) -> int:
        """Requests with their right answer, be it the second attempt's."""
        return self.count(Outcome.RIGHT, Outcome.CUT)

    @property
    def longest_s(self) -> float:
        """The longest wait for an answer, seconds."""
        return max((each.took_s for each in self.asked), default=0.0)

    def details(self) -> dict[str, int]:
        """What was not right at the first attempt, by door and reason."""
        found = Counter(
            f"{each.door}: {each.outcome} {each.detail}"
            for each in self.asked
            if each.outcome is not Outcome.RIGHT
        )
        return dict(found.most_common(10))


class Load:
    """Clients on threads of their own, from entering until leaving."""

    def __init__(
        self,
        doors: Mapping[str, str],
        questions: Sequence[Question],
        *,
        clients: int = 6,
        rate_per_s: float = 100.0,
    ) -> None:
        """Prepare.

        Args:
            doors: Address by name; each has clients of its own.
            questions: Asked in turn.
            clients: For each door.
            rate_per_s: Requests of all clients of a door together.
        """
        self.tally = Tally()
        self._doors = doors
        self._questions = itertools.cycle(questions)
        self._clients = clients
        self._interval_s = clients / rate_per_s
        self._began_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        self._thread.start()
        try:
            self.wait_for_answers(2 * self._clients)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        self._thread.join(2 * PATIENCE_S)

    @property
    def now_s(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._began_s

    def wait_for_answers(self, count: int) -> None:
        """Wait until each door has answered so many requests more."""
        before = self._by_door()

        def have_come() -> bool:
            now = self._by_door()
            return all(now[door] >= before[door] + count for door in self._doors)

        try:
            eventually(f"{count} answers more from each of {list(self._doors)}", have_come)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.tally.details()}") from None

    def _by_door(self) -> Counter[str]:
        good = (Outcome.RIGHT, Outcome.CUT)
        return Counter(each.door for each in self.tally.asked[:] if each.outcome in good)

    async def _run(self) -> None:
        await asyncio.gather(
            *(
                self._client(door, url, number * self._interval_s / self._clients)
                for door, url in self._doors.items()
                for number in range(self._clients)
            )
        )

    async def _client(self, door: str, url: str, offset_s: float) -> None:
        connection = Connection(url)
        due_s = offset_s
        while not self._stopping.is_set():
            await asyncio.sleep(max(0.0, due_s - self.now_s))
            at_s = self.now_s
            question = next(self._questions)
            outcome, detail, version = await self._ask(connection, question)
            took_s = self.now_s - at_s
            asked = Asked(at_s, took_s, door, outcome, detail, question.key, version)
            self.tally.asked.append(asked)
            # One that had to wait does not make up for what it missed: the rate is constant.
            due_s = max(due_s + self._interval_s, self.now_s)
        connection.close()

    async def _ask(self, connection: "Connection", question: Question) -> tuple[Outcome, str, str]:
        cut, header = "", f"X-Routing-Key: {question.key}\r\n" if question.key else ""
        for _ in range(2):
            try:
                answer = await connection.post(question.path, question.body, header)
            except TimeoutError:
                connection.close()
                return Outcome.LOST, f"no answer in {PATIENCE_S} s", ""
            except (OSError, EOFError) as error:
                connection.close()
                cut = type(error).__name__
            else:
                if not _is_the_proxy_s(answer):
                    return _judged(question, answer, cut)
                cut = f"{answer.status} of the proxy"
            await asyncio.sleep(RETRY_AFTER_S)
        return Outcome.LOST, cut, ""


def _is_the_proxy_s(answer: Answer) -> bool:
    return answer.status in PROXY_ERRORS and "x-request-id" not in answer.headers


def _judged(question: Question, answer: Answer, cut: str) -> tuple[Outcome, str, str]:
    shown = answer.body[:SHOWN].decode(errors="replace")
    if answer.status != 200:
        failed = FAILED.search(answer.body)
        return Outcome.REFUSED, f"{answer.status} {shown}", failed[1].decode() if failed else ""
    said = json.loads(answer.body)
    version = str(said.get("model_version", ""))
    if not question.is_right(said):
        return Outcome.WRONG, shown, version
    return (Outcome.CUT, cut, version) if cut else (Outcome.RIGHT, "", version)


class Connection:
    """A keep-alive connection that heeds `Connection: close`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._place = parts.hostname, parts.port
        self._head = f"Host: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(
        self, path: str, body: bytes, headers: str = "", timeout_s: float = PATIENCE_S
    ) -> Answer:
        """Send one request.

        Args:
            path: Of the model.
            body: JSON.
            headers: More of them, each line ended.
            timeout_s: How long to wait, seconds.

        Raises:
            OSError: The connection was refused or reset.
            EOFError: It was closed before the answer was whole.
            TimeoutError: It took too long.
        """
        async with asyncio.timeout(timeout_s):
            if self._streams is None or self._streams[0].at_eof():
                self.close()  # it was closed while idle, which costs nothing
                self._streams = await asyncio.open_connection(*self._place)
            reader, writer = self._streams
            length = f"Content-Length: {len(body)}\r\n"
            head = f"POST {path} HTTP/1.1\r\n{self._head}{headers}{length}\r\n"
            writer.write(head.encode() + body)
            answer = await read_answer(reader)
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Close it; the next request makes it anew."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer with a declared length.

    Raises:
        EOFError: The connection ended before.
        OSError: It was reset.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(first.split()[1]), headers, body)


def questions_for(name: str, model: HostedModel) -> list[Question]:
    """One question for each of a model's rows in each of both protocols; sorted, they mix."""
    return [
        each
        for position, row in enumerate(model.holdout_rows)
        for each in (
            _inference(name, row, model.expected[position], f"row-{position}"),
            _invocation(name, row, model.expected[position]),
        )
    ]


def _inference(name: str, row: Any, expected: Any, number: str) -> Question:
    datatype = {"float64": "FP64", "float32": "FP32"}[row.dtype.name]
    tensor = {"name": "input-0", "shape": [1, *row.shape], "datatype": datatype}
    body = {"id": number, "inputs": [{**tensor, "data": row.ravel().tolist()}]}

    def is_right(answer: Any) -> bool:
        return answer["id"] == number and _is_close(answer["outputs"][0]["data"], expected)

    return Question(f"/v2/models/{name}/infer", json.dumps(body).encode(), is_right)


def _invocation(name: str, row: Any, expected: Any) -> Question:
    body = json.dumps({"inputs": [row.tolist()]}).encode()
    return Question(
        f"/models/{name}/invocations",
        body,
        lambda answer: _is_close(answer["predictions"][0], expected),
    )


def _is_close(got: Any, expected: Any) -> bool:
    return bool(np.allclose(np.ravel(got), np.ravel(expected), rtol=TOLERANCE, atol=TOLERANCE))
