"""Whoever watches waits for what is away, and for nothing else."""

from collections.abc import Callable

import pytest

from deployments.errors import DependencyError, NotFoundError
from deployments.watching import AWAY_LOOKS, patiently


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def look() -> str:
        if left:
            raise left.pop(0)
        return "seen"

    return look


def test_whoever_watches_waits_for_what_is_away() -> None:
    slept: list[float] = []
    away = [DependencyError("Ray job API", "gone")] * 3

    assert patiently(failing(*away), DependencyError, slept.append) == "seen"
    assert len(slept) == 3


def test_patience_ends() -> None:
    away = [DependencyError("Ray job API", "gone")] * (AWAY_LOOKS + 1)

    with pytest.raises(DependencyError):
        patiently(failing(*away), DependencyError, lambda _: None)


def test_what_is_wrong_is_not_waited_for() -> None:
    with pytest.raises(NotFoundError):
        patiently(failing(NotFoundError("sweep 'x'")), DependencyError, lambda _: None)
