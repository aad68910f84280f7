"""Copies of what stable answered: which are taken, and how they travel."""

import asyncio
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from msgspec.structs import replace

from deployments.errors import PredictionError
from deployments.gateway import mirror
from deployments.gateway.transport import ReplicaGoneError
from deployments.protocols.tensors import Array, Batch, Layout, Request, Signature
from deployments.protocols.tensors import TensorSpec as Spec
from deployments.telemetry import MIRRORED
from deployments.traffic.split import is_mirrored
from deployments.traffic.table import Route, Track
from tests.deployments.gateway.mirrors import (
    SHADOW,
    STABLE,
    WHILE_S,
    Client,
    Gateway,
    mirrored,
    together,
)
from tests.fakes import FakeTransport, loop_time, run_virtually, sums
from tests.lines import kept_lines


class TestWhatIsCopied:
    def test_everything_that_stable_answers(self) -> None:
        gateway = mirrored(lambda g: together(g, 1, 2, 3))

        assert [n for rows in gateway.shadow.rows for n in rows] == [1, 2, 3]
        assert gateway.outcomes() == {"agreed": 3}

    @pytest.mark.parametrize(
        "routes",
        [
            pytest.param((STABLE,), id="none"),
            pytest.param((replace(SHADOW, mirror=0), STABLE), id="nought-percent"),
            pytest.param((replace(SHADOW, state="LOADING"), STABLE), id="not-ready"),
        ],
    )
    def test_nothing_where_nobody_mirrors(self, routes: tuple[Route, ...]) -> None:
        gateway = mirrored(lambda g: g.ask(), None, *routes)

        assert gateway.shadow.sent == []
        assert gateway.outcomes() == {}

    def test_a_share_by_the_routing_key_else_by_the_request_s_id(self) -> None:
        names = [f"k{number}" for number in range(40)]
        wanted = {name for name in names if is_mirrored("churn", 30, name)}

        async def ask(gateway: Gateway) -> None:
            for number, name in enumerate(names):
                await gateway.ask(number, sender=Client("other", name))
                await gateway.ask(number, sender=Client(name))
                await gateway.ask(number, sender=Client("other"), id=name)
            await asyncio.sleep(WHILE_S)

        gateway = mirrored(ask, None, replace(SHADOW, mirror=30), STABLE)

        asked = Counter(names[int(n)] for rows in gateway.shadow.rows for n in rows)
        assert asked == dict.fromkeys(wanted, 3)

    def test_some_of_a_batch_are_compared_with_their_own_answers(self) -> None:
        names = [f"k{number}" for number in range(8)]
        wanted = [number for number in range(8) if is_mirrored("churn", 50, names[number])]

        async def ask(gateway: Gateway) -> None:
            clients = [Client(name) for name in names]
            await asyncio.gather(*[gateway.ask(n, sender=clients[n]) for n in range(8)])

        gateway = mirrored(ask, Gateway(rows=8), replace(SHADOW, mirror=50), STABLE)

        assert gateway.stable.rows == [list(range(8))]
        assert gateway.shadow.rows == [wanted]
        assert 0 < len(wanted) < 8
        assert gateway.outcomes() == {"agreed": len(wanted)}

    def test_a_canary_that_mirrors_gets_copies_of_stable_s_alone(self) -> None:
        canary = replace(SHADOW, track=Track.CANARY, weight=10)
        gateway = Gateway()

        async def run() -> None:
            gateway.apply(canary, replace(STABLE, weight=90))
            await gateway.ask(1)
            request = Request({"x": np.array([[2.0, 1.0]])}, 1)
            await gateway.inference.queue("churn", canary).answer(request, 30.0)
            await asyncio.sleep(WHILE_S)

        run_virtually(run)

        assert sorted(n for rows in gateway.shadow.rows for n in rows) == [1, 2]
        series = gateway.counters.snapshot().families[MIRRORED.name]
        assert [(each.labels, each.counts) for each in series] == [
            (("churn", "2", "canary", "agreed"), (1.0,))
        ]

    def test_what_stable_could_not_answer_is_not_copied(self) -> None:
        def fail(_: Batch) -> Mapping[str, Array]:
            raise PredictionError("churn", "1", "no")

        gateway = Gateway()
        gateway.stable = FakeTransport(fail)

        async def ask(gateway: Gateway) -> None:
            with pytest.raises(PredictionError):
                await gateway.ask()

        assert mirrored(ask, gateway).shadow.sent == []


