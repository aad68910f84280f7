"""Clients that ask at a constant rate, check each answer, and keep which version gave it when."""

import http.client
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

TIMEOUT_S = 60.0
"""Longest wait for an answer; the fleet's own deadline is shorter, seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request. Times are monotonic seconds."""

    model: str
    sent_s: float
    done_s: float
    version: str
    """Empty where it failed."""

    fault: str = ""
    """What was wrong; empty where it was right."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request's body, and its right answer."""

    body: bytes
    answer: float


class Load:
    """Asks models in turn, from entering until leaving."""

    def __init__(
        self,
        port: int,
        models: Sequence[str],
        questions: Sequence[Question],
        *,
        rate_per_s: float,
        clients: int = 8,
    ) -> None:
        """Prepare.

        Args:
            port: Of the fleet, on loopback.
            models: To ask.
            questions: To ask each of them.
            rate_per_s: Of all clients' requests together.
            clients: Threads with a connection each.
        """
        self.answers: list[Answer] = []
        self._port = port
        self._models = models
        self._questions = questions
        self._interval_s = clients / rate_per_s
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number, number * self._interval_s / clients))
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)

    @property
    def faults(self) -> list[str]:
        """What was wrong with answers."""
        return [answer.fault for answer in self.answers[:] if answer.fault]

    def _ask(self, number: int, offset_s: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        due_s = time.monotonic() + offset_s
        while not self._stopping.wait(max(0.0, due_s - time.monotonic())):
            model = self._models[number % len(self._models)]
            question = self._questions[number % len(self._questions)]
            self.answers.append(_answer(connection, model, question))
            number += 1
            # One that had to wait does not make up for what it missed: the rate is constant.
            due_s = max(due_s + self._interval_s, time.monotonic())
        connection.close()


def _answer(connection: http.client.HTTPConnection, model: str, question: Question) -> Answer:
    sent_s = time.monotonic()
    version = fault = ""
    try:
        connection.request("POST", f"/v2/models/{model}/infer", question.body)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 200:
            said = json.loads(body)
            version = said["model_version"]
            if said["outputs"][0]["data"] != [question.answer]:
                fault = f"{model}: {said['outputs']}, not {question.answer}"
        else:
            fault = f"{model}: {answer.status} {body[:200]!r}"
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        fault = f"{model}: {type(error).__name__}: {error}"
    return Answer(model, sent_s, time.monotonic(), version, fault)
