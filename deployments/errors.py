"""Everything that the serving side raises on purpose.

FleetError
├── ConfigError                       the spec must change; nothing was started
│   └── AwayError                     or what it names must answer first
├── RequestError                      the caller's fault; never retried, no mark on a version
│   ├── MalformedRequestError
│   ├── NotFoundError
│   ├── MethodNotAllowedError
│   ├── ForbiddenError
│   ├── ConflictError
│   ├── RequestTooLargeError
│   ├── SlowRequestError
│   └── UnsupportedMediaError
├── PredictionError                   the version's own failure; counts against it
└── UnavailableError                  ours or a dependency's; try again after `retry_after_s`
    ├── ModelNotReadyError
    ├── OverloadedError
    ├── DependencyError
    │   └── QueryError
    ├── ReplicaLostError
    └── DeadlineExceededError

Arguments are positional and all handed to `super().__init__`, since on Ray 2.60 an error
with keyword-only arguments crosses replicas as `UnserializableException`.
"""

from tuning.errors import without_long_values


class FleetError(Exception):
    """Base of the serving side's own errors."""


class ConfigError(FleetError):
    """A fleet config is refused; the message has one line for each fault."""

    def __str__(self) -> str:
        return without_long_values(super().__str__())


class AwayError(ConfigError):
    """What a config names does not answer; for the rest the config is sound, as far as one sees."""


class RequestError(FleetError):
    """The request cannot be answered as it was sent."""


class MalformedRequestError(RequestError):
    """A body, header, shape or datatype is wrong; the message names which and what is expected."""


class NotFoundError(RequestError):
    """No such model, version or path."""


class MethodNotAllowedError(RequestError):
    """The path exists, but not for this method."""

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(method, allowed)

    @property
    def allowed(self) -> str:
        """Methods that the path answers, as the `Allow` header lists them."""
        return str(self.args[1])

    def __str__(self) -> str:
        return f"method {self.args[0]} is not allowed here, allowed: {self.allowed}"


class ForbiddenError(RequestError):
    """The fleet's config does not allow this to anybody."""


class ConflictError(RequestError):
    """What is asked for contradicts what there is; the message says who owns that."""


class RequestTooLargeError(RequestError):
    """The body is larger than the gateway accepts."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(size_bytes, limit_bytes)

    def __str__(self) -> str:
        size_bytes, limit_bytes = self.args
        return f"body has at least {size_bytes} bytes, at most {limit_bytes} are accepted"


class SlowRequestError(RequestError):
    """The request did not arrive whole in time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)

    def __str__(self) -> str:
        (timeout_s,) = self.args
        return f"the request did not arrive whole within {timeout_s:g} s"


class UnsupportedMediaError(RequestError):
    """The content type or content encoding is not one that we read."""


class PredictionError(FleetError):
    """The version raised, or answered something that cannot be sent."""

    def __init__(self, model: str, version: str, reason: str) -> None:
        super().__init__(model, version, reason)

    def __str__(self) -> str:
        model, version, reason = self.args
        return f"model {model!r} version {version} failed: {reason}"


class UnavailableError(FleetError):
    """Not now; the same request may succeed later."""

    retry_after_s: float = 1.0


class ModelNotReadyError(UnavailableError):
    """The model is known, but no version of it can answer yet."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)

    @property
    def reason(self) -> str:
        """Why."""
        return str(self.args[1])

    def __str__(self) -> str:
        return f"model {self.args[0]!r} is not ready: {self.reason}"


class OverloadedError(UnavailableError):
    """A bounded queue is full."""

    def __init__(self, model: str, limit: int) -> None:
        super().__init__(model, limit)

    def __str__(self) -> str:
        model, limit = self.args
        return f"model {model!r} has {limit} requests waiting, the most that may wait"


class DependencyError(UnavailableError):
    """A service that we depend on cannot be reached."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)

    def __str__(self) -> str:
        what, reason = self.args
        return f"the {what} cannot be reached: {reason}"


class QueryError(DependencyError):
    """A service was reached, and its answer to a query is no number."""

    def __init__(self, what: str, query: str, outcome: str) -> None:
        FleetError.__init__(self, what, query, outcome)

    def __str__(self) -> str:
        what, query, outcome = self.args
        return f"{what}: query {query!r} {outcome}"


class ReplicaLostError(UnavailableError):
    """The replica died under this request, and so did the one that it was retried on."""

    def __init__(self, model: str, version: str) -> None:
        super().__init__(model, version)

    def __str__(self) -> str:
        model, version = self.args
        return f"model {model!r} version {version} lost its replica twice during this request"


class DeadlineExceededError(UnavailableError):
    """No answer within the request's deadline."""

    def __init__(self, model: str, deadline_s: float) -> None:
        super().__init__(model, deadline_s)

    def __str__(self) -> str:
        model, deadline_s = self.args
        return f"model {model!r} did not answer within {round(deadline_s, 3):g} s"
