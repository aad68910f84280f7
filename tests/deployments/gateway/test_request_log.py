"""Lines about requests: the ones asked for, with what names them, without what was in them."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from deployments.errors import PredictionError
from deployments.gateway.calls import MAX_LOGGED_ID
from deployments.gateway.http_call import HttpCall
from deployments.gateway.request_log import RequestLog, make_request_log
from deployments.protocols.tensors import Array, Batch
from tests.deployments.gateway.hosted import INFER, INVOKE, ROW, Fleet, post
from tests.deployments.gateway.rpc import on_grpc, raw_request
from tests.lines import kept_lines

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def call(**changes: Any) -> HttpCall:
    headers = {b"x-request-id": b"id-1", b"traceparent": PARENT.encode()}
    named = {"model": "wine", "version": "3", "track": "canary"}
    said = {"method": "POST", "path": "/", "headers": headers, **named}
    return HttpCall(**{**said, **changes})


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    with kept_lines("deployments.gateway.request_log") as records:
        yield records


def test_a_line_names_request_trace_model_version_and_track(
    lines: list[logging.LogRecord],
) -> None:
    RequestLog("all").note(call(), "200", 0.0123)

    (line,) = lines
    assert line.getMessage() == "wine version 3 (canary) answered 200 in 12.3 ms, request id-1"
    said = vars(line)
    assert (said["request_id"], said["trace_id"]) == ("id-1", TRACE)
    assert (said["model"], said["version"], said["track"]) == ("wine", "3", "canary")
    assert (said["code"], said["duration_ms"]) == ("200", 12.3)
    assert "error" not in said


@pytest.mark.parametrize(
    ("model", "subject"),
    [pytest.param("wine", "wine", id="model"), pytest.param("", "no model", id="none")],
)
def test_a_line_without_a_version_names_none(
    lines: list[logging.LogRecord], model: str, subject: str
) -> None:
    RequestLog("all").note(call(model=model, version="", track=""), "404", 0.001)

    assert lines[0].getMessage() == f"{subject} answered 404 in 1.0 ms, request id-1"


@pytest.mark.parametrize(
    ("origin", "level"),
    [("caller", "INFO"), ("version", "WARNING"), ("fleet", "WARNING")],
)
def test_failures_that_are_ours_are_warnings(
    lines: list[logging.LogRecord], origin: str, level: str
) -> None:
    RequestLog("failed").note(call(error="SomeError", origin=origin), "500", 0.1)

    assert [(line.levelname, vars(line)["error"]) for line in lines] == [(level, "SomeError")]


def test_where_failures_are_asked_for_the_others_are_left_out(
    lines: list[logging.LogRecord],
) -> None:
    RequestLog("failed").note(call(), "200", 0.1)

    assert lines == []


def test_nothing_writes_lines_where_none_are_asked_for() -> None:
    assert make_request_log("none") is None


def test_a_caller_s_id_is_kept_short(lines: list[logging.LogRecord]) -> None:
    RequestLog("all").note(call(request_id="x" * 1000), "200", 0.1)

    assert vars(lines[0])["request_id"] == "x" * MAX_LOGGED_ID


@pytest.mark.parametrize(
    ("parent", "trace"),
    [
        pytest.param(PARENT, TRACE, id="valid"),
        pytest.param("nonsense", None, id="nonsense"),
        pytest.param(None, None, id="none"),
    ],
)
def test_the_trace_is_the_caller_s_where_there_is_no_other(
    lines: list[logging.LogRecord], parent: str | None, trace: str | None
) -> None:
    headers = {b"traceparent": parent.encode()} if parent is not None else {}
    RequestLog("all").note(call(headers=headers), "200", 0.1)

    assert vars(lines[0]).get("trace_id") == trace


SECRET = "1234567.25"
"""A number of a caller's that must be in no line."""


def raising(_: Batch) -> Mapping[str, Array]:
    raise PredictionError("churn", "1", f"ValueError: {SECRET} is too much")


def writing(which: str, predict: Any = None) -> Fleet:
    """A gateway that writes lines."""
    fleet = Fleet(**({} if predict is None else {"predict": predict}))
    log = RequestLog(which)  # type: ignore[arg-type]
    fleet.app.calls.lines = fleet.servicer._calls.lines = log
    return fleet


def shown(lines: list[logging.LogRecord]) -> list[tuple[str, ...]]:
    """What lines of the request log say, by the fields that most have."""
    fields = ("model", "version", "code", "error", "origin", "request_id", "trace_id")
    return [
        tuple(str(vars(line).get(field, "")) for field in fields)
        for line in lines
        if line.name == "deployments.gateway.request_log"
    ]


@pytest.mark.usefixtures("door")
class TestAtEveryDoor:
    HEADERS: Mapping[str, str] = {"x-request-id": "id-1", "traceparent": PARENT}

    @pytest.mark.parametrize(
        ("path", "body", "code"),
        [
            pytest.param(INFER, ROW, "500", id="open-inference"),
            pytest.param(INVOKE, {"inputs": [[1, 1]]}, "400", id="mlflow"),
        ],
    )
    def test_a_failed_request_is_found_by_its_id_and_by_its_trace(
        self, lines: list[logging.LogRecord], path: str, body: Any, code: str
    ) -> None:
        post(writing("failed", raising), path, body, headers=self.HEADERS)

        assert shown(lines) == [("churn", "1", code, "PredictionError", "version", "id-1", TRACE)]
        assert SECRET not in str([vars(line) for line in lines])

    def test_what_is_refused_before_a_version_is_chosen_is_written_too(
        self, lines: list[logging.LogRecord]
    ) -> None:
        post(writing("failed"), "/v2/models/other/infer", headers=self.HEADERS)

        assert shown(lines) == [("", "", "404", "NotFoundError", "caller", "id-1", TRACE)]

    def test_a_nan_is_a_failure(self, lines: list[logging.LogRecord]) -> None:
        post(
            writing("failed", lambda _: {"output-0": np.array([np.nan])}),
            INFER,
            headers=self.HEADERS,
        )

        assert shown(lines) == [("churn", "1", "200", "NaN", "version", "id-1", TRACE)]

    def test_all_are_written_where_all_are_asked_for(self, lines: list[logging.LogRecord]) -> None:
        fleet = writing("all")
        post(fleet, INFER, headers=self.HEADERS)
        post(fleet, INVOKE, {"inputs": [[1, 1]]}, headers=self.HEADERS)

        assert shown(lines) == [("churn", "1", "200", "", "", "id-1", TRACE)] * 2

    def test_what_goes_well_is_not_written_where_failures_are_asked_for(
        self, lines: list[logging.LogRecord]
    ) -> None:
        assert post(writing("failed"), INFER).status_code == 200

        assert shown(lines) == []


def test_rpcs_are_written_with_their_metadata_s_id(lines: list[logging.LogRecord]) -> None:
    metadata = {"x-request-id": "id-1", "traceparent": PARENT}

    on_grpc(
        writing("failed", raising),
        lambda client: client.infer(raw_request((1, 1)), metadata=metadata),
    )

    assert shown(lines) == [("churn", "1", "INTERNAL", "PredictionError", "version", "id-1", TRACE)]
