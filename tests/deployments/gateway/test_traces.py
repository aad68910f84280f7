"""A traced request's spans, at every door; and none where nobody asked for them."""

import asyncio
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from deployments.errors import PredictionError
from deployments.gateway.calls import Call
from deployments.gateway.transport import ReplicaGoneError
from deployments.protocols.tensors import Batch
from tests.deployments.gateway.hosted import INFER, INVOKE, ROW, Fleet, post
from tests.deployments.gateway.queues import ask, busy, make_queue, outcomes
from tests.deployments.gateway.rpc import on_grpc, raw_request
from tests.fakes import FakeTransport
from tests.tracing import SAMPLED, SPAN, TRACE, UNSAMPLED, Kept, kept_spans, linked, own, parent

ROWS = {"inputs": [[1.5, 2.0]]}


def raising(_: Batch) -> Any:
    raise PredictionError("churn", "1", "ValueError: no")


@pytest.mark.usefixtures("door")
class TestAtEveryDoor:
    @pytest.mark.parametrize(
        ("path", "body", "route"),
        [
            pytest.param(INFER, ROW, "/v2/models/{model}/infer", id="open-inference"),
            pytest.param(INVOKE, ROWS, "/models/{model}/invocations", id="mlflow"),
        ],
    )
    def test_a_traced_request_has_spans_below_its_caller_s(
        self, path: str, body: Any, route: str
    ) -> None:
        with kept_spans() as kept:
            fleet = Fleet(traces=kept.traces)
            answer = post(
                fleet, path, body, headers={"traceparent": SAMPLED, "x-request-id": "id-1"}
            )
            assert answer.status_code == 200

            (server,) = kept.named(f"POST {route}")
            (queue,), (batch,) = kept.named("queue"), kept.named("batch")
        assert {f"{span.context.trace_id:032x}" for span in kept.spans} == {TRACE}
        assert parent(server) == int(SPAN, 16)
        assert parent(queue) == parent(batch) == own(server)
        assert linked(queue) == {own(batch)}
        said = dict(server.attributes or {})
        assert said["http.request.method"] == "POST"
        assert (said["http.route"], said["url.path"]) == (route, path)
        assert said["http.response.status_code"] == 200
        assert (said["rayfleet.model"], said["rayfleet.version"]) == ("churn", "1")
        assert (said["rayfleet.track"], said["rayfleet.request_id"]) == ("stable", "id-1")
        (sent,) = fleet.transport.sent
        assert sent.batch.trace is not None
        assert sent.batch.trace.header == f"00-{TRACE}-{own(batch):016x}-01"

    @pytest.mark.parametrize(
        ("share", "headers", "traced"),
        [
            pytest.param(1.0, {}, True, id="by-our-own-share"),
            pytest.param(0.5, {}, False, id="not-in-the-share"),
            pytest.param(1.0, {"traceparent": UNSAMPLED}, False, id="its-caller-s-no"),
            pytest.param(0.0, {"traceparent": "nonsense"}, False, id="no-trace-context"),
        ],
    )
    def test_a_request_that_is_not_traced_costs_no_span(
        self, share: float, headers: dict[str, str], traced: bool
    ) -> None:
        with kept_spans(share) as kept:
            fleet = Fleet(traces=kept.traces)
            post(fleet, INFER, headers=headers)

        assert bool(kept.spans) is traced
        assert [sent.batch.trace is not None for sent in fleet.transport.sent] == [traced]

    def test_a_caller_s_state_goes_with_the_batch(self) -> None:
        with kept_spans() as kept:
            fleet = Fleet(traces=kept.traces)
            post(fleet, INFER, headers={"traceparent": SAMPLED, "tracestate": "vendor=1"})

        (sent,) = fleet.transport.sent
        assert sent.batch.trace is not None
        assert sent.batch.trace.state == "vendor=1"

    @pytest.mark.parametrize(
        ("predict", "body", "code", "error", "origin", "failed"),
        [
            pytest.param(
                raising, ROW, 500, "PredictionError", "version", True, id="the-model-raised"
            ),
            pytest.param(
                None, {"inputs": []}, 400, "SignatureMismatchError", "caller", False, id="bad-input"
            ),
        ],
    )
    def test_a_failure_is_in_the_span(
        self, predict: Any, body: Any, code: int, error: str, origin: str, failed: bool
    ) -> None:
        with kept_spans(1.0) as kept:
            fleet = Fleet(traces=kept.traces, **({} if predict is None else {"predict": predict}))
            post(fleet, INFER, body)

            (server,) = [span for span in kept.spans if span.name.startswith("POST")]
        said = dict(server.attributes or {})
        assert said["http.response.status_code"] == code
        assert (said["error.type"], said["rayfleet.origin"]) == (error, origin)
        assert server.status.is_ok is not failed


