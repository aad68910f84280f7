"""A desk, where people ask for rollouts, beside a controller that carries them out."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployments.controller.hosted import HostedModels
from deployments.controller.rolloutdesk import Desk
from deployments.controller.rolloutviews import CommandName, RolloutView, StartRequest
from deployments.schema import ModelSpec
from tests.deployments.controller.rolloutworld import FakeRegistry, World

STEPS = {"steps": [{"setWeight": 20}, {"pause": {}}], "keep_previous_s": 5}
SPECS = {
    "m": ModelSpec(),
    "split": ModelSpec(traffic={"champion": 90, "challenger": 10}),
    "orphan": ModelSpec(),
}


class Office:
    """A desk beside a controller that hosts model `m`, champion 1."""

    def __init__(self, database: Path, specs: Mapping[str, ModelSpec] = SPECS) -> None:
        registry = FakeRegistry(m={"champion": "1"}, split={"champion": "1"}, orphan={})
        self.world = World(database, specs, registry)
        hosted = HostedModels(self.world.store)
        hosted.configure(dict(specs))
        self.woken = 0
        anything: Any = registry
        self.desk = Desk(
            hosted, anything, self.world.rows, lambda: self.world.cluster().table, self._wake,
            lambda: self.world.now_s,
        )  # fmt: skip
        self.world.run(most=3)

    def _wake(self) -> None:
        self.woken += 1

    def start(self, model: str = "m", **request: Any) -> RolloutView:
        return asyncio.run(self.desk.start(model, StartRequest(**request), "ada"))

    def command(self, command: CommandName, reason: str = "") -> RolloutView:
        return asyncio.run(self.desk.command("m", command, reason, "ada"))

    def rollback(self, version: str | None = None) -> RolloutView:
        return asyncio.run(self.desk.rollback("m", version, "it is bad", "ada"))

    def current(self) -> RolloutView:
        return asyncio.run(self.desk.current("m"))

    def promoted(self, version: str) -> None:
        self.start(version=version, rollout=STEPS)
        self.world.run(most=3)
        self.command("promote")
        self.world.run(most=3)


@contextmanager
def open_office(database: Path, specs: Mapping[str, ModelSpec] = SPECS) -> Iterator[Office]:
    """Open one, and close its store."""
    office = Office(database, specs)
    try:
        yield office
    finally:
        office.world.store.close()
