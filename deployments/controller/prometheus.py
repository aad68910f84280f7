"""Ask Prometheus for the numbers that threshold rules look at."""

from typing import Any
from urllib.parse import urlencode

import orjson

from deployments.controller.outbound import post, shown
from deployments.errors import DependencyError

QUERY_TIMEOUT_S = 10.0

WHAT = "Prometheus"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def query(address: str, promql: str, timeout_s: float = QUERY_TIMEOUT_S) -> float | list[float]:
    """Evaluate an instant query; blocks.

    Args:
        address: Of the server, with the prefix of its paths if it has one.
        promql: The query.
        timeout_s: Longest time for all of it, seconds.

    Returns:
        A scalar, or the values of a vector in Prometheus's order; a vector may be empty.

    Raises:
        DependencyError: One line, with Prometheus's own words where it had some.
    """
    body = urlencode({"query": promql, "timeout": f"{timeout_s:g}s"}).encode()
    url = f"{address.rstrip('/')}/api/v1/query"
    status, answer = post(WHAT, url, body, FORM, timeout_s)
    try:
        found = orjson.loads(answer)
        if found["status"] == "error":
            raise DependencyError(WHAT, shown(f"{found['errorType']}: {found['error']}"))
        return _numbers(found["data"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, IndexError):
        raise DependencyError(WHAT, f"answered {status}: {shown(answer)}") from None


def _numbers(data: dict[str, Any]) -> float | list[float]:
    """Read the values.

    Raises:
        DependencyError: They are of a kind that no condition can compare.
        ValueError: They are none.
    """
    kind, result = data["resultType"], data["result"]
    match kind:
        case "scalar":
            return float(result[1])
        case "vector":
            return [float(sample["value"][1]) for sample in result]
        case _:
            raise DependencyError(WHAT, f"answered a {kind}, expected a vector or a scalar")
