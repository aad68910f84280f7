"""Inference over gRPC with real clients, and replicas that live in the test."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import numpy as np
import pytest
from ray.serve.grpc_util import RayServegRPCContext

from deployments.errors import OverloadedError, PredictionError, RequestTooLargeError
from deployments.protocols import open_inference_pb2 as pb
from deployments.protocols.tensors import Array, Batch
from deployments.telemetry import ERRORS, IN_FLIGHT, LATENCY, REQUESTS
from deployments.traffic.split import choose
from tests.deployments.gateway.hosted import LOADING, MAX_BODY, SPLIT, Fleet
from tests.deployments.gateway.rpc import (
    Client,
    Reply,
    grpc_door,
    on_grpc,
    raw_request,
    typed_request,
    until,
)
from tests.fakes import make_table

pytestmark = pytest.mark.ray  # starts servers


def infer(fleet: Fleet, request: Any, **options: Any) -> Reply:
    return on_grpc(fleet, lambda client: client.infer(request, **options))


def numbers(message: pb.ModelInferResponse) -> list[float]:
    """The first output, in whatever form it came."""
    if message.raw_output_contents:
        return list(np.frombuffer(message.raw_output_contents[0], "<f8"))
    return list(message.outputs[0].contents.fp64_contents)


class TestInfer:
    @pytest.mark.parametrize(
        ("ask", "is_raw"), [(raw_request, True), (typed_request, False)], ids=["raw", "typed"]
    )
    def test_an_answer_takes_the_form_of_its_request(self, ask: Any, is_raw: bool) -> None:
        reply = infer(Fleet(), ask((1.5, 2.0), (3.0, 4.0), id="mine"))

        message = reply.message
        assert (reply.code, message.model_name, message.model_version) == ("OK", "churn", "1")
        assert (message.id, numbers(message)) == ("mine", [3.5, 7.0])
        assert (bool(message.raw_output_contents), list(message.outputs[0].shape)) == (is_raw, [2])

    def test_metadata_names_request_and_version(self) -> None:
        given = infer(Fleet(), raw_request((1, 2)), metadata={"x-request-id": "mine"})
        made_up = infer(Fleet(), raw_request((1, 2)))

        assert (given.trailing["x-request-id"], given.trailing["x-model-version"]) == ("mine", "1")
        assert given.message.id == "mine"
        assert made_up.message.id == made_up.trailing["x-request-id"] != ""

    @pytest.mark.parametrize("how", ["metadata", "id", "request-id"])
    def test_the_split_hashes_what_it_hashes_over_http(self, how: str) -> None:
        fleet = Fleet(SPLIT)
        keys = [f"user-{n}" for n in range(20)]

        async def ask(client: Client) -> list[str]:
            versions = []
            for key in keys:
                match how:
                    case "metadata":
                        sent, metadata = raw_request((1, 2), id="x"), {"x-routing-key": key}
                    case "id":
                        sent, metadata = raw_request((1, 2), id=key), {"x-request-id": "x"}
                    case _:
                        sent, metadata = raw_request((1, 2)), {"x-request-id": key}
                reply = await client.infer(sent, metadata=metadata)
                versions.append(reply.message.model_version)
            return versions

        routes = SPLIT.models["churn"].routes
        assert on_grpc(fleet, ask) == [
            getattr(choose("churn", routes, key), "version", None) for key in keys
        ]

    @pytest.mark.parametrize("version", ["1", "2"])
    def test_a_version_in_the_request_bypasses_the_split(self, version: str) -> None:
        fleet = Fleet(SPLIT)

        for n in range(5):
            sent = raw_request((1, 2), model_version=version, id=f"r-{n}")
            assert infer(fleet, sent).message.model_version == version

    def test_compressed_requests(self) -> None:
        reply = infer(Fleet(), raw_request((1.5, 2.0)), compression=grpc.Compression.Gzip)

        assert numbers(reply.message) == [3.5]


class TestFailures:
    @pytest.mark.parametrize(
        ("sent", "code", "said"),
        [
            pytest.param(b"\xff", "INVALID_ARGUMENT", "not a ModelInferRequest", id="no-message"),
            pytest.param(raw_request((1, 2), model_name="m"), "NOT_FOUND", "'m'", id="model"),
            pytest.param(
                raw_request((1, 2), model_version="9"), "NOT_FOUND", "no version '9'", id="version"
            ),
            pytest.param(
                pb.ModelInferRequest(model_name="churn"), "INVALID_ARGUMENT", "missing", id="empty"
            ),
            pytest.param(
                raw_request(*[(1, 2)] * (MAX_BODY // 16)), "RESOURCE_EXHAUSTED", "", id="large"
            ),
        ],
    )
    def test_a_caller_s_mistake(self, sent: Any, code: str, said: str) -> None:
        fleet = Fleet()

        reply = infer(fleet, sent)

        assert (reply.code, fleet.transport.sent) == (code, [])
        assert said in reply.details

    @pytest.mark.parametrize(
        ("error", "code", "origin", "retry_after"),
        [
            (PredictionError("churn", "1", "ValueError: no"), "INTERNAL", "version", None),
            (OverloadedError("churn", 100), "RESOURCE_EXHAUSTED", "fleet", "1"),
        ],
        ids=["model", "overload"],
    )
    def test_what_goes_wrong_behind_the_gateway(
        self, error: Exception, code: str, origin: str, retry_after: str | None
    ) -> None:
        def fail(_: Batch) -> Mapping[str, Array]:
            raise error

        fleet = Fleet(predict=fail)
        reply = infer(fleet, raw_request((1, 2)))

        assert (reply.code, reply.details) == (code, str(error))
        assert reply.trailing.get("retry-after") == retry_after
        assert reply.trailing["x-model-version"] == "1"
        labels = ("churn", "1", "stable", "open_inference", code)
        assert fleet.counted(ERRORS) == {(*labels, origin): 1}
        assert fleet.counted(REQUESTS) == {labels: 1}

    def test_a_fault_of_ours_tells_nobody_our_insides(self) -> None:
        def bug(_: Batch) -> Mapping[str, Array]:
            raise RuntimeError("secret at /srv")

        reply = infer(Fleet(predict=bug), raw_request((1, 2)))

        assert reply.code == "INTERNAL"
        assert "secret" not in reply.details

    def test_a_model_that_is_not_ready(self) -> None:
        reply = infer(Fleet(make_table(churn=(LOADING,))), raw_request((1, 2)))

        assert (reply.code, reply.trailing["retry-after"]) == ("UNAVAILABLE", "1")

    def test_a_long_message_fits_the_headers(self) -> None:
        def fail(_: Batch) -> Mapping[str, Array]:
            raise PredictionError("churn", "1", "ä" * 100_000)

        reply = infer(Fleet(predict=fail), raw_request((1, 2)))

        assert reply.code == "INTERNAL"
        assert reply.details.startswith("model 'churn' version 1 failed: ää")

    @pytest.mark.parametrize("value", ["soon", "0", "nan"])
    def test_a_timeout_that_is_none_is_refused(self, value: str) -> None:
        reply = infer(Fleet(), raw_request((1, 2)), metadata={"x-request-timeout-ms": value})

        assert reply.code == "INVALID_ARGUMENT"
        assert repr(value) in reply.details

    def test_a_caller_waits_no_longer_than_it_says(self) -> None:
        fleet = Fleet()
        fleet.transport.takes_s = 60.0

        reply = infer(fleet, raw_request((1, 2)), metadata={"x-request-timeout-ms": "20"})

        assert reply.code == "DEADLINE_EXCEEDED"
        assert "did not answer within 0.0" in reply.details

    def test_a_deadline_ends_the_work_and_counts_against_the_version(self) -> None:
        fleet = Fleet()
        fleet.transport.takes_s = 60.0

        async def ask(client: Client) -> Reply:
            reply = await client.infer(raw_request((1, 2)), timeout=0.2)
            await until(lambda: fleet.counted(ERRORS))
            return reply

        reply = on_grpc(fleet, ask)

        assert (reply.code, fleet.transport.running) == ("DEADLINE_EXCEEDED", 0)
        labels = ("churn", "1", "stable", "open_inference", "DEADLINE_EXCEEDED")
        assert fleet.counted(ERRORS) == {(*labels, "version"): 1}
        assert fleet.counted(REQUESTS) == {labels: 1}

    def test_a_short_deadline_of_the_client_s_is_its_own_fault(self) -> None:
        fleet = Fleet()
        fleet.transport.takes_s = 60.0

        infer(fleet, raw_request((1, 2)), metadata={"x-request-timeout-ms": "20"})

        labels = ("churn", "1", "stable", "open_inference", "DEADLINE_EXCEEDED")
        assert fleet.counted(ERRORS) == {(*labels, "caller"): 1}

    def test_a_client_that_gives_up_takes_its_work_along(self) -> None:
        fleet = Fleet()
        fleet.transport.takes_s = 60.0

        async def ask(client: Client) -> None:
            begun = client.begin(raw_request((1, 2)))
            await until(lambda: fleet.transport.running)
            begun.cancel()
            await until(lambda: not fleet.transport.running)

        on_grpc(fleet, ask)

        assert sum(fleet.counted(IN_FLIGHT).values()) == 0
        assert fleet.counted(REQUESTS) == {}

    def test_names_that_are_made_up_become_no_labels(self) -> None:
        fleet = Fleet()

        for n in range(3):
            infer(fleet, raw_request((1, 2), model_name=f"m{n}"))
            infer(fleet, raw_request((1, 2), model_version=f"9{n}"))

        assert {labels[:3] for labels in fleet.counted(REQUESTS)} == {
            ("", "", ""), ("churn", "", ""),
        }  # fmt: skip


def test_both_protocols_are_counted_alike() -> None:
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}
    over_grpc, over_http = Fleet(), Fleet()

    infer(over_grpc, raw_request((1, 2)))
    over_http("POST", "/v2/models/churn/infer", content=json.dumps(body))

    assert over_grpc.counted(LATENCY) == over_http.counted(LATENCY)
    ((labels, count),) = over_grpc.counted(REQUESTS).items()
    ((http_labels, http_count),) = over_http.counted(REQUESTS).items()
    assert (labels[:-1], count) == (http_labels[:-1], http_count)
    assert (labels[-1], http_labels[-1]) == ("OK", "200")


class TestStream:
    def test_answers_come_in_order_of_completion_and_an_error_ends_nothing(self) -> None:
        slow = asyncio.Event()

        async def predict(batch: Batch) -> Mapping[str, Array]:
            (array,) = batch.inputs.values()
            if array[0, 0] == 0:
                await slow.wait()
            return {"output-0": np.asarray(array).sum(axis=1)}

        async def ask(client: Client) -> list[pb.ModelStreamInferResponse]:
            async def requests() -> AsyncIterator[bytes]:
                yield raw_request((0, 1), id="slow").SerializeToString()
                await until(lambda: fleet.transport.running)
                yield b"\xff"
                yield raw_request((1, 2), id="wrong", model_version="9").SerializeToString()

            stream = client.stream(requests())
            coming = aiter(stream)
            answers = [await anext(coming), await anext(coming)]
            slow.set()
            answers += [answer async for answer in coming]
            assert (await stream.code()).name == "OK"
            return answers

        fleet = Fleet(predict=predict)
        answers = on_grpc(fleet, ask)

        assert [answer.infer_response.id for answer in answers] == ["", "wrong", "slow"]
        assert "not a ModelInferRequest" in answers[0].error_message
        assert "no version '9'" in answers[1].error_message
        assert numbers(answers[2].infer_response) == [1.0]
        assert {labels[-1] for labels in fleet.counted(REQUESTS)} == {
            "INVALID_ARGUMENT", "NOT_FOUND", "OK",
        }  # fmt: skip

    def test_each_request_is_answered_once(self) -> None:
        async def ask(client: Client) -> list[tuple[str, list[float]]]:
            async def requests() -> AsyncIterator[bytes]:
                for n in range(500):
                    yield raw_request((n, 1), id=str(n)).SerializeToString()

            return [
                (answer.infer_response.id, numbers(answer.infer_response))
                async for answer in client.stream(requests())
            ]

        answers = on_grpc(Fleet(), ask)

        assert sorted(answers, key=lambda each: int(each[0])) == [
            (str(n), [n + 1.0]) for n in range(500)
        ]

    def test_a_client_that_gives_up_takes_its_work_along(self) -> None:
        fleet = Fleet()
        fleet.transport.takes_s = 60.0

        async def ask(client: Client) -> None:
            async def requests() -> AsyncIterator[bytes]:
                yield raw_request((1, 2)).SerializeToString()
                await asyncio.Event().wait()

            stream = client.stream(requests())
            await until(lambda: fleet.transport.running)
            stream.cancel()
            await until(lambda: not fleet.transport.running)

        on_grpc(fleet, ask)

        assert sum(fleet.counted(IN_FLIGHT).values()) == 0

    def test_a_gateway_that_leaves_answers_what_it_has_read(self) -> None:
        async def ask() -> tuple[Any, str]:
            fleet = Fleet()
            fleet.transport.takes_s = 0.2
            async with grpc_door(fleet) as client:

                async def requests() -> AsyncIterator[bytes]:
                    yield raw_request((1, 2), id="last").SerializeToString()
                    await asyncio.Event().wait()

                stream = client.stream(requests())
                await until(lambda: fleet.transport.running)
                fleet.servicer.leave()
                answer = await anext(aiter(stream))
                return answer, (await stream.code()).name

        answer, code = asyncio.run(ask())

        assert (answer.infer_response.id, code) == ("last", "UNAVAILABLE")


class NativeContext:
    """As much of gRPC's context as Serve's proxy copies into its own."""

    def __getattr__(self, name: str) -> Any:
        return lambda: None

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [("x-request-id", "mine")]

    def trailing_metadata(self) -> list[tuple[str, str]]:
        return [("request_id", "serve's")]


class TestServesContext:
    """Serve's door has no limit of ours, tells no deadline, and takes statuses from a copy."""

    @staticmethod
    def ask(body: bytes) -> tuple[Any, RayServegRPCContext]:
        context = RayServegRPCContext(NativeContext())

        async def run() -> Any:
            fleet = Fleet()
            fleet.apply()
            return await fleet.servicer.ModelInfer(body, grpc_context=context)

        return asyncio.run(run()), context

    def test_an_answer(self) -> None:
        message, context = self.ask(raw_request((1, 2)).SerializeToString())

        assert numbers(message) == [3.0]
        code: Any = context.code()
        assert code is None
        assert context.trailing_metadata() == [
            ("request_id", "serve's"), ("x-request-id", "mine"), ("x-model-version", "1"),
        ]  # fmt: skip

    def test_a_body_that_is_too_large(self) -> None:
        message, context = self.ask(bytes(MAX_BODY + 1))

        assert context.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert context.details() == str(RequestTooLargeError(MAX_BODY + 1, MAX_BODY))
        assert message.SerializeToString() == b""
