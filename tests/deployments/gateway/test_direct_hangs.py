"""A replica that hangs is left, and what waits there goes to another one."""

import asyncio

import pytest

from deployments.gateway.transport import ReplicaGoneError
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Batch
from tests.contracts.transport import HANG, batch
from tests.deployments.gateway.test_direct import Replica, connected, replicas, run

WITHIN_S = 10.0


class TestHangs:
    """A replica whose process stands still, connections open: nothing is read or answered."""

    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("LEAST_OVERDUE_S", "LOOK_S", "GREETING_TIMEOUT_S"):
            monkeypatch.setattr(f"deployments.gateway.direct.{name}", 0.05)

    @pytest.mark.ray
    def test_what_waits_there_is_lost_in_time_to_go_elsewhere(self) -> None:
        async def test() -> None:
            async with replicas(n=2) as (transport, found, _):
                asked = asyncio.ensure_future(transport.predict(batch(HANG), 1, 1.0))
                while not any(replica.model.is_busy for replica in found):
                    await asyncio.sleep(0)
                (hung,) = [replica for replica in found if replica.model.is_busy]
                stop(hung)

                with pytest.raises(ReplicaGoneError, match="connection was lost"):
                    await asked
                await connected(transport, 1)
                assert (await transport.predict(batch(1.0), 1, 1.0)).arrays["x"][0] == 1.0

        run(test)

    def test_a_replica_that_only_computes_for_long_is_left_to_it(self) -> None:
        async def test() -> None:
            async with replicas(n=1) as (transport, _, _):
                asked = asyncio.ensure_future(transport.predict(batch(HANG), 1, 0.4))

                await asyncio.sleep(0.5)

                assert not asked.done()
                asked.cancel()

        run(test)

    def test_a_replica_that_leaves_may_take_its_time(self) -> None:
        """It has closed its doors, so nobody greets there any more."""

        class Slow:
            asked = False

            async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
                self.asked = True
                await asyncio.sleep(0.5)
                return Prediction(batch.inputs, "array", 0.0, 0.0)  # type: ignore[arg-type]

        async def test() -> None:
            slow = Slow()
            async with replicas(n=1, model=slow) as (transport, (replica,), _):
                asked = asyncio.ensure_future(transport.predict(batch(5.0), 1, 0.4))
                while not slow.asked:
                    await asyncio.sleep(0)
                leaving = asyncio.ensure_future(replica.door.drain(WITHIN_S))

                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(asked), 0.3)

                assert not asked.done()
                asked.cancel()
                await leaving

        run(test)


def stop(replica: Replica) -> None:
    """What SIGSTOP leaves of a replica: the kernel accepts connections, and nobody greets."""
    for peer in replica.door._peers:
        peer._transport.pause_reading()
    for server in replica.door._servers:
        for listener in server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
