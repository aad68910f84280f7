"""What stays is spared by the garbage collector, and what comes later is not."""

import gc
import sys
import warnings
import weakref
from collections.abc import Iterator

import pytest

from deployments.interpreter import (
    SWITCH_S,
    ignore_warnings,
    loading,
    spare_what_stays,
    take_short_turns,
)


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


@pytest.mark.usefixtures("thawed")
def test_nothing_is_collected_while_something_is_loaded_and_what_was_loaded_stays() -> None:
    with loading():
        assert not gc.isenabled()
        loaded, scrap = Node(), weakref.ref(Node())
        assert scrap() is not None

    assert gc.isenabled()
    assert scrap() is None
    assert not any(each is loaded for each in gc.get_objects())


@pytest.mark.usefixtures("thawed")
def test_what_cannot_be_loaded_leaves_the_collector_on() -> None:
    with pytest.raises(OSError, match="torn"), loading():
        raise OSError("torn")

    assert gc.isenabled()


def test_threads_take_short_turns() -> None:
    before = sys.getswitchinterval()
    try:
        take_short_turns()

        assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
    finally:
        sys.setswitchinterval(before)


def test_one_filter_is_left_and_no_warning_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="of a package's")
        ignore_warnings()

        # Without any, scikit-learn complains of each tree.
        assert len(warnings.filters) == 1
        warnings.warn("of a package's", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == ""
