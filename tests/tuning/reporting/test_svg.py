import pytest

from tuning.reporting.svg import color, element, linear, seconds, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.91, 0.99, [0.92, 0.94, 0.96, 0.98]),
        (-3.0, 17.0, [0.0, 5.0, 10.0, 15.0]),
        (2.0, 2.0, [2.0]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_scale_of_one_value_is_in_the_middle() -> None:
    assert linear(3.0, 3.0, 10.0, 20.0)(3.0) == 15.0
    assert linear(0.0, 2.0, 10.0, 20.0)(0.5) == 12.5


def test_attributes_cannot_be_left_by_text() -> None:
    assert element("a", tip='"><x>', class_="b") == '<a class="b" data-tip="&quot;&gt;&lt;x&gt;"/>'


def test_colors_run_from_violet_to_yellow_green() -> None:
    assert (color(-1.0), color(0.0), color(1.0)) == ("#440154", "#440154", "#aadc32")


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.04, "0.0 s"), (59.0, "59.0 s"), (61.0, "1 min 01 s"), (7260, "2 h 01 min")],
)
def test_durations(value: float, words: str) -> None:
    assert seconds(value).replace("\u00a0", " ") == words
