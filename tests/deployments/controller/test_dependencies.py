"""A dependency that is away is said once, and nothing raises for it."""

import asyncio
import logging
from typing import Any

import pytest

from deployments.controller.dependencies import Dependencies

LOGGER = logging.getLogger("deployments.controller.controller")


def away() -> None:
    raise ConnectionError("no route to host\nand more")


def call(dependencies: Dependencies, what: str, function: Any, *args: Any) -> Any:
    return asyncio.run(dependencies.call(what, function, *args))


def test_a_call_that_succeeds_gives_its_result() -> None:
    dependencies = Dependencies(LOGGER)

    assert call(dependencies, "registry", max, 1, 2) == 2
    assert dependencies.reachable == {"registry": True}
    assert dependencies.trouble == {}


def test_one_that_fails_gives_none_and_is_remembered_with_its_first_line() -> None:
    dependencies = Dependencies(LOGGER)

    assert call(dependencies, "registry", away) is None
    assert dependencies.reachable == {"registry": False}
    assert dependencies.trouble == {"registry": "ConnectionError: no route to host"}


def test_going_and_coming_back_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    dependencies = Dependencies(LOGGER)

    for function in (away, away, dict, dict):
        call(dependencies, "registry", function)

    assert [record.getMessage() for record in caplog.records] == [
        "registry cannot be reached, going on without it: ConnectionError: no route to host",
        "registry is back",
    ]
    assert dependencies.trouble == {}
