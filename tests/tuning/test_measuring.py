from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tuning.data import Rows
from tuning.flavors import require_flavor
from tuning.measuring import FEWEST_ANSWERS, LONGEST_S, MOST_ANSWERS, WARM_UP, measure

ROWS = np.arange(12.0).reshape(6, 2)


class Scripted:
    """A flavor whose every answer takes as long as its script says."""

    packages = ()

    def __init__(self, takes_s: Iterator[float]) -> None:
        self._takes_s = takes_s
        self.now_s = 0.0
        self.answers = 0

    def prepare(self) -> None: ...

    def outputs(self, model: Any, rows: Rows) -> NDArray[Any]:
        assert len(rows) == 1
        self.answers += 1
        self.now_s += next(self._takes_s)
        return np.zeros(1)

    def size_bytes(self, model: Any) -> int:
        return 1234

    def log(self, model: Any, **arguments: Any) -> Any: ...

    def load(self, *arguments: Any) -> Any: ...


def test_slow_first_answers_do_not_count() -> None:
    script = Scripted(1.0 if n < WARM_UP else 0.001 for n in range(10_000))

    measured = measure(object(), script, ROWS, clock=lambda: script.now_s)

    # Ten seconds have passed before the first that counts, so the fewest must do.
    assert script.answers == WARM_UP + FEWEST_ANSWERS
    assert measured == pytest.approx({"model_bytes": 1234.0, "p50_ms": 1.0, "p99_ms": 1.0})


def test_the_tail_is_the_slowest_hundredth() -> None:
    script = Scripted(0.5 if n % 50 == 49 else 0.0001 for n in range(10_000))

    measured = measure(object(), script, ROWS, clock=lambda: script.now_s)

    assert measured["p50_ms"] == pytest.approx(0.1)
    assert measured["p99_ms"] == pytest.approx(500.0)
    assert script.answers < WARM_UP + MOST_ANSWERS
    assert script.now_s > LONGEST_S


@pytest.mark.ray  # imports a framework
def test_a_larger_model_has_more_bytes() -> None:
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415, seconds

    flavor = require_flavor("sklearn")
    generator = np.random.default_rng(0)
    rows, labels = generator.normal(size=(200, 3)), generator.integers(0, 2, 200)
    small = DecisionTreeClassifier(max_depth=1).fit(rows, labels)
    large = DecisionTreeClassifier().fit(rows, labels)

    assert flavor.size_bytes(large) > flavor.size_bytes(small) > 1000
