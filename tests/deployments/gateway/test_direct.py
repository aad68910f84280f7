"""Connections of our own to replicas that live in the test, over both kinds of socket."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import uvloop

from deployments.gateway.direct import DirectTransport
from deployments.gateway.transport import ReplicaGoneError, Transport
from deployments.predictor.direct import DirectDoor
from deployments.predictor.prediction import Prediction
from deployments.protocols.frames import NONCE_BYTES, Kind, encode_frame
from deployments.protocols.tensors import Batch, Form
from deployments.traffic.table import Endpoint
from tests.contracts.transport import DIE, HANG, Model, ReplicaTransportContract, batch

HERE, ELSEWHERE = "node-1", "node-2"
WITHIN_S = 10.0


class Fallback:
    """Serve's handle, which takes what no connection can."""

    def __init__(self) -> None:
        self.asked = 0
        self.actors: list[str | None] = []
        self.before_it_fails: Callable[[], None] = lambda: None

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        self.asked += 1
        self.before_it_fails()
        await asyncio.sleep(0.01)
        raise ReplicaGoneError("by the handle", self.actors.pop(0) if self.actors else None)


class Replica:
    """A model behind a door of its own."""

    def __init__(self, name: str, folder: Path, model: Any = None) -> None:
        self.name = name
        self.folder = folder
        self.actor = f"actor of {name}"
        self.model = model or Model(self.die)
        self.door = DirectDoor(self.model.predict, "churn", "1")

    async def open(self) -> Endpoint:
        self.endpoint = await self.door.open(self.name, HERE, "127.0.0.1", self.folder, self.actor)
        return self.endpoint

    def die(self) -> None:
        """What the kernel does for a killed process: everything is closed at once."""
        for server in self.door._servers:
            server.close()
        for peer in list(self.door._peers):
            peer._transport.abort()


@asynccontextmanager
async def replicas(
    node: str = HERE, n: int = 2, model: Any = None
) -> AsyncIterator[tuple[DirectTransport, list[Replica], Fallback]]:
    """A transport with connections to replicas."""
    fallback = Fallback()
    with tempfile.TemporaryDirectory() as folder:
        found = [Replica(f"replica-{k}", Path(folder), model) for k in range(n)]
        transport = DirectTransport("gateway-1", node, fallback)
        transport.update([await replica.open() for replica in found])
        await connected(transport, n)
        try:
            yield transport, found, fallback
        finally:
            transport.update(())
            for replica in found:
                await replica.door.drain(0.0)


