"""A dependency that is away is said once, and nothing raises for it."""

import asyncio
from typing import Any

from deployments.controller.dependencies import Dependencies
from tests.lines import kept_lines


def away() -> None:
    raise ConnectionError("no route to host\nand more")


def call(dependencies: Dependencies, what: str, function: Any, *args: Any) -> Any:
    return asyncio.run(dependencies.call(what, function, *args))


def test_a_call_that_succeeds_gives_its_result() -> None:
    dependencies = Dependencies()

    assert call(dependencies, "registry", max, 1, 2) == 2
    assert dependencies.reachable == {"registry": True}
    assert dependencies.trouble("registry") is None


def test_one_that_fails_gives_none_and_is_remembered_with_its_first_line() -> None:
    dependencies = Dependencies()

    assert call(dependencies, "registry", away) is None
    assert dependencies.reachable == {"registry": False}
    assert dependencies.trouble("registry") == "ConnectionError: no route to host"


def test_going_and_coming_back_are_logged_once_each() -> None:
    dependencies = Dependencies()

    with kept_lines("deployments.controller.dependencies") as lines:
        for function in (away, away, dict, dict):
            call(dependencies, "registry", function)

    assert [line.getMessage() for line in lines] == [
        "registry cannot be reached, going on without it: ConnectionError: no route to host",
        "registry is back",
    ]
    assert dependencies.trouble("registry") is None
