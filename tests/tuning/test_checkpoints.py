from pathlib import Path
from typing import Any

from tests.tuning.trials import reports
from tuning.checkpoints import CheckpointFile, checkpoint_path
from tuning.crossvalidation import Checkpoint

MADE = Checkpoint(reports(0.5, of=2), b"state")


def file(folder: Path, every_s: float = 0.0, **fields: Any) -> CheckpointFile:
    params = {"x": 0.25, "name": None}
    return CheckpointFile(
        checkpoint_path(folder, 7), every_s, fields.pop("params", params), **fields
    )


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    assert file(tmp_path).load() is None

    file(tmp_path).offer(lambda: MADE)

    assert file(tmp_path).load() == MADE


def test_a_young_checkpoint_is_left(tmp_path: Path) -> None:
    times = iter([100.0, 105.0, 110.0])
    kept = file(tmp_path, every_s=10.0, clock=lambda: next(times))

    kept.offer(lambda: MADE)
    assert kept.load() is None
    kept.offer(lambda: MADE)
    assert kept.load() == MADE


def test_other_parameters_have_no_part_in_it(tmp_path: Path) -> None:
    file(tmp_path).offer(lambda: MADE)

    assert file(tmp_path, params={"x": 0.5}).load() is None


def test_neither_a_damaged_file_nor_a_full_disk_is_the_trials_fault(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 7)
    path.parent.mkdir()
    path.write_bytes(b"half of a")
    assert file(tmp_path).load() is None

    path.with_suffix(".part").symlink_to("/dev/full")
    file(tmp_path).offer(lambda: Checkpoint(MADE.reports, b"x" * 100_000))

    assert file(tmp_path).load() is None
