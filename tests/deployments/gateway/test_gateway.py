"""The shell that Serve runs; most of what it holds is tested by itself."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from deployments.gateway.gateway import Gateway
from tests.deployments.gateway.hosted import Fleet
from tests.fakes import make_route, make_table

pytestmark = pytest.mark.ray


class Door:
    """A port that leaves."""

    def __init__(self) -> None:
        self.drained_s: list[float] = []

    async def drain(self, timeout_s: float) -> None:
        self.drained_s.append(timeout_s)


@pytest.mark.parametrize(
    ("fleet_s", "model_s", "drained_s"),
    [
        pytest.param(8.0, 60.0, 60.0, id="a-model-may-take-longer-than-the-fleet-says"),
        pytest.param(8.0, 2.0, 8.0, id="or-not-as-long"),
    ],
)
def test_it_leaves_once_the_slowest_model_may_have_answered(
    fleet_s: float, model_s: float, drained_s: float
) -> None:
    door = Door()

    async def leave() -> None:
        table = make_table(churn=(make_route(),))
        table.models["churn"] = replace(table.models["churn"], deadline_s=model_s)  # type: ignore[index]
        fleet = Fleet(table)
        fleet.apply()
        shipping = asyncio.ensure_future(asyncio.sleep(3600))
        gateway: Any = SimpleNamespace(
            _express=door, _grpc=None, _settings=SimpleNamespace(request_deadline_s=fleet_s),
            _inference=fleet.inference, _shipping=shipping, _ship=None, _traces=None,
        )  # fmt: skip
        await Gateway.__del__(gateway)

    asyncio.run(leave())

    assert door.drained_s == [drained_s]
