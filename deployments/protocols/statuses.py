"""Which status, headers and body an error has in which protocol, and who is to blame.

The only module that knows the codes of HTTP and gRPC.

| error                   | REST | gRPC               | MLflow's scoring            | origin  |
|-------------------------|------|--------------------|-----------------------------|---------|
| MalformedRequestError   | 400  | INVALID_ARGUMENT   | 400 BAD_REQUEST             | caller  |
| SignatureMismatchError  | 400  | INVALID_ARGUMENT   | 400 INVALID_PARAMETER_VALUE | caller  |
| ParamsMismatchError     | 400  | INVALID_ARGUMENT   | 400 INVALID_PARAMETER_VALUE | caller  |
| NotFoundError           | 404  | NOT_FOUND          | 404 ENDPOINT_NOT_FOUND      | caller  |
| MethodNotAllowedError   | 405  | UNIMPLEMENTED      | 405 BAD_REQUEST             | caller  |
| ForbiddenError          | 403  | PERMISSION_DENIED  | 403 PERMISSION_DENIED       | caller  |
| ConflictError           | 409  | FAILED_PRECONDITION| 409 RESOURCE_CONFLICT       | caller  |
| SlowRequestError        | 408  | DEADLINE_EXCEEDED  | 408 BAD_REQUEST             | caller  |
| RequestTooLargeError    | 413  | RESOURCE_EXHAUSTED | 413 BAD_REQUEST             | caller  |
| UnsupportedMediaError   | 415  | UNIMPLEMENTED      | 415, plain text             | caller  |
| PredictionError         | 500  | INTERNAL           | 400 BAD_REQUEST             | version |
| OverloadedError         | 503  | RESOURCE_EXHAUSTED | 503 TEMPORARILY_UNAVAILABLE | fleet   |
| ReplicaLostError        | 503  | UNAVAILABLE        | 503 TEMPORARILY_UNAVAILABLE | version |
| DeadlineExceededError   | 504  | DEADLINE_EXCEEDED  | 504 DEADLINE_EXCEEDED       | version |
| other UnavailableErrors | 503  | UNAVAILABLE        | 503 TEMPORARILY_UNAVAILABLE | fleet   |
| anything else           | 500  | INTERNAL           | 500 INTERNAL_ERROR          | fleet   |

Every UnavailableError carries `Retry-After`, every 405 `Allow`, and every 408 ends its connection,
where the rest would come. A deadline that the caller set shorter than the model's may be its own
fault, which the gateway knows. A version whose replicas die or hang under a request is to blame
for it: as the fleet's fault, a canary that hangs would never be aborted.

Source:
    MLflow 3.17, `mlflow.exceptions.ERROR_CODE_TO_HTTP_STATUS`, `mlflow.error_classification`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import orjson

from deployments.errors import (
    ConflictError,
    DeadlineExceededError,
    FleetError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    PredictionError,
    ReplicaLostError,
    RequestError,
    RequestTooLargeError,
    SlowRequestError,
    UnavailableError,
    UnsupportedMediaError,
)
from deployments.protocols.signature import ParamsMismatchError, SignatureMismatchError
from tuning.errors import without_long_values

INTERNAL_MESSAGE = "internal error, see the server's log"
"""What a caller reads of an error that nobody raised on purpose."""


_STATUSES: tuple[tuple[type[FleetError], int], ...] = (
    (NotFoundError, 404),
    (MethodNotAllowedError, 405),
    (ForbiddenError, 403),
    (ConflictError, 409),
    (SlowRequestError, 408),
    (RequestTooLargeError, 413),
    (UnsupportedMediaError, 415),
    (RequestError, 400),
    (DeadlineExceededError, 504),
    (UnavailableError, 503),
)
"""The first that fits counts, so a subclass stands before its base."""


_GRPC_NAMES: tuple[tuple[type[FleetError], str], ...] = (
    (NotFoundError, "NOT_FOUND"),
    (MethodNotAllowedError, "UNIMPLEMENTED"),
    (ForbiddenError, "PERMISSION_DENIED"),
    (ConflictError, "FAILED_PRECONDITION"),
    (SlowRequestError, "DEADLINE_EXCEEDED"),
    (RequestTooLargeError, "RESOURCE_EXHAUSTED"),  # what gRPC itself says of a long message
    (UnsupportedMediaError, "UNIMPLEMENTED"),
    (RequestError, "INVALID_ARGUMENT"),
    (DeadlineExceededError, "DEADLINE_EXCEEDED"),
    (OverloadedError, "RESOURCE_EXHAUSTED"),
    (UnavailableError, "UNAVAILABLE"),
)
"""gRPC's status codes by name, so that this module needs no gRPC."""

GRPC_OK = "OK"
"""The status code of an answer that is no error."""

