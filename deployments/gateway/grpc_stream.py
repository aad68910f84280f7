"""Answer the requests of one stream side by side, each answer as soon as it is there."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Generic, TypeVar

Question = TypeVar("Question")
Reply = TypeVar("Reply")


class AnswerStream(Generic[Question, Reply]):
    """An asynchronous iterator over answers, in order of completion."""

    def __init__(
        self,
        questions: AsyncIterable[Question],
        answer: Callable[[Question], Awaitable[Reply]],
        leaving: asyncio.Event,
        limit: int,
        limit_bytes: float = math.inf,
        size_of: Callable[[Question], int] = lambda _: 0,
    ) -> None:
        """Prepare, without reading yet.

        Args:
            questions: What the client sends.
            answer: Answers one of them; what it raises ends the stream.
            leaving: Once set, no more are read; those that were are answered.
            limit: Most that are read and whose answers the client has not taken.
            limit_bytes: Of these; while they have as many, no other is read.
            size_of: Says how many bytes a question has.
        """
        self._questions = questions
        self._answer = answer
        self._leaving = leaving
        self._free = asyncio.Semaphore(limit)
        self._left_bytes = limit_bytes
        self._size_of = size_of
        self._lighter = asyncio.Event()
        self._working: set[asyncio.Task[Reply]] = set()
        self._sizes: dict[asyncio.Task[Reply], int] = {}
        self._done: asyncio.Queue[asyncio.Task[Reply] | None] = asyncio.Queue()
        self.cut_short = False
        """Whether the end is ours, and the client might have gone on."""

    async def __aiter__(self) -> AsyncGenerator[Reply, None]:
        """Read and answer; closing the iterator gives up what is not answered.

        What reading the questions raises is raised after the last answer.
        """
        ending = asyncio.create_task(self._read_to_the_end())
        try:
            while (task := await self._done.get()) is not None:
                yield task.result()
                self._left_bytes += self._sizes.pop(task)
                self._lighter.set()
                self._free.release()
            await ending
        finally:
            for each in (ending, *self._working):
                each.cancel()

    async def _read_to_the_end(self) -> None:
        reading = asyncio.create_task(self._read())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait([reading, leaving], return_when=asyncio.FIRST_COMPLETED)
            self.cut_short = not reading.done()
            reading.cancel()
            await asyncio.wait([reading])
            while self._working:
                await asyncio.wait(self._working)
            if not reading.cancelled():
                reading.result()
        finally:
            reading.cancel()
            leaving.cancel()
            self._done.put_nowait(None)

    async def _read(self) -> None:
        questions = aiter(self._questions)
        while True:
            await self._free.acquire()  # first: what is read must be answered
            while self._left_bytes <= 0:
                self._lighter.clear()
                await self._lighter.wait()
            try:
                question = await anext(questions)
            except StopAsyncIteration:
                return
            task = asyncio.ensure_future(self._answer(question))
            self._working.add(task)
            self._sizes[task] = self._size_of(question)
            self._left_bytes -= self._sizes[task]
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Reply]) -> None:
        self._working.discard(task)
        self._done.put_nowait(task)
