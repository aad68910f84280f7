"""The record by which a sweep resumes: one small file for each trial.

Ray Tune can restore an experiment by itself, but from a snapshot that lags behind: a
killed driver would repeat trials that had finished. Here every trial is written when it
starts and when it ends, by a rename, so a file is either whole or not there. MLflow is
a projection of these files and can be brought up to date from them at any time.

A file is on the disk before it gets its name, or a loss of power could leave the name alone: 1 ms.
That the name is there, too, would take another 5 ms, twice for each trial. Without, a loss of
power may cost the last trials' ends, or their beginnings, and the next process runs them again.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from tuning.crossvalidation import Report
from tuning.errors import ConfigError
from tuning.exploring import Segment
from tuning.space import Params

Record = TypeVar("Record")


class TrialState(StrEnum):
    """Where a trial stands. All but `running` are final."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration and what became of it."""

    number: int
    """Position in the sweep, from 0; also its identity across resumes."""

    params: Params
    """What the trainer was given."""

    draws: dict[str, Any]
    """The same as Optuna drew it, by qualified names; empty for a space of constants."""

    started_at_s: float
    """Unix time."""

    known: int = 0
    """Trials that had ended when this one was drawn; by it a resume repeats the search."""

    state: TrialState = TrialState.RUNNING

    ended_at_s: float | None = None
    """Unix time; None while it runs."""

    reports: tuple[Report, ...] = ()
    """Kept once the trial has ended."""

    error: str | None = None
    """Traceback of a failed trial."""

    lost: bool = False
    """Whether it failed because its process was lost too often: a resume runs it again."""

    segments: tuple[Segment, ...] = ()
    """With `pbt`: the parameters of its epochs, and of the trials that it copied."""


@dataclass(frozen=True, slots=True)
class Prior:
    """A finished trial of an earlier sweep, as far as a search can learn from it."""

    draws: dict[str, Any]
    """Its parameters as this sweep's space would have drawn them."""

    values: list[float]
    """What it was worth, by objective."""

    violations: list[float]
    """How far it was beyond each constraint."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a finished sweep ended: what its version was and became."""

    model: str
    version: str
    alias: str
    trial: int
    holdout_score: float
    sweep_run_id: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a sweep was when it began."""

    sweep_id: str
    """Unique for each start from nothing; MLflow's parent run is found by it."""

    spec: dict[str, Any]
    """The fields that must not change before it is finished."""

    data_sha256: str

    outcome: Outcome | None = None
    """None while unfinished."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A sweep's folder. One process at a time may write; `locked` sees to that."""

    folder: Path
    _encoder: msgspec.json.Encoder = field(default_factory=msgspec.json.Encoder)

    def manifest(self) -> Manifest | None:
        """Return what the sweep was when it began; None if it never did.

        Raises:
            ConfigError: The file is damaged.
        """
        path = self.folder / "sweep.json"
        return _read(path, Manifest) if path.is_file() else None

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        self._write(self.folder / "sweep.json", manifest)

    def priors(self) -> list[Prior]:
        """Return the results that the sweep began with; empty for most."""
        path = self.folder / "priors.json"
        return _read(path, list[Prior]) if path.is_file() else []

    def write_priors(self, priors: list[Prior]) -> None:
        """Keep the results that the sweep begins with."""
        self._write(self.folder / "priors.json", priors)

    def trials(self) -> list[Trial]:
        """Return all trials by number."""
        return [_read(path, Trial) for path in sorted(self.folder.glob("trials/*.json"))]

    def trial(self, number: int) -> Trial:
        """Return one trial, whatever became of the others.

        Raises:
            ConfigError: Its file is damaged.
        """
        return _read(self._path(number), Trial)

    def write_trial(self, trial: Trial) -> None:
        """Add or replace a trial."""
        self._write(self._path(trial.number), trial)

    def set_damaged_aside(self) -> list[int]:
        """Forget trials whose files cannot be read, keep these under another name.

        Returns:
            Their numbers.
        """
        found = []
        for path in sorted(self.folder.glob("trials/*.json")):
            try:
                _read(path, Trial)
            except ConfigError:
                path.replace(path.with_suffix(".damaged"))
                found.append(int(path.stem))
        return found

    def clear(self) -> None:
        """Forget the sweep; MLflow keeps what it knows of it."""
        # The manifest goes first: without it, trials left by a crash here mean nothing.
        (self.folder / "sweep.json").unlink(missing_ok=True)
        for name in ("ending", "priors"):
            (self.folder / f"{name}.json").unlink(missing_ok=True)
        for name in ("trials", "checkpoints"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:06d}.json"

    def _write(self, path: Path, value: Any) -> None:
        unfinished = path.with_suffix(".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                file.write(self._encoder.encode(value))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            # One that comes while bytes are written names no file.
            raise OSError(error.errno, error.strerror, str(path)) from None


def _read(path: Path, kind: type[Record]) -> Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: damaged: {error}; say --restart to run anew") from None


@contextmanager
def locked(folder: Path, *, name: str) -> Iterator[None]:
    """Hold a sweep for this process.

    The kernel drops the lock when its holder dies, however it dies.

    Raises:
        ConfigError: Another process holds it.
    """
    path = folder / "lock"
    with _hold(path, name) as file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            _remove_if_alone(path)


def _hold(path: Path, name: str) -> IO[str]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another process removes what it does not need
            file = path.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with file:
                    file.seek(0)
                    holder = file.read().strip() or "unknown"
                raise ConfigError(
                    f"name: {name!r}: this sweep is running already, in process {holder}"
                ) from None
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()


def _remove_if_alone(lock: Path) -> None:
    """Leave nothing of a sweep that was refused before it had anything to keep."""
    with suppress(OSError):  # other sweeps are there, or somebody removed this one
        if list(lock.parent.iterdir()) == [lock]:
            lock.unlink()
            lock.parent.rmdir()
            lock.parent.parent.rmdir()
