"""What is kept of requests that were answered differently."""

import math
from random import Random
from typing import Any

import numpy as np
import pytest

from deployments.traffic.differences import (
    MOST_BYTES,
    MOST_CHARACTERS,
    MOST_VALUES,
    Difference,
    Reservoir,
    Sampled,
    decode_sampled,
    encode_sampled,
    shown_rows,
)


def difference(number: int, text: str = "") -> Difference:
    rows: dict[str, list[Any]] = {"y": [text]}
    return Difference(f"r{number}", "", 0.0, 1, 1, None, rows, rows, rows)


def kept(reservoir: Reservoir) -> list[str]:
    return [each.request_id for each in reservoir.sampled().kept]


def filled(size: int, offered: int, seed: int = 0) -> Reservoir:
    reservoir = Reservoir(Random(seed))
    for number in range(offered):
        reservoir.offer(lambda number=number: difference(number), size)  # type: ignore[misc]
    return reservoir


def test_all_are_kept_while_there_is_room() -> None:
    reservoir = filled(size=3, offered=3)

    assert kept(reservoir) == ["r0", "r1", "r2"]
    assert (reservoir.seen, reservoir.changes) == (3, 3)


def test_everything_offered_is_as_likely_to_stay() -> None:
    counts = dict.fromkeys((f"r{number}" for number in range(10)), 0)
    for seed in range(2_000):
        for name in kept(filled(size=2, offered=10, seed=seed)):
            counts[name] += 1

    # Each is expected 400 times, with a standard deviation of 18.
    assert all(abs(count - 400) < 5 * 18 for count in counts.values())
    assert sum(counts.values()) == 4_000


def test_what_is_not_kept_is_not_made() -> None:
    made = []
    reservoir = Reservoir(Random(1))
    for number in range(1_000):
        reservoir.offer(lambda number=number: made.append(number) or difference(number), 1)  # type: ignore[misc, func-returns-value]

    assert len(made) == reservoir.changes < 50
    assert reservoir.seen == 1_000


def test_a_smaller_size_takes_effect() -> None:
    reservoir = filled(size=5, offered=5)

    reservoir.offer(lambda: difference(9), 2)

    assert len(kept(reservoir)) == 2


def test_a_report_is_bounded_whatever_was_asked() -> None:
    large = Sampled(7, tuple(difference(number, "x" * 50_000) for number in range(100)))

    body = encode_sampled(large)

    assert len(body) <= MOST_BYTES
    found = decode_sampled(body)
    assert found.differing == 7
    assert 0 < len(found.kept) < 100


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param([[1.5, 2.0], [3.0, 4.0]], [[3.0, 4.0]], id="numbers"),
        pytest.param([0, 7], [7], id="a-number"),
        pytest.param(["a", "b"], ["b"], id="a-text"),
        pytest.param([True, False], [False], id="a-truth"),
        pytest.param([0.0, math.nan], ["nan"], id="no-number"),
        pytest.param([[0.0], [-math.inf]], [["-inf"]], id="endless"),
        pytest.param(np.array([b"a", b"\xff"], object), ["\ufffd"], id="bytes"),
        pytest.param(np.array([None, None], object), [None], id="nothing"),
        pytest.param(np.array(["2026-01-01", "2026-01-02"], "M8[D]"), ["2026-01-02"], id="day"),
        pytest.param(["a", "b" * 500], ["b" * MOST_CHARACTERS], id="long-text"),
        pytest.param([[0.0] * 500] * 2, [[0.0] * MOST_VALUES], id="long-row"),
        pytest.param([1.0], [[1.0]], id="not-row-by-row"),
        pytest.param(1.0, [1.0], id="scalar"),
    ],
)
def test_rows_as_json(array: Any, expected: list[Any]) -> None:
    shown = shown_rows({"y": np.asarray(array)}, [1])

    assert shown == {"y": expected}
    assert decode_sampled(encode_sampled(Sampled(1, (difference(1),)))).differing == 1


def test_many_columns_share_what_is_shown() -> None:
    columns = {f"c{number}": np.zeros((3, 5)) for number in range(1_000)}

    shown = shown_rows(columns, [0, 1, 2])

    assert sum(len(row) for rows in shown.values() for row in rows) <= MOST_VALUES
