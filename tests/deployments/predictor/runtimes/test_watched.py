"""A model with a profile is watched, and any other answers as it always did."""

from pathlib import Path

import numpy as np
import pytest

from deployments.predictor.driftgauges import DriftGauges
from deployments.predictor.inputwatch import MOST_ROWS, InputWatch
from deployments.predictor.runtimes.watched import watched
from deployments.protocols.tensors import Batch, Layout, Outputs
from tests.fakes import sums
from tests.lines import kept_lines
from tuning.inputprofile import PROFILE_FILE, make_profile, write_profile

ROWS = np.random.default_rng(3).random((200, 2))


class Summing:
    """Answers sums, or raises."""

    def predict(self, batch: Batch) -> Outputs:
        if not np.isfinite(batch.inputs["x"]).all():
            raise ValueError("no number")
        return Outputs(sums(batch))


class Kept(DriftGauges):
    """Remembers what it was to look at, and never looks."""

    def __init__(self) -> None:
        self.added: list[tuple[InputWatch, str, str]] = []

    def add(self, watch: InputWatch, model: str, version: str) -> None:
        self.added.append((watch, model, version))


def batch(rows: np.ndarray) -> Batch:
    return Batch({"x": rows}, {}, Layout.TENSOR)


def with_profile(folder: Path) -> None:
    profile = make_profile(ROWS, ["a", "b"])
    assert profile is not None
    write_profile(profile, folder)


def test_what_was_answered_is_shown_to_the_watch(tmp_path: Path) -> None:
    with_profile(tmp_path)
    kept = Kept()
    runtime = watched(Summing(), str(tmp_path), "wine", "3", kept)
    ((watch, *whose),) = kept.added

    answered = runtime.predict(batch(ROWS[:MOST_ROWS]))

    assert whose == ["wine", "3"]
    assert answered.arrays["output-0"].tolist() == ROWS[:MOST_ROWS].sum(axis=1).tolist()
    assert watch.waiting == 1


def test_what_a_model_raises_over_is_not_counted_and_raised_on(tmp_path: Path) -> None:
    with_profile(tmp_path)
    kept = Kept()
    runtime = watched(Summing(), str(tmp_path), "wine", "3", kept)

    with pytest.raises(ValueError, match="no number"):
        runtime.predict(batch(np.array([[1.0, np.inf]])))

    ((watch, *_),) = kept.added
    assert watch.waiting == 0


def test_a_model_without_a_profile_is_left_alone(tmp_path: Path) -> None:
    kept, plain = Kept(), Summing()

    assert watched(plain, str(tmp_path), "wine", "3", kept) is plain
    assert kept.added == []


@pytest.mark.parametrize("content", ["{", '{"x":' + "[" * 200_000], ids=["half", "deep"])
def test_a_broken_profile_keeps_no_model_from_answering(tmp_path: Path, content: str) -> None:
    (tmp_path / PROFILE_FILE).write_text(content)
    kept, plain = Kept(), Summing()

    with kept_lines("deployments.predictor.runtimes.watched") as lines:
        assert watched(plain, str(tmp_path), "wine", "3", kept) is plain

    (line,) = lines
    assert "inputs of wine version 3 are not watched" in line.getMessage()
    assert PROFILE_FILE in line.getMessage()