async def connected(transport: DirectTransport, n: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        while sum(link.is_ready for link in transport._links.values()) != n:
            await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(3 * WITHIN_S):
            await test()

    asyncio.run(bounded())


class TestUnixSocket(ReplicaTransportContract):
    def transport(self) -> AbstractAsyncContextManager[Transport]:
        return self._on(HERE)

    @asynccontextmanager
    async def _on(self, node: str) -> AsyncIterator[Transport]:
        async with replicas(node) as (transport, _, _):
            yield transport


class TestTcp(TestUnixSocket):
    def transport(self) -> AbstractAsyncContextManager[Transport]:
        return self._on(ELSEWHERE)


def test_without_a_replica_serve_s_handle_is_asked() -> None:
    async def test() -> None:
        fallback = Fallback()
        transport = DirectTransport("gateway-1", HERE, fallback)

        with pytest.raises(ReplicaGoneError, match="by the handle"):
            await transport.predict(batch(1.0), 1, WITHIN_S)

        assert fallback.asked == 1

    run(test)


def test_serve_s_handle_is_asked_again_while_it_sends_to_the_dead_one() -> None:
    """It may not know yet of a death that our own connection has told us."""

    async def test() -> None:
        async with replicas(n=1) as (transport, (replica,), fallback):
            with pytest.raises(ReplicaGoneError, match="connection was lost"):
                await transport.predict(batch(DIE), 1, WITHIN_S)
            fallback.actors = [replica.actor, replica.actor, "another"]

            with pytest.raises(ReplicaGoneError, match="by the handle"):
                await transport.predict(batch(1.0), 1, WITHIN_S)

            # The third had it, and may have died of it.
            assert fallback.asked == 3

    run(test)


@pytest.mark.parametrize("actor", [None, "another"])
def test_a_replica_that_dies_under_a_batch_of_the_handle_is_the_last(actor: str | None) -> None:
    async def test() -> None:
        async with replicas(n=1) as (transport, _, fallback):
            with pytest.raises(ReplicaGoneError, match="connection was lost"):
                await transport.predict(batch(DIE), 1, WITHIN_S)
            fallback.actors = [actor, actor]

            with pytest.raises(ReplicaGoneError, match="by the handle"):
                await transport.predict(batch(1.0), 1, WITHIN_S)

            assert fallback.asked == 1

    run(test)


def test_a_death_after_the_batch_was_sent_is_not_an_earlier_one() -> None:
    async def test() -> None:
        async with replicas(n=1) as (transport, (replica,), fallback):
            fallback.actors = [replica.actor, replica.actor]
            fallback.before_it_fails = replica.die
            replica.door._is_leaving = True
            for peer in list(replica.door._peers):
                peer.say_leaving()
            async with asyncio.timeout(WITHIN_S):
                while transport.is_direct:
                    await asyncio.sleep(0.002)

            with pytest.raises(ReplicaGoneError, match="by the handle"):
                await transport.predict(batch(1.0), 1, WITHIN_S)

            assert fallback.asked == 1

    run(test)


def test_a_replica_that_comes_back_is_found_again() -> None:
    async def test() -> None:
        async with replicas(n=1) as (transport, (replica,), _):
            replica.die()
            await connected(transport, 0)
            again = Replica(replica.name, replica.folder)
            again.door._key = replica.door._key
            await again.open()

            await connected(transport, 1)

            assert (await transport.predict(batch(1.0), 1, WITHIN_S)).arrays["x"][0] == 1.0
            await again.door.drain(0.0)

    run(test)


def test_batches_go_where_fewest_are_in_flight() -> None:
    async def test() -> None:
        async with replicas(n=2) as (transport, found, _):
            hanging = asyncio.ensure_future(transport.predict(batch(HANG), 1, WITHIN_S))
            await asyncio.sleep(0)

            answers = [await transport.predict(batch(1.0), 1, WITHIN_S) for _ in range(20)]

            assert {int(answer.arrays["hanging"][0]) for answer in answers} == {0}
            assert sorted(replica.model._hanging for replica in found) == [0, 1]
            hanging.cancel()

    run(test)


def test_a_replica_that_leaves_answers_what_it_has_and_gets_no_more() -> None:
    class Slow:
        def __init__(self) -> None:
            self.asked = 0

        async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
            self.asked += 1
            await asyncio.sleep(0.2)
            return Prediction(batch.inputs, "array", 0.0, 0.0)  # type: ignore[arg-type]

    async def test() -> None:
        slow = Slow()
        async with replicas(n=1, model=slow) as (transport, (replica,), fallback):
            asked = asyncio.ensure_future(transport.predict(batch(5.0), 1, WITHIN_S))
            while slow.asked == 0:
                await asyncio.sleep(0)
            leaving = asyncio.ensure_future(replica.door.drain(WITHIN_S))
            await connected(transport, 0)

            with pytest.raises(ReplicaGoneError, match="by the handle"):
                await transport.predict(batch(1.0), 1, WITHIN_S)
            assert (await asked).arrays["x"][0] == 5.0
            await leaving
            assert (slow.asked, fallback.asked) == (1, 1)
            with pytest.raises(OSError, match=r"No such file|refused"):
                await asyncio.open_unix_connection(replica.endpoint.path)
            assert not Path(replica.endpoint.path).exists()

    run(test)


def test_without_its_socket_s_file_a_replica_is_reached_by_its_port() -> None:
    async def test() -> None:
        async with replicas(n=1) as (_, (replica,), fallback):
            Path(replica.endpoint.path).unlink()
            transport = DirectTransport("gateway-2", HERE, fallback)
            transport.update([replica.endpoint])

            await connected(transport, 1)

            assert (await transport.predict(batch(1.0), 1, WITHIN_S)).arrays["x"][0] == 1.0
            transport.update(())

    run(test)


def test_a_replica_removes_the_sockets_that_killed_ones_left() -> None:
    async def test() -> None:
        async with replicas(n=1) as (_, (replica,), _):
            left = replica.folder / "killed.replica"
            with socket.socket(socket.AF_UNIX) as killed:
                killed.bind(str(left))

            another = Replica("another", replica.folder)
            await another.open()

            assert sorted(path.name for path in replica.folder.iterdir()) == [
                "another.replica",
                "replica-0.replica",
            ]
            await another.door.drain(0.0)

    run(test)


def test_a_replica_that_left_the_table_still_answers() -> None:
    async def test() -> None:
        async with replicas(n=1) as (transport, (replica,), _):
            asked = asyncio.ensure_future(transport.predict(batch(HANG), 1, WITHIN_S))
            while replica.model._hanging == 0:
                await asyncio.sleep(0)
            transport.update(())
            await asyncio.sleep(0.05)

            assert not asked.done()
            asked.cancel()
            while replica.model._hanging:
                await asyncio.sleep(0.005)

    run(test)


def test_a_batch_whose_time_is_over_is_given_up_by_the_replica() -> None:
    async def test() -> None:
        async with replicas(n=1) as (transport, (replica,), _):
            asked = asyncio.ensure_future(transport.predict(batch(HANG), 1, 0.05))
            while replica.model._hanging == 0:
                await asyncio.sleep(0)
            while replica.model._hanging:
                await asyncio.sleep(0.005)

            assert not asked.done()  # the gateway counts the time itself
            asked.cancel()

    run(test)


class Reusing:
    """A model that writes every answer into the same memory."""

    def __init__(self) -> None:
        self._memory = np.empty((1, 1024 * 1024))

    async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
        (array,) = batch.inputs.values()
        self._memory[:] = array.flat[0]
        return Prediction({"y": self._memory}, Form.ARRAY, 0.0, 0.0)


def test_a_large_answer_is_what_it_was_when_it_was_given() -> None:
    async def test() -> None:
        async with replicas(n=1, model=Reusing()) as (transport, _, _):
            asked = [transport.predict(batch(float(value)), 1, WITHIN_S) for value in range(4)]
            for value, answer in enumerate(await asyncio.gather(*asked)):
                assert set(answer.arrays["y"].ravel().tolist()) == {float(value)}

    # As in a replica: asyncio's own loop copies whatever it is given.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


class TestStrangers:
    @staticmethod
    async def open_to(endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(endpoint.path)

    @pytest.mark.parametrize(
        "said",
        [
            pytest.param(bytes(64), id="zeros"),
            pytest.param(
                b"GET / HTTP/1.1\r\nHost: replica\r\nAccept: everything, please\r\n\r\n" * 2,
                id="http",
            ),
            pytest.param(encode_frame(Kind.ASK, 1, ("anything",)) * 4, id="frames-at-once"),
        ],
    )
    def test_who_does_not_know_the_key_is_not_read(self, said: bytes) -> None:
        async def test() -> None:
            async with replicas(n=1) as (transport, (replica,), _):
                reader, writer = await self.open_to(replica.endpoint)
                assert len(await reader.readexactly(NONCE_BYTES)) == NONCE_BYTES
                writer.write(said)

                assert await reader.read() == b""

                writer.close()
                await transport.predict(batch(1.0), 1, WITHIN_S)  # the others go on

        run(test)

    def test_who_says_nothing_is_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("deployments.predictor.direct.PROOF_TIMEOUT_S", 0.05)

        async def test() -> None:
            async with replicas(n=1) as (_, (replica,), _):
                reader, writer = await self.open_to(replica.endpoint)
                await reader.readexactly(NONCE_BYTES)

                assert await reader.read() == b""

                writer.close()

        run(test)

    def test_a_replica_that_does_not_know_the_key_gets_nothing(self) -> None:
        async def test() -> None:
            async with replicas(n=1) as (transport, (replica,), fallback):
                other = msgspec.structs.replace(replica.endpoint, replica="other", key="00" * 32)
                transport.update([other])
                await asyncio.sleep(0.05)

                with pytest.raises(ReplicaGoneError, match="by the handle"):
                    await transport.predict(batch(1.0), 1, WITHIN_S)

                assert fallback.asked == 1

        run(test)
