import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.deployments.gateway.hosted import READY, Fleet

WORDS = st.sampled_from(
    ["v2", "models", "churn", "versions", "1", "infer", "invocations", "ready", "health", "live",
     "repository", "index", "metrics", "ping", "version", "nobody", "", "ä", "%", "\x00", "\ud800"]
)  # fmt: skip


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
ENVELOPES = st.fixed_dictionaries(
    {
        "inputs": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": st.sampled_from(["x", "y"]),
                    "shape": st.lists(st.integers(-1, 3), max_size=3) | VALUES,
                    "datatype": st.sampled_from(["FP64", "BYTES", "FP16", "BOOL", ""]),
                    "data": VALUES,
                    "parameters": VALUES,
                },
            ),
            max_size=2,
        )
    },
    optional={"id": VALUES, "parameters": VALUES, "outputs": VALUES, "instances": VALUES},
)
BODIES = st.binary(max_size=30) | (ENVELOPES | VALUES).map(
    lambda value: json.dumps(value).encode(errors="replace")
)


@settings(max_examples=150, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "DELETE"]),
    segments=st.sampled_from(
        [["v2", "models", "churn", "infer"], ["models", "churn", "invocations"]]
    )
    | st.lists(WORDS, max_size=6),
    body=BODIES,
    headers=st.dictionaries(
        st.sampled_from(
            ["content-type", "content-encoding", "accept-encoding", "x-routing-key",
             "x-request-id", "inference-header-content-length"]
        ),
        st.sampled_from(["", "application/json", "gzip", "0", "10", "-1", "text/csv", "ä", "*;q"]),
    ),
)  # fmt: skip
def test_no_request_is_answered_with_a_fault_of_ours(
    method: str, segments: list[str], body: bytes, headers: dict[str, str]
) -> None:
    answers: list[Any] = []
    incoming = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answers.append(message)

    async def test() -> None:
        fleet = Fleet()
        fleet._inference.apply(READY)
        scope = {
            "type": "http",
            "method": method,
            "path": "/" + "/".join(segments),
            "headers": [
                (name.encode(), value.encode("latin-1")) for name, value in headers.items()
            ],
        }
        await fleet.app(scope, receive, send)

    asyncio.run(test())

    status = answers[0]["status"]
    assert status < 500 or status == 503
    assert int(dict(answers[0]["headers"])[b"content-length"]) == len(answers[1]["body"])
