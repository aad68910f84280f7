"""Everything that the training side raises on purpose.

TuningError
├── ConfigError            a file or an argument asks for what cannot be done; nothing was started
├── SweepError             a sweep ran and ended without a version to register
│   └── NotBetterError     it has a winner, which is no better than the champion
├── NotReproducedError     a trial that was run again has other scores
├── WorkerLostError        a process died of those that train a trial together; it is tried again
└── TrackingError          MLflow was away for too long; the same command writes what it missed
"""

MOST_OF_A_LINE = 2000
"""Characters of a line that a person is shown."""


def without_long_values(lines: str) -> str:
    """Cut out the middle of lines that quote more than anybody reads."""
    return "\n".join(map(_without_long_value, lines.split("\n")))


def _without_long_value(line: str) -> str:
    if len(line) <= MOST_OF_A_LINE:
        return line
    start, end = line[: MOST_OF_A_LINE // 2], line[-MOST_OF_A_LINE // 2 :]
    return f"{start} [{len(line) - MOST_OF_A_LINE:,} characters] {end}"


class TuningError(Exception):
    """Base of the training side's own errors."""


class ConfigError(TuningError):
    """A config is refused before any work starts.

    The message is one line for each fault: file, path, value, what is allowed.
    """

    def __str__(self) -> str:
        return without_long_values(super().__str__())


class SweepError(TuningError):
    """A sweep could not produce a winner; nothing was registered."""


class NotBetterError(SweepError):
    """The winner was not registered, since it is no better than the champion; says by how much."""


class NotReproducedError(TuningError):
    """A trial that was run again scored otherwise; the message has both numbers."""


class WorkerLostError(TuningError):
    """A worker of a trial died, and with it the trial's processes."""

    def __init__(self, rank: int | None, size: int, reason: str) -> None:
        super().__init__(rank, size, reason)

    def __str__(self) -> str:
        rank, size, reason = self.args
        which = "one" if rank is None else f"worker {rank}"
        return f"{which} of {size} workers died: {str(reason).strip().partition(chr(10))[0]}"


class TrackingError(TuningError):
    """MLflow was away for too long; the ledger has what it missed."""