class TestHowCopiesTravel:
    def test_after_the_answer_and_never_in_its_way(self) -> None:
        gateway = Gateway(takes_s=5.0)
        answered_s = []

        async def ask(gateway: Gateway) -> None:
            await gateway.ask()
            answered_s.append(loop_time())
            await asyncio.sleep(10.0)

        mirrored(ask, gateway)

        assert answered_s[0] < 0.001
        assert gateway.shadow.sent[0].at_s >= answered_s[0]

    def test_in_bundles_that_gather_for_a_moment_one_at_a_time(self) -> None:
        async def ask(gateway: Gateway) -> None:
            await gateway.ask(0)  # goes as it is, to compare predict times
            for number in range(1, 11):
                await gateway.ask(number)

        gateway = mirrored(ask, Gateway(takes_s=0.05))

        assert gateway.shadow.rows == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
        assert gateway.shadow.most_running == 1
        assert gateway.outcomes() == {"agreed": 11}

    def test_a_bundle_that_is_not_full_waits_no_longer_than_a_moment(self) -> None:
        async def ask(gateway: Gateway) -> None:
            await gateway.ask(0)
            await asyncio.sleep(0.01)
            await gateway.ask(1)
            await asyncio.sleep(0.05)
            await gateway.ask(2)

        gateway = mirrored(ask)

        (_, second) = gateway.shadow.sent
        assert second.rows == [1, 2]
        assert second.at_s == pytest.approx(0.01 + mirror.GATHER_S, abs=0.001)

    def test_with_a_pause_after_each_for_as_long_as_it_took(self) -> None:
        async def ask(gateway: Gateway) -> None:
            await together(gateway, 0)
            await together(gateway, *range(1, 13))

        quick = mirrored(ask, Gateway(takes_s=0.002))
        slow = mirrored(ask, Gateway(takes_s=0.1))

        for gateway, every_s in ((quick, 0.004), (slow, 0.1 + mirror.REST_S)):
            sent_s = [each.at_s for each in gateway.shadow.sent]
            assert np.diff(sent_s) == pytest.approx([every_s] * 3, abs=0.0005)

    def test_requests_that_cannot_share_a_call_do_not(self) -> None:
        async def ask(gateway: Gateway) -> None:
            await gateway.ask(0)
            for number in range(1, 5):
                await gateway.ask(number, params={"odd": number % 2})

        gateway = mirrored(ask, Gateway(rows=2))

        assert sorted(gateway.shadow.rows) == [[0], [1, 3], [2, 4]]

    def test_what_has_gathered_long_enough_does_not_wait_for_each_other(self) -> None:
        async def ask(gateway: Gateway) -> None:
            await gateway.ask(0)
            await asyncio.sleep(0.01)
            await asyncio.gather(*[gateway.ask(n, params={"n": n}) for n in range(1, 6)])

        gateway = mirrored(ask, Gateway(takes_s=0.001))

        assert gateway.shadow.rows == [[0], [1], [2], [3], [4], [5]]
        assert gateway.shadow.sent[-1].at_s < 0.01 + mirror.GATHER_S + 5 * 0.003

    def test_a_request_larger_than_a_batch_goes_alone(self) -> None:
        async def ask(gateway: Gateway) -> None:
            await gateway.ask(0)
            await gateway.ask(1)
            await gateway.ask(2, rows=9)

        gateway = mirrored(ask)

        assert sorted(map(len, gateway.shadow.rows)) == [1, 1, 9]
        assert gateway.outcomes() == {"agreed": 3}

    def test_they_wait_while_clients_wait_for_the_version(self) -> None:
        gateway = Gateway(takes_s=1.0)

        async def run() -> None:
            gateway.apply(SHADOW, STABLE)
            queue = gateway.inference.queue("churn", SHADOW)
            own = Request({"x": np.array([[7.0, 1.0]] * 4)}, 4)
            clients = [asyncio.create_task(queue.answer(own, 30.0)) for _ in range(3)]
            await asyncio.sleep(0.1)
            await gateway.ask(1)
            await asyncio.gather(*clients)
            await asyncio.sleep(5.0)

        run_virtually(run)

        assert [rows[0] for rows in gateway.shadow.rows] == [7, 7, 7, 1]

    def test_what_finds_no_room_is_dropped_and_counted(self) -> None:
        rows = mirror.HELD_ROWS // 2

        async def ask(gateway: Gateway) -> None:
            for number in range(5):
                await gateway.ask(number, rows=rows)
            await asyncio.sleep(10.0)

        gateway = mirrored(ask, Gateway(takes_s=1.0))

        assert gateway.outcomes() == {"agreed": 2, "dropped": 3}

    def test_there_is_room_again_for_what_comes_later(self) -> None:
        rows = mirror.HELD_ROWS

        async def ask(gateway: Gateway) -> None:
            for number in range(3):
                await gateway.ask(number, rows=rows)
                await asyncio.sleep(5.0)

        assert mirrored(ask, Gateway(takes_s=1.0)).outcomes() == {"agreed": 3}

    def test_large_inputs_find_no_room_though_they_are_few(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mirror, "HELD_BYTES", 100)

        gateway = mirrored(lambda g: together(g, 1, 2, 3, 4), Gateway(rows=1, takes_s=0.1))

        # Two numbers in and one out are 24 bytes.
        assert gateway.outcomes() == {"agreed": 4}
        large = mirrored(lambda g: g.ask(rows=5), Gateway(takes_s=1.0))
        assert large.outcomes() == {"dropped": 1}

    def test_they_have_the_model_s_deadline(self) -> None:
        async def ask(gateway: Gateway) -> None:
            await gateway.ask()
            await asyncio.sleep(40.0)

        assert mirrored(ask, Gateway(takes_s=31.0)).outcomes() == {"failed": 1}


