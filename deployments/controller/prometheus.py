"""Ask Prometheus for the numbers that threshold rules look at."""

from typing import Any
from urllib.parse import urlencode

import orjson

from deployments.controller.outbound import post, shown
from deployments.errors import QueryError

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
        DependencyError: Nobody answered.
        QueryError: The answer is no number; one line, with Prometheus's own words.
    """
    body = urlencode({"query": promql, "timeout": f"{timeout_s:g}s"}).encode()
    url = f"{address.rstrip('/')}/api/v1/query"
    status, answer = post(WHAT, url, body, FORM, timeout_s)
    try:
        found = orjson.loads(answer)
        if found["status"] == "error":
            words = f"{found['errorType']}: {found['error']}"
            raise QueryError(WHAT, shown(promql), f"was refused: {shown(words)}")
        return _numbers(found["data"], promql)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, IndexError):
        outcome = f"was answered {status}: {shown(answer)}"
        raise QueryError(WHAT, shown(promql), outcome) from None


def _numbers(data: dict[str, Any], promql: str) -> float | list[float]:
    """Read the values.

    Raises:
        QueryError: They are of a kind that no condition can compare.
        ValueError: They are none.
    """
    kind, result = data["resultType"], data["result"]
    match kind:
        case "scalar":
            return float(result[1])
        case "vector":
            return [float(sample["value"][1]) for sample in result]
        case _:
            outcome = f"gave a {kind}, expected a vector or a scalar"
            raise QueryError(WHAT, shown(promql), outcome)
