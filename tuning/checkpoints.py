"""One file for each trial that runs, by which another process goes on where it was cut off."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tuning.crossvalidation import Checkpoint

FOLDER = "checkpoints"
"""In the sweep's folder, which all nodes see."""


@dataclass(slots=True)
class CheckpointFile:
    """A trial's checkpoint. A full disk, or a damaged file, costs time and never the trial."""

    path: Path
    every_s: float
    """Least time between two."""

    params: dict[str, object]
    """Whose checkpoint it is; one of other parameters is none."""

    clock: Callable[[], float] = time.monotonic
    _last_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._last_s = self.clock()

    def load(self) -> Checkpoint | None:
        """Return the last checkpoint; None if there is none that can be used."""
        with suppress(OSError, msgspec.MsgspecError):
            params, found = msgspec.msgpack.decode(
                self.path.read_bytes(), type=tuple[dict[str, object], Checkpoint]
            )
            return found if params == self.params else None
        return None

    def offer(self, make: Callable[[], Checkpoint]) -> None:
        """Replace the checkpoint if it is old enough."""
        now_s = self.clock()
        if now_s - self._last_s < self.every_s:
            return
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self.path.with_suffix(".part")
            unfinished.write_bytes(msgspec.msgpack.encode((self.params, make())))
            unfinished.replace(self.path)
        self._last_s = now_s


def drop_checkpoint(folder: Path, number: int) -> None:
    """Forget the checkpoint of a trial that has ended for good; nets may be large."""
    path = checkpoint_path(folder, number)
    with suppress(OSError):
        for each in (path, path.with_suffix(".part")):
            each.unlink(missing_ok=True)


def checkpoint_path(folder: Path, number: int) -> Path:
    """Say where a trial's checkpoint lies in a sweep's folder."""
    return folder / FOLDER / f"{number:06d}.msgpack"