MAX_DETAILS_BYTES = 2048
"""Longest message in a gRPC status: it travels in a header, and clients take 8 KiB of them."""


_MLFLOW_WORDS: tuple[tuple[type[FleetError], tuple[str, str, str]], ...] = (
    (
        SignatureMismatchError,
        ("INVALID_PARAMETER_VALUE", "KAM01", "SCHEMA_ENFORCEMENT_FAILED"),
    ),
    (ParamsMismatchError, ("INVALID_PARAMETER_VALUE", "KAM00", "INVALID_PARAMETER_VALUE")),
    (NotFoundError, ("ENDPOINT_NOT_FOUND", "KAM00", "RESOURCE_NOT_FOUND")),
    (ForbiddenError, ("PERMISSION_DENIED", "", "")),
    (ConflictError, ("RESOURCE_CONFLICT", "", "")),
    (RequestError, ("BAD_REQUEST", "KAM00", "INVALID_PARAMETER_VALUE")),
    (PredictionError, ("BAD_REQUEST", "KAM00", "INVALID_PARAMETER_VALUE")),
    (DeadlineExceededError, ("DEADLINE_EXCEEDED", "", "")),
    (UnavailableError, ("TEMPORARILY_UNAVAILABLE", "XXM00", "CLIENT_INTERNAL_ERROR")),
)
"""Error code, sqlstate and error class, the first that fits; MLflow has no class for deadlines."""

_MLFLOW_INTERNAL = ("INTERNAL_ERROR", "XXM00", "CLIENT_INTERNAL_ERROR")


class Origin(StrEnum):
    """Whose fault an error is."""

    CALLER = "caller"
    VERSION = "version"
    FLEET = "fleet"


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error as it leaves, ready to be sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def origin(error: BaseException) -> Origin:
    """Tell who is to blame; only `Origin.VERSION` counts against a rollout."""
    match error:
        case RequestError():
            return Origin.CALLER
        case PredictionError() | ReplicaLostError() | DeadlineExceededError():
            return Origin.VERSION
        case _:
            return Origin.FLEET


def status(error: BaseException) -> int:
    """Give the HTTP status of an error, in every protocol but MLflow's."""
    return next((code for kind, code in _STATUSES if isinstance(error, kind)), 500)


def headers(error: BaseException) -> tuple[tuple[str, str], ...]:
    """Give the headers that tell a caller what to do next."""
    match error:
        case MethodNotAllowedError(allowed=allowed):
            return (("Allow", allowed),)
        case SlowRequestError():
            return (("Connection", "close"),)
        case UnavailableError(retry_after_s=delay_s):
            return (("Retry-After", str(math.ceil(delay_s))),)
        case _:
            return ()


def open_inference_error(error: BaseException) -> ErrorResponse:
    """Render an error as the Open Inference Protocol does, `{"error": text}`."""
    body = orjson.dumps({"error": _message(error)})
    return ErrorResponse(
        status(error), (("Content-Type", "application/json"), *headers(error)), body
    )


def grpc_name(error: BaseException) -> str:
    """Give the name of an error's gRPC status code."""
    return next((name for kind, name in _GRPC_NAMES if isinstance(error, kind)), "INTERNAL")


def is_success(code: str) -> bool:
    """Tell whether a status that was counted, HTTP's or gRPC's, is no error's."""
    return code == GRPC_OK or code.startswith("2")


def grpc_details(error: BaseException) -> str:
    """Give the message that stands beside a gRPC status code."""
    return _message(error).encode()[:MAX_DETAILS_BYTES].decode(errors="ignore")


def mlflow_error(error: BaseException) -> ErrorResponse:
    """Render an error as MLflow's scoring server does, without its stack trace."""
    if isinstance(error, UnsupportedMediaError):
        return ErrorResponse(
            415, (("Content-Type", "text/plain; charset=utf-8"),), _message(error).encode()
        )
    # A model's own exception is the caller's bad request there, whoever is to blame.
    code = 400 if isinstance(error, PredictionError) else status(error)
    word, sqlstate, error_class = next(
        (words for kind, words in _MLFLOW_WORDS if isinstance(error, kind)), _MLFLOW_INTERNAL
    )
    fields = {"error_code": word, "message": _message(error)}
    if sqlstate:
        fields |= {"sqlstate": sqlstate, "error_class": error_class}
    return ErrorResponse(
        code, (("Content-Type", "application/json"), *headers(error)), orjson.dumps(fields)
    )


def _message(error: BaseException) -> str:
    if not isinstance(error, FleetError):
        return INTERNAL_MESSAGE
    # A lone surrogate has no UTF-8, and names on the wire may quote one.
    return without_long_values(str(error)).encode(errors="replace").decode()
