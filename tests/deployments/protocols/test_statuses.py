import json

import pytest

from deployments import errors
from deployments.protocols.signature import ParamsMismatchError, SignatureMismatchError
from deployments.protocols.statuses import (
    Origin,
    grpc_details,
    grpc_name,
    headers,
    is_success,
    mlflow_error,
    open_inference_error,
    origin,
    status,
)

MALFORMED = errors.MalformedRequestError("input 'x': shape [2] does not fit, expected [-1]")

ROWS = [
    pytest.param(MALFORMED, 400, 400, "BAD_REQUEST", "caller", id="malformed"),
    pytest.param(
        SignatureMismatchError("x"), 400, 400, "INVALID_PARAMETER_VALUE", "caller", id="signature"
    ),
    pytest.param(
        ParamsMismatchError("x"), 400, 400, "INVALID_PARAMETER_VALUE", "caller", id="params"
    ),
    pytest.param(
        errors.NotFoundError("x"), 404, 404, "ENDPOINT_NOT_FOUND", "caller", id="not-found"
    ),
    pytest.param(
        errors.MethodNotAllowedError("GET", "POST"), 405, 405, "BAD_REQUEST", "caller", id="method"
    ),
    pytest.param(errors.SlowRequestError(60.0), 408, 408, "BAD_REQUEST", "caller", id="slow"),
    pytest.param(
        errors.RequestTooLargeError(2, 1), 413, 413, "BAD_REQUEST", "caller", id="too-large"
    ),
    pytest.param(
        errors.PredictionError("m", "1", "x"), 500, 400, "BAD_REQUEST", "version", id="prediction"
    ),
    pytest.param(
        errors.ReplicaLostError("m", "1"),
        503,
        503,
        "TEMPORARILY_UNAVAILABLE",
        "version",
        id="replica-lost",
    ),
    pytest.param(
        errors.DeadlineExceededError("m", 1.0),
        504,
        504,
        "DEADLINE_EXCEEDED",
        "version",
        id="deadline",
    ),
    pytest.param(
        errors.ModelNotReadyError("m", "x"),
        503,
        503,
        "TEMPORARILY_UNAVAILABLE",
        "fleet",
        id="not-ready",
    ),
    pytest.param(
        errors.OverloadedError("m", 1), 503, 503, "TEMPORARILY_UNAVAILABLE", "fleet", id="overload"
    ),
    pytest.param(errors.FleetError("x"), 500, 500, "INTERNAL_ERROR", "fleet", id="unspecific"),
    pytest.param(RuntimeError("x"), 500, 500, "INTERNAL_ERROR", "fleet", id="a-bug"),
]


@pytest.mark.parametrize(("error", "code", "mlflow_code", "word", "blamed"), ROWS)
def test_every_error_has_its_answer(
    error: Exception, code: int, mlflow_code: int, word: str, blamed: str
) -> None:
    theirs = mlflow_error(error)

    assert (status(error), open_inference_error(error).status) == (code, code)
    assert (theirs.status, json.loads(theirs.body)["error_code"]) == (mlflow_code, word)
    assert origin(error) == Origin(blamed)


@pytest.mark.parametrize(
    ("code", "good"),
    [("200", True), ("OK", True), ("404", False), ("503", False), ("NOT_FOUND", False)],
)
def test_answers_are_told_from_errors_by_what_is_counted(code: str, good: bool) -> None:
    assert is_success(code) is good


def test_open_inference_body_and_headers() -> None:
    response = open_inference_error(errors.ModelNotReadyError("m", "loading"))

    assert json.loads(response.body) == {"error": "model 'm' is not ready: loading"}
    assert dict(response.headers) == {"Content-Type": "application/json", "Retry-After": "1"}


def test_mlflow_body_is_whole_and_without_a_stack_trace() -> None:
    assert json.loads(mlflow_error(MALFORMED).body) == {
        "error_code": "BAD_REQUEST",
        "message": "input 'x': shape [2] does not fit, expected [-1]",
        "sqlstate": "KAM00",
        "error_class": "INVALID_PARAMETER_VALUE",
    }


def test_unsupported_media_is_plain_text_in_mlflow_only() -> None:
    error = errors.UnsupportedMediaError("only UTF-8")

    theirs, ours = mlflow_error(error), open_inference_error(error)

    assert (theirs.status, theirs.body) == (415, b"only UTF-8")
    assert dict(theirs.headers)["Content-Type"].startswith("text/plain")
    assert (ours.status, json.loads(ours.body)) == (415, {"error": "only UTF-8"})


def test_a_refused_method_names_the_right_one() -> None:
    assert headers(errors.MethodNotAllowedError("GET", "POST")) == (("Allow", "POST"),)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        pytest.param(MALFORMED, "INVALID_ARGUMENT", id="malformed"),
        pytest.param(errors.NotFoundError("x"), "NOT_FOUND", id="not-found"),
        pytest.param(errors.RequestTooLargeError(2, 1), "RESOURCE_EXHAUSTED", id="too-large"),
        pytest.param(errors.PredictionError("m", "1", "x"), "INTERNAL", id="prediction"),
        pytest.param(errors.OverloadedError("m", 1), "RESOURCE_EXHAUSTED", id="overload"),
        pytest.param(errors.ModelNotReadyError("m", "x"), "UNAVAILABLE", id="not-ready"),
        pytest.param(errors.DeadlineExceededError("m", 1.0), "DEADLINE_EXCEEDED", id="deadline"),
        pytest.param(RuntimeError("x"), "INTERNAL", id="a-bug"),
    ],
)
def test_every_error_has_its_grpc_status(error: Exception, name: str) -> None:
    assert grpc_name(error) == name


def test_grpc_details_are_cut_between_letters() -> None:
    details = grpc_details(errors.NotFoundError("a" + "ä" * 1500))

    assert details == "a" + "ä" * 1023


def test_a_bug_shows_nothing_of_itself() -> None:
    response = open_inference_error(RuntimeError("password is hunter2"))

    assert json.loads(response.body) == {"error": "internal error, see the server's log"}


def test_an_answer_does_not_repeat_a_megabyte() -> None:
    error = errors.MalformedRequestError(f"unknown input {'x' * 10**6!r}")

    for render in (open_inference_error, mlflow_error):
        assert len(render(error).body) < 3000


def test_a_message_that_no_utf8_can_carry_still_leaves() -> None:
    response = open_inference_error(errors.NotFoundError("model '\ud800'"))

    assert json.loads(response.body) == {"error": "model '?'"}
