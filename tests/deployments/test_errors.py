import inspect
import pickle

import pytest

from deployments import errors
from deployments.errors import (
    DeadlineExceededError,
    DependencyError,
    FleetError,
    MethodNotAllowedError,
    ModelNotReadyError,
    OverloadedError,
    PredictionError,
    QueryError,
    ReplicaLostError,
    RequestTooLargeError,
    SlowRequestError,
)

SAMPLES = {
    MethodNotAllowedError: MethodNotAllowedError("PUT", "GET"),
    RequestTooLargeError: RequestTooLargeError(10, 5),
    PredictionError: PredictionError("m", "1", "ValueError: no"),
    ModelNotReadyError: ModelNotReadyError("m", "loading"),
    DependencyError: DependencyError("fleet store", "no route"),
    QueryError: QueryError("Prometheus", "sum(", "was refused: bad_data: unclosed"),
    OverloadedError: OverloadedError("m", 3),
    ReplicaLostError: ReplicaLostError("m", "1"),
    DeadlineExceededError: DeadlineExceededError("m", 30.0),
    SlowRequestError: SlowRequestError(60.0),
}
"""Errors with arguments of their own; the rest take a message."""

CLASSES = [
    item for item in vars(errors).values() if inspect.isclass(item) and issubclass(item, FleetError)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_survives_the_way_between_replicas(kind: type[FleetError]) -> None:
    error = SAMPLES.get(kind) or kind("why: 3 is above 2")

    back = pickle.loads(pickle.dumps(error))  # noqa: S301, our own

    assert (type(back), back.args, str(back)) == (kind, error.args, str(error))
    assert str(error)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        pytest.param(MethodNotAllowedError("PUT", "GET"), ["PUT", "allowed: GET"], id="method"),
        pytest.param(RequestTooLargeError(10, 5), ["10", "5"], id="size-and-limit"),
        pytest.param(PredictionError("m", "1", "no"), ["'m'", "version 1", "no"], id="prediction"),
        pytest.param(DeadlineExceededError("m", 0.5), ["'m'", "0.5 s"], id="deadline"),
        pytest.param(SlowRequestError(0.5), ["0.5 s"], id="slow"),
        pytest.param(OverloadedError("m", 3), ["'m'", "3 requests"], id="limit"),
    ],
)
def test_messages_show_value_and_limit(error: FleetError, shown: list[str]) -> None:
    assert all(part in str(error) for part in shown)