@pytest.mark.ray  # starts a server
def test_grpc_has_the_same_spans() -> None:
    with kept_spans() as kept:
        fleet = Fleet(traces=kept.traces)
        answer = on_grpc(
            fleet,
            lambda client: client.infer(raw_request((1.0, 2.0)), metadata={"traceparent": SAMPLED}),
        )
        assert answer.code == "OK"

        (server,) = kept.named("inference.GRPCInferenceService/ModelInfer")
        (batch,) = kept.named("batch")
    assert (parent(server), parent(batch)) == (int(SPAN, 16), own(server))
    said = dict(server.attributes or {})
    assert (said["rpc.system.name"], said["rpc.response.status_code"]) == ("grpc", "OK")
    assert said["rayfleet.model"] == "churn"


class Asking(Call):
    """A request that is traced."""


def asking(kept: Kept) -> Call:
    call = Asking()
    call.span = kept.traces.begin(call)
    return call


def test_a_batch_is_linked_with_all_of_its_traced_requests_and_counts_the_others() -> None:
    async def run(kept: Kept) -> list[Any]:
        queue = make_queue(FakeTransport(), max_batch_size=8)
        queue.traces = kept.traces
        first = await busy(queue)
        senders = [asking(kept), asking(kept), None]
        together = [
            queue.answer(ask(number), 30.0, sender) for number, sender in enumerate(senders)
        ]
        results = await outcomes(*together)
        await first
        for sender in senders:
            if sender is not None and sender.span is not None:
                sender.span.answered(("churn", "1", "stable"), "id", "200")
        return results

    with kept_spans(1.0) as kept:
        assert len(asyncio.run(run(kept))) == 3

        (batch,), queues = kept.named("batch"), kept.named("queue")
        servers = kept.named("infer")
    assert linked(batch) == {own(span) for span in servers}
    assert parent(batch) in {own(span) for span in servers}
    assert {parent(span) for span in queues} == {own(span) for span in servers}
    assert dict(batch.attributes or {})["rayfleet.batch.requests"] == 3


def test_a_batch_whose_replica_died_and_the_next_one_are_spans_of_their_own() -> None:
    tries: list[Batch] = []

    def predict(batch: Batch) -> Any:
        tries.append(batch)
        if len(tries) == 1:
            raise ReplicaGoneError("died")
        return {"output-0": np.zeros(1)}

    with kept_spans(1.0) as kept:
        fleet = Fleet(traces=kept.traces, predict=predict)
        assert post(fleet, INFER).status_code == 200

        lost, answered = kept.named("batch")
    assert dict(lost.attributes or {})["error.type"] == "ReplicaGoneError"
    assert (lost.status.is_ok, answered.status.is_ok) == (False, True)
    assert dict(answered.attributes or {})["rayfleet.batch.again"] is True


def test_a_request_whose_client_left_ends_with_it() -> None:
    async def run(kept: Kept) -> None:
        fleet = Fleet(traces=kept.traces)
        fleet.transport.takes_s = 60.0
        asking = asyncio.create_task(fleet.ask("POST", INFER, json=ROW))
        while not fleet.transport.sent:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(0)

    with kept_spans(1.0) as kept:
        asyncio.run(run(kept))

        (server,) = [span for span in kept.spans if span.name.startswith("POST")]
    assert dict(server.attributes or {})["error.type"] == "cancelled"
    assert "http.response.status_code" not in dict(server.attributes or {})


@pytest.mark.ray  # starts an interpreter
def test_a_fleet_without_traces_imports_nothing_that_makes_them() -> None:
    program = (
        "import sys\n"
        "import deployments.gateway.gateway, deployments.predictor.served, tuning.lifecycle\n"
        "ours = {'tuning.spans', 'deployments.gateway.traces', 'deployments.predictor.traces'}\n"
        "theirs = {name for name in sys.modules if name.startswith('opentelemetry.exporter')}\n"
        "sys.exit(' '.join(theirs | ours & set(sys.modules)) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
