from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import pytest

from tuning.errors import ConfigError
from tuning.exploring import (
    Segment,
    epochs_of,
    explored,
    extended,
    mutable_dimensions,
    refit_evolved,
    spelled,
)
from tuning.space import Choice, Int, LogUniform, Params, Space, Uniform
from tuning.trainers.trainer import Evolving, Fold, Metrics, Trainer

RATE = LogUniform(loguniform=(0.001, 0.1))
DROP = Uniform(uniform=(0.0, 0.5))
SIZE = Int.model_validate({"int": (10, 50), "step": 10})


class Diary:
    """Its model is the list of rates that it was trained with."""

    metrics = ("accuracy",)
    mutable = ("rate", "size", "kind")

    def __init__(self) -> None:
        self._rates: list[str] = []

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        return self.resume(params, fold, b"")

    def resume(self, params: Params, fold: Fold, state: bytes) -> Iterator[Metrics]:
        self._rates = state.decode().split()
        while True:
            self._rates.append(str(params["rate"]))
            yield {"accuracy": float(len(self._rates))}

    def state(self) -> bytes:
        return " ".join(self._rates).encode()

    def model(self) -> Sequence[str]:
        return self._rates


def many(params: Params, mutable: dict[str, Any], resample: float) -> list[Params]:
    generator = np.random.default_rng(0)
    return [explored(params, mutable, resample=resample, generator=generator) for _ in range(200)]


def test_small_steps_stay_close_and_within_their_bounds() -> None:
    params: Params = {"rate": 0.09, "drop": 0.2, "size": 40, "hidden": 8}

    drawn = many(params, {"rate": RATE, "drop": DROP, "size": SIZE}, resample=0.0)

    assert {each["rate"] for each in drawn} == {0.09 * 0.8, 0.1}
    assert {each["drop"] for each in drawn} == {0.2 * 0.8, 0.25}
    assert {each["size"] for each in drawn} == {30, 50}
    assert {each["hidden"] for each in drawn} == {8}
    assert params == {"rate": 0.09, "drop": 0.2, "size": 40, "hidden": 8}


def test_fresh_draws_come_from_all_of_the_range() -> None:
    rates = [float(str(each["rate"])) for each in many({"rate": 0.01}, {"rate": RATE}, 1.0)]

    assert len(set(rates)) == 200
    assert min(rates) < 0.002
    assert max(rates) > 0.05


def test_epochs_with_equal_parameters_are_one_segment() -> None:
    segments: tuple[Segment, ...] = ()
    for rate in (1.0, 1.0, 2.0, 1.0):
        segments = extended(segments, {"rate": rate})

    assert [each.epochs for each in segments] == [2, 1, 1]
    assert [params["rate"] for params in epochs_of(segments)] == [1.0, 1.0, 2.0, 1.0]
    assert spelled(segments[:2]) == '[{"epochs": 2, "rate": 1.0}, {"epochs": 1, "rate": 2.0}]'


def test_a_fit_repeats_what_the_trial_did() -> None:
    segments = (Segment(2, {"rate": 1}), Segment(1, {"rate": 3}))

    assert refit_evolved(cast("Evolving", Diary()), segments, cast("Fold", None)) == ["1", "1", "3"]


def test_only_ranges_outside_of_branches_that_the_trainer_can_change_are_mutable() -> None:
    space: Space = {"rate": RATE, "drop": DROP, "kind": Choice(choice=(1, 2)), "size": 30}

    assert mutable_dimensions(space, cast("Trainer", Diary())) == {"rate": RATE}


@pytest.mark.parametrize(
    ("trainer", "space", "line"),
    [
        pytest.param(object(), {"rate": RATE}, "the trainer has no `state`", id="cannot-go-on"),
        pytest.param(
            Diary(), {"drop": DROP},
            "space: has none of the ranges that 'pbt' could change while a trial trains, allowed: "
            "rate, size, kind",
            id="nothing-to-change",
        ),
    ],
)  # fmt: skip
def test_what_cannot_evolve_is_one_line(trainer: Any, space: Space, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        mutable_dimensions(space, trainer)
