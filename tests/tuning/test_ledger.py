import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.tuning.trials import trial
from tuning.errors import ConfigError
from tuning.ledger import Ledger, Manifest, Outcome, TrialState, locked

MANIFEST = Manifest(
    "abc",
    {"name": "s", "space": {"x": {"uniform": [0, 1]}}},
    "0" * 64,
    Outcome("m", "3", "champion", 0, 0.9, "run"),
)


def test_what_was_written_is_read_by_number(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    second = trial(1, 0.5, 0.75, params={"x": None, "y": "text", "z": 0.1, "b": True})
    first = trial(0, state=TrialState.FAILED, error="Traceback\nValueError: bad")

    ledger.write_trial(second)
    ledger.write_trial(first)
    ledger.write_manifest(MANIFEST)

    assert Ledger(tmp_path).trials() == [first, second]
    assert Ledger(tmp_path).manifest() == MANIFEST


def test_later_state_replaces_the_earlier(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    running = trial(0, state=TrialState.RUNNING, reports=(), ended_at_s=None)

    ledger.write_trial(running)
    ledger.write_trial(replace(running, state=TrialState.PRUNED))

    assert [each.state for each in ledger.trials()] == [TrialState.PRUNED]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        pytest.param("sweep.json", Ledger.manifest, id="manifest"),
        pytest.param("trials/000000.json", Ledger.trials, id="trial"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(
    tmp_path: Path, name: str, read: Callable[[Ledger], object]
) -> None:
    ledger = Ledger(tmp_path)
    ledger.write_trial(trial(0, 0.5))
    (tmp_path / name).write_text('{"sweep')

    with pytest.raises(ConfigError) as refused:
        read(ledger)

    assert str(refused.value).startswith(f"{tmp_path / name}: damaged: ")
    assert str(refused.value).endswith("; say --restart to run anew")


@pytest.mark.parametrize("damage", ["", '{"number": 1, "par', '{"number": 1}'])
def test_a_damaged_trial_is_set_aside_alone(tmp_path: Path, damage: str) -> None:
    ledger = Ledger(tmp_path)
    for number in range(3):
        ledger.write_trial(trial(number, 0.5))
    path = tmp_path / "trials" / "000001.json"
    path.write_text(damage)

    assert ledger.trial(2) == trial(2, 0.5)
    assert ledger.set_damaged_aside() == [1]
    assert [each.number for each in ledger.trials()] == [0, 2]
    assert path.with_suffix(".damaged").read_text() == damage
    assert ledger.set_damaged_aside() == []


def test_what_has_its_name_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened = []
    fsync, rename = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        happened.append("sync")
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        happened.append("rename" if path.stat().st_size else "rename of nothing")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    Ledger(tmp_path).write_trial(trial(0, 0.5))

    assert happened == ["sync", "rename"]


def test_half_written_file_is_not_a_trial(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write_trial(trial(0, 0.5))
    (tmp_path / "trials" / "000001.part").write_text('{"number": 1, "par')

    assert [each.number for each in ledger.trials()] == [0]


def test_cleared_ledger_is_as_good_as_new(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write_manifest(MANIFEST)
    ledger.write_trial(trial(0, 0.5))

    ledger.clear()

    assert (ledger.manifest(), ledger.trials()) == (None, [])


@pytest.mark.ray  # starts an interpreter
def test_second_process_is_refused_and_told_who_holds_the_sweep(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from tuning.ledger import locked\n"
        f"with locked(pathlib.Path({str(tmp_path)!r}), name='s'):\n"
        "    print(os.getpid(), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        pid = holder.stdout.readline().strip()

        with (
            pytest.raises(ConfigError, match=f"'s': .* running already, in process {pid}"),
            locked(tmp_path, name="s"),
        ):
            pass

        holder.kill()
    # However the holder dies, the kernel lets go.
    with locked(tmp_path, name="s"):
        pass


def test_what_could_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the kernel says it while bytes are written, without a name.
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", Mock(side_effect=full))

    with pytest.raises(OSError, match="trials"):
        Ledger(tmp_path).write_trial(trial(0))


def test_a_lock_goes_with_a_sweep_that_kept_nothing(tmp_path: Path) -> None:
    refused, kept = tmp_path / "sweeps" / "refused", tmp_path / "sweeps" / "kept"

    with locked(kept, name="kept"):
        Ledger(kept).write_priors([])
    with suppress(ConfigError), locked(refused, name="refused"):
        raise ConfigError("warm_start: 'nope'")

    assert list((tmp_path / "sweeps").iterdir()) == [kept]


def test_who_waited_at_a_lock_that_is_gone_takes_the_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "s"

    def remove(file: int, flags: int) -> None:
        monkeypatch.undo()
        fcntl.flock(file, flags)
        shutil.rmtree(folder)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("tuning.ledger.fcntl.flock", remove)
        with locked(folder, name="s"):
            (folder / "kept").touch()
            with pytest.raises(ConfigError, match="running already"), locked(folder, name="s"):
                pass
