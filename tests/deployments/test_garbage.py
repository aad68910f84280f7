"""What stays is spared by the garbage collector, and what comes later is not."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from deployments.garbage import spare_what_stays


class Node:
    """Something that refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def thawed() -> Iterator[None]:
    """Ends as it began: with what the tests themselves have frozen, and no more to look through."""
    yield
    gc.freeze()


@pytest.mark.usefixtures("thawed")
def test_what_is_there_is_looked_through_no_more_and_what_comes_later_is_freed() -> None:
    early = Node()
    spare_what_stays()

    assert not any(each is early for each in gc.get_objects())
    late = weakref.ref(Node())
    gc.collect()
    assert late() is None
