"""What is made of the answers to copies: counts, samples, reports."""

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest
from msgspec.structs import replace

from deployments.gateway import mirror
from deployments.gateway.inference import Inference
from deployments.protocols.tensors import Array, Batch
from deployments.telemetry import MIRROR_DIFFERENCE, MIRROR_SECONDS, PREDICT
from tests.deployments.gateway.mirrors import (
    LABELS,
    SHADOW,
    STABLE,
    WHILE_S,
    Client,
    Gateway,
    mirrored,
    other,
    together,
)
from tests.fakes import FakeTransport, loop_time, sums


class TestComparing:
    def test_requests_are_counted_rows_are_compared(self) -> None:
        async def ask(gateway: Gateway) -> None:
            await asyncio.gather(gateway.ask(1, 2, -1), gateway.ask(3, 4), gateway.ask(-5))

        gateway = mirrored(ask, Gateway(other, rows=8))

        assert gateway.outcomes() == {"agreed": 1, "differed": 2}
        (gaps,) = gateway.counters.snapshot().families[MIRROR_DIFFERENCE.name]
        assert gaps.labels == LABELS
        assert (gaps.counts[0], sum(gaps.counts), gaps.total) == (1, 3, 200.0)

    def test_within_the_tolerance_they_agree(self) -> None:
        def nearly(batch: Batch) -> Mapping[str, Array]:
            return {"output-0": sums(batch)["output-0"] * 1.01}

        loose = mirrored(lambda g: g.ask(), Gateway(nearly, tolerance=0.02))
        tight = mirrored(lambda g: g.ask(), Gateway(nearly, tolerance=0.005))

        assert (loose.outcomes(), tight.outcomes()) == ({"agreed": 1}, {"differed": 1})

    def test_a_difference_is_kept_with_what_explains_it(self) -> None:
        gateway = Gateway(other, rows=8)

        async def ask(gateway: Gateway) -> None:
            sender = Client("r1", "anna")
            await asyncio.gather(gateway.ask(9), gateway.ask(1, -2, 3, -4, sender=sender))

        (found,) = mirrored(ask, gateway).kept()

        assert (found.request_id, found.routing_key) == ("r1", "anna")
        assert (found.rows, found.differing_rows, found.largest) == (4, 2, 100.0)
        assert found.inputs == {"x": [[-2.0, 1.0], [-4.0, 1.0]]}
        assert found.stable == {"output-0": [-1.0, -3.0]}
        assert found.mirrored == {"output-0": [99.0, 97.0]}

    def test_the_number_of_samples_is_the_setting_s(self) -> None:
        async def ask(gateway: Gateway) -> None:
            await together(gateway, *([-1] * 10))

        few = mirrored(ask, Gateway(other, samples=3))
        none = mirrored(ask, Gateway(other, samples=0))

        assert (len(few.kept()), len(none.kept())) == (3, 0)
        assert few.outcomes() == none.outcomes() == {"differed": 10}

    def test_large_answers_are_compared_all_the_same(self) -> None:
        width = mirror.LARGE_BYTES // 8

        def wide(batch: Batch) -> Mapping[str, Array]:
            return {"output-0": np.tile(batch.inputs["x"][:, :1], width)}

        gateway = Gateway(wide)
        gateway.stable = FakeTransport(wide)

        async def run() -> None:
            gateway.apply(SHADOW, STABLE)
            await gateway.ask(1)
            while not gateway.outcomes():
                await asyncio.sleep(0.01)

        asyncio.run(run())

        assert gateway.outcomes() == {"agreed": 1}

    def test_predict_times_are_compared_of_the_same_rows_in_one_batch(self) -> None:
        gateway = Gateway()
        gateway.stable.predict_s, gateway.shadow.predict_s = 0.002, 0.006

        async def ask(gateway: Gateway) -> None:
            await together(gateway, 1, 2, 3)
            await together(gateway, 4)  # too soon after the last pair, so it waits for company
            await together(gateway, 5)

        mirrored(ask, gateway)

        seconds = gateway.counters.snapshot().families[MIRROR_SECONDS.name]
        assert {each.labels[3]: each.counts[0] for each in seconds} == {
            "stable": 0.002, "mirrored": 0.006,
        }  # fmt: skip
        predicted = gateway.counters.snapshot().families[PREDICT.name]
        assert LABELS in {each.labels for each in predicted}


class TestReports:
    def test_what_was_heard_is_not_told_again_until_it_changes(self) -> None:
        told: list[int] = []

        async def ask(gateway: Gateway) -> None:
            mirroring = gateway.inference.mirroring
            for number in (-1, 5, -2):
                await gateway.ask(number)
                await asyncio.sleep(WHILE_S)
                reports = mirroring.reports()
                told.append(len(reports))
                mirroring.heard(reports)
            mirroring.unheard()
            told.append(len(mirroring.reports()))

        mirrored(ask, Gateway(other))

        assert told == [1, 0, 1, 1]

    def test_a_report_is_bounded_and_everybody_has_a_turn(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("deployments.gateway.mirroring.MOST_BYTES", 1)
        third = replace(SHADOW, version="3", application="churn--v3")
        turns: list[str] = []

        async def ask(gateway: Gateway) -> None:
            mirroring = gateway.inference.mirroring
            for _ in range(3):
                await gateway.ask(-1)
                await asyncio.sleep(WHILE_S)
                reports = mirroring.reports()
                turns.extend(report.application for report in reports)
                mirroring.heard(reports)

        def not_one(batch: Batch) -> Mapping[str, Array]:
            return {"output-0": np.zeros(len(batch.inputs["x"])) + 7}

        gateway = Gateway(not_one)
        gateway.inference = Inference(
            lambda name: gateway.stable if name.endswith("1") else FakeTransport(not_one),
            gateway.counters,
            loop_time,
        )
        mirrored(ask, gateway, SHADOW, third, STABLE)

        assert turns == ["churn--v2", "churn--v3", "churn--v2"]
