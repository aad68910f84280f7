import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.deployments.gateway.hosted import READY, Fleet
from tests.malformed import HEADERS, WORDS, bodies
from tests.properties import examples


@examples(150)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "DELETE"]),
    segments=st.sampled_from(
        [["v2", "models", "churn", "infer"], ["models", "churn", "invocations"]]
    )
    | st.lists(WORDS | st.sampled_from(["\x00", "\ud800"]), max_size=6),
    body=bodies(["x", "y"]),
    headers=HEADERS,
)
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
