import asyncio
from collections.abc import AsyncIterator

import pytest

from deployments.gateway.grpc_stream import AnswerStream
from tests.fakes import run_virtually


async def counting(n: int, read: list[int]) -> AsyncIterator[int]:
    for number in range(n):
        read.append(number)
        yield number


async def double(number: int) -> int:
    await asyncio.sleep(10 - number)  # the later, the sooner
    return 2 * number


def test_answers_come_as_they_are_ready() -> None:
    async def run() -> list[int]:
        stream = AnswerStream(counting(4, []), double, asyncio.Event(), limit=10)
        return [answer async for answer in stream]

    assert run_virtually(run) == [6, 4, 2, 0]


def test_no_more_is_read_than_may_wait() -> None:
    read: list[int] = []

    async def run() -> None:
        answers = aiter(AnswerStream(counting(100, read), double, asyncio.Event(), limit=3))
        await anext(answers)
        await asyncio.sleep(1000)
        assert len(read) == 3  # the first is taken, but not yet asked past
        await anext(answers)
        await asyncio.sleep(1000)
        assert len(read) == 4

    run_virtually(run)


def test_no_more_is_read_while_what_waits_is_large() -> None:
    read: list[int] = []

    async def run() -> None:
        stream = AnswerStream(
            counting(100, read), double, asyncio.Event(), 50, 10, size_of=lambda _: 4
        )
        answers = aiter(stream)
        for n_taken in range(4):
            await anext(answers)
            await asyncio.sleep(1000)
            assert len(read) == 3 + n_taken  # the last of them is beyond the bound

    run_virtually(run)


@pytest.mark.parametrize("n", [0, 1])
def test_the_end_of_the_questions_is_the_end(n: int) -> None:
    async def run() -> tuple[list[int], bool]:
        stream = AnswerStream(counting(n, []), double, asyncio.Event(), limit=3)
        return [answer async for answer in stream], stream.cut_short

    assert run_virtually(run) == ([0] * n, False)


def test_leaving_answers_what_was_read() -> None:
    async def two_and_no_more() -> AsyncIterator[int]:
        yield 1
        yield 2
        await asyncio.Event().wait()

    async def run() -> tuple[list[int], bool]:
        leaving = asyncio.Event()
        asyncio.get_running_loop().call_later(1.0, leaving.set)
        stream = AnswerStream(two_and_no_more(), double, leaving, limit=3)
        return [answer async for answer in stream], stream.cut_short

    assert run_virtually(run) == ([4, 2], True)


def test_closing_gives_up_what_is_not_answered() -> None:
    working: set[int] = set()

    async def work(number: int) -> int:
        working.add(number)
        try:
            await asyncio.sleep(number)
        finally:
            working.discard(number)
        return number

    async def run() -> None:
        answers = aiter(AnswerStream(counting(5, []), work, asyncio.Event(), limit=10))
        assert await anext(answers) == 0
        assert working
        await answers.aclose()
        await asyncio.sleep(0.001)
        assert not working

    run_virtually(run)


def test_a_fault_of_the_client_s_side_is_raised_after_the_answers() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError("gone")

    async def run() -> int:
        answers = aiter(AnswerStream(broken(), double, asyncio.Event(), limit=3))
        answer = await anext(answers)
        with pytest.raises(ConnectionError):
            await anext(answers)
        return answer

    assert run_virtually(run) == 2