class TestFailures:
    def test_one_bad_request_fails_alone(self) -> None:
        def picky(batch: Batch) -> Mapping[str, Array]:
            if (batch.inputs["x"][:, 0] == 3).any():
                raise PredictionError("churn", "2", "no threes")
            return sums(batch)

        gateway = mirrored(lambda g: together(g, *range(6)), Gateway(picky, rows=6))

        assert gateway.outcomes() == {"agreed": 5, "failed": 1}

    def test_a_version_that_always_raises(self) -> None:
        def fail(_: Batch) -> Mapping[str, Array]:
            raise PredictionError("churn", "2", "no")

        gateway = mirrored(lambda g: together(g, *range(7)), Gateway(fail, rows=7))

        assert gateway.outcomes() == {"failed": 7}
        assert len(gateway.shadow.sent) == 2 * 7 - 1

    def test_a_version_that_does_not_answer_row_by_row_is_asked_one_by_one(self) -> None:
        def mean(batch: Batch) -> Mapping[str, Array]:
            return {"output-0": sums(batch)["output-0"].mean(keepdims=True)}

        gateway = mirrored(lambda g: together(g, *range(4)), Gateway(mean))

        assert gateway.outcomes() == {"agreed": 4}

    def test_a_replica_that_dies_twice(self) -> None:
        def die(_: Batch) -> Mapping[str, Array]:
            raise ReplicaGoneError("gone")

        assert mirrored(lambda g: together(g, 1, 2), Gateway(die)).outcomes() == {"failed": 2}

    def test_a_bug_is_counted_and_the_next_bundle_goes(self) -> None:
        answers = iter([{"output-0": "no array"}, {"output-0": np.array([3.0])}])

        async def ask(gateway: Gateway) -> None:
            await gateway.ask(1)
            await asyncio.sleep(WHILE_S)
            await gateway.ask(2)

        with kept_lines("deployments.gateway.mirror") as lines:
            gateway = mirrored(ask, Gateway(lambda _: next(answers)))

        assert gateway.outcomes() == {"failed": 1, "agreed": 1}
        assert [line.getMessage() for line in lines] == [
            "mirroring to ('churn', '2', 'shadow') failed"
        ]

    def test_a_version_that_wants_inputs_that_stable_has_not(self) -> None:
        wider = Signature(
            Layout.NAMED_TENSORS, (Spec("x", "FP64", (-1, 2)), Spec("z", "FP64", (-1,)))
        )

        gateway = mirrored(lambda g: g.ask(), None, replace(SHADOW, signature=wider), STABLE)

        assert gateway.shadow.sent == []
        assert gateway.outcomes() == {"failed": 1}

    def test_inputs_are_cast_to_another_signature(self) -> None:
        narrower = Signature(Layout.TENSOR, (Spec("x", "FP32", (-1, 2)),))

        gateway = mirrored(lambda g: g.ask(3), None, replace(SHADOW, signature=narrower), STABLE)

        assert gateway.shadow.sent[0].batch.inputs["x"].dtype == np.float32
        assert gateway.outcomes() == {"agreed": 1}

    def test_a_mirror_that_leaves_the_table_forgets_its_copies(self) -> None:
        gateway = Gateway(takes_s=0.5)

        async def ask(gateway: Gateway) -> None:
            await together(gateway, 0)
            await together(gateway, 1, 2)
            await asyncio.sleep(0.2)
            gateway.apply(STABLE)
            await gateway.ask(3)

        mirrored(ask, gateway)

        assert gateway.shadow.rows == [[0]]
        assert gateway.outcomes() == {}
