"""Three times as many requests as a model of 20 ms can answer."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from tests.integration.hosting import Fleet
from tests.integration.load import Answer, Connection
from tests.soak.conftest import DEADLINE_S
from tests.soak.memory import MemoryWatch
from tests.soak.scene import Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

SLOW = 1e6
"""From this number on the model takes 20 ms for a batch; four rows a batch are 200 a second."""

PATH = "/v2/models/moody/infer"
CALLERS = 32
MEASURED_S = 8.0

MAX_GROWTH_MIB = 200.0
"""Of the gateways, the proxy and the replicas together."""

KIND = {200: "answered", 429: "turned away", 503: "turned away", 504: "late"}


@dataclass(slots=True)
class Seen:
    """What came of a crowd's requests."""

    kinds: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0

    @property
    def answered_per_s(self) -> float:
        """Right answers a second."""
        return self.kinds["answered"] / self.took_s


@pytest.mark.parametrize(
    ("door", "patience_s"),
    [
        pytest.param("express", DEADLINE_S, id="express"),
        pytest.param("serve", DEADLINE_S, id="serve"),
        # Shorter than the line: what is at its head is always about to expire.
        pytest.param("express", 1.0, id="impatient"),
    ],
)
def test_overload(soak: Soak, fleet: Fleet, door: str, patience_s: float) -> None:
    url = fleet.doors[door]
    with soak.scene(f"3 times too many requests ({door}, {patience_s:g} s)") as scene:
        for _ in scene.rounds():
            peak = asyncio.run(keep_asking(url, CALLERS, MEASURED_S))
            rate_per_s = 3 * peak.answered_per_s
            with MemoryWatch(fleet, "moody--v1#Predictor") as memory:
                seen = asyncio.run(arrive(url, rate_per_s, MEASURED_S, patience_s))
            scene.figures = {
                "peak, answers/s": round(peak.answered_per_s, 1),
                "answers/s at 3 times that": round(seen.answered_per_s, 1),
                **seen.kinds,
            }
            goodput = seen.answered_per_s / peak.answered_per_s
            scene.require("goodput of peak", round(goodput, 3), ">=", 0.9)
            allowed = {"answered", "turned away", *(["late"] if patience_s < DEADLINE_S else [])}
            others = sum(count for kind, count in seen.kinds.items() if kind not in allowed)
            scene.require("other than answered or told when to return", others, "<=", 0)
            scene.require("memory growth, MiB", memory.growth_mib, "<=", MAX_GROWTH_MIB)


async def keep_asking(url: str, callers: int, duration_s: float) -> Seen:
    """Ask again as soon as answered: what there is at most."""
    seen = Seen()
    began_s = time.monotonic()

    async def caller(number: int) -> None:
        connection = Connection(url)
        while time.monotonic() - began_s < duration_s:
            seen.kinds[await ask(connection, number)] += 1
        connection.close()

    await asyncio.gather(*map(caller, range(callers)))
    seen.took_s = time.monotonic() - began_s
    return seen


async def arrive(url: str, rate_per_s: float, duration_s: float, patience_s: float) -> Seen:
    """Ask at a constant rate, each on a connection that is free or new."""
    seen = Seen()
    idle: list[Connection] = []
    asking: set[asyncio.Task[None]] = set()

    async def come(number: int) -> None:
        connection = idle.pop() if idle else Connection(url)
        kind = await ask(connection, number, patience_s)
        if time.monotonic() - began_s <= duration_s:
            seen.kinds[kind] += 1  # later ones find no crowd any more
        idle.append(connection)

    began_s = time.monotonic()
    for number in range(int(rate_per_s * duration_s)):
        await asyncio.sleep(max(0.0, began_s + number / rate_per_s - time.monotonic()))
        task = asyncio.create_task(come(number))
        asking.add(task)
        task.add_done_callback(asking.discard)
    seen.took_s = time.monotonic() - began_s
    await asyncio.gather(*asking)
    for connection in idle:
        connection.close()
    return seen


async def ask(connection: Connection, number: int, patience_s: float = DEADLINE_S) -> str:
    """Ask for one row, and say what came of it."""
    value = SLOW + number
    tensor = {"name": "input-0", "shape": [1, 1], "datatype": "FP64", "data": [value]}
    try:
        body = json.dumps({"inputs": [tensor]}).encode()
        patience = f"X-Request-Timeout-Ms: {1000 * patience_s}\r\n"
        answer = await connection.post(PATH, body, patience)
    except (OSError, EOFError) as error:
        connection.close()
        return type(error).__name__
    return kind_of(answer, 2 * value)


def kind_of(answer: Answer, expected: float) -> str:
    """Say what an answer is."""
    kind = KIND.get(answer.status, str(answer.status))
    if kind == "answered" and json.loads(answer.body)["outputs"][0]["data"] != [expected]:
        return "wrong"
    if kind in {"turned away", "late"} and "retry-after" not in answer.headers:
        return f"{answer.status} without Retry-After"
    return kind
