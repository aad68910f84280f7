"""A sample of what one version is asked, window by window, beside what it was trained on.

A replica answers some ten thousand rows a second, and a thousand tell as much of their
distribution. So a batch is looked at every fifth of a second, which takes some microseconds of its
time; any other takes 0.14. Another thread counts, all samples of some seconds together: one by
one they took 40 µs for 4 features and 530 for 64, which for 500 versions of a pool would be a
quarter of a core. Together that is 85 ms every 5 s.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.monitoring.drift import FeatureDrift, drift_of
from deployments.protocols.tensors import Array
from tuning.inputprofile import Counts, InputProfile, feature_columns

EVERY_S = 0.2
"""Least time between two batches that are looked at, seconds."""

MOST_ROWS = 20
"""Of one batch: many rows of one request may well be much alike."""

MOST_BYTES = 256 * 1024
"""Of one sample; a batch whose rows are larger is not looked at."""

MOST_WAITING = 50
"""Samples that wait to be counted; older ones are dropped."""

WINDOW_ROWS = 1_000
"""Rows that make a window, at least."""

WINDOW_S = 3600.0
"""After which fewer rows are a window, too, seconds."""

LEAST_ROWS = 100
"""Fewer are never one."""

KEPT_S = 2 * WINDOW_S
"""How long a window is told of, seconds, where no other one follows."""


Sample = dict[str, Array]
"""Rows of a batch, by the input's name."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a number of rows in a row looked like."""

    n_rows: int
    features: Mapping[str, FeatureDrift]
    """The farthest first."""

    drifted: list[str]
    """Names of the features that have drifted, in this window and in the one before."""


class InputWatch:
    """Takes samples on one thread, and counts them on another."""

    def __init__(self, profile: InputProfile, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin.

        Args:
            profile: What the version was trained on.
            clock: Seconds; any that does not run backwards.
        """
        self._profile = profile
        self._clock = clock
        self._due_at_s = -float("inf")
        self._samples: deque[Sample] = deque(maxlen=MOST_WAITING)
        self._reference = {feature.name: feature.counts for feature in profile.features}
        self._suspects: frozenset[str] = frozenset()
        self._last: Window | None = None
        self._last_at_s = 0.0
        self._begin()

    @property
    def waiting(self) -> int:
        """Samples that are not counted yet."""
        return len(self._samples)

    def sample(self, inputs: Mapping[str, Array]) -> Sample | None:
        """Copy some rows of a batch, if it is time for that.

        Args:
            inputs: Arrays by name, rows on axis 0.
        """
        now_s = self._clock()
        if now_s < self._due_at_s:
            return None
        self._due_at_s = now_s + EVERY_S
        if len(inputs) > 1:
            inputs = {name: inputs[name] for name in inputs.keys() & self._reference.keys()}
        n_rows = max([len(array) for array in inputs.values()], default=0)
        step = -(-n_rows // MOST_ROWS) or 1
        rows = {name: array[::step] for name, array in inputs.items()}
        if sum(map(_size_bytes, rows.values())) > MOST_BYTES:
            return None
        # Copies: what a batch's arrays lie in is used again.
        return {name: array.copy() for name, array in rows.items()}

    def keep(self, sample: Sample) -> None:
        """Have a sample counted, once its batch is answered."""
        self._samples.append(sample)

    def look(self) -> tuple[Window | None, bool]:
        """Count what was kept since.

        Returns:
            The last whole window, None if there is none or it is too old, and whether it is new.
        """
        for joined in _joined([self._samples.popleft() for _ in range(len(self._samples))]):
            self._count(joined)
        now_s = self._clock()
        n_rows, counts = self._whole(now_s)
        if counts is not None:
            self._end(n_rows, counts)
            self._last_at_s = now_s
            self._begin()
        elif self._last is not None and now_s >= self._last_at_s + KEPT_S:
            self._last, self._suspects = None, frozenset()
        return self._last, counts is not None

    def _begin(self) -> None:
        self._n_rows, self._n_repeated = 0, 0
        self._began_at_s: float | None = None
        self._seen: set[int] = set()
        self._counts = self._no_counts()
        self._repeats = self._no_counts()

    def _no_counts(self) -> dict[str, Counts]:
        return {
            feature.name: np.zeros(len(feature.counts), dtype=np.int64)
            for feature in self._profile.features
        }

    def _whole(self, now_s: float) -> tuple[int, dict[str, Counts] | None]:
        """Rows and counts of a window that is at its end; None for one that is not."""
        is_long = self._began_at_s is not None and now_s >= self._began_at_s + WINDOW_S
        if self._n_rows >= (LEAST_ROWS if is_long else WINDOW_ROWS):
            return self._n_rows, self._counts
        n_rows = self._n_rows + self._n_repeated
        if is_long and n_rows >= WINDOW_ROWS:
            # For an hour hardly anything but the same rows: no probe, but all that is asked.
            return n_rows, {name: self._counts[name] + self._repeats[name] for name in self._counts}
        return 0, None

    def _end(self, n_rows: int, counts: Mapping[str, Counts]) -> None:
        features = drift_of(self._reference, {name: c.tolist() for name, c in counts.items()})
        suspects = [name for name, drift in features.items() if drift.has_drifted]
        drifted = [name for name in suspects if name in self._suspects]
        self._suspects = frozenset(suspects)
        self._last = Window(n_rows, features, drifted)

    def _count(self, sample: Sample) -> None:
        columns = feature_columns(self._profile, sample)
        if columns is None:
            return
        if self._began_at_s is None:
            self._began_at_s = self._clock()
        is_new = self._new_rows(columns) if self._profile.all_differ else None
        if is_new is None:
            self._n_rows += self._add(self._counts, columns)
        else:
            self._n_rows += self._add(self._counts, _chosen(columns, is_new))
            self._n_repeated += self._add(self._repeats, _chosen(columns, ~is_new))

    def _add(self, counts: Mapping[str, Counts], columns: Mapping[str, Array]) -> int:
        n_rows = max(map(len, columns.values()))
        for feature in self._profile.features:
            values = columns.get(feature.name)
            if values is None:
                counts[feature.name][-1] += n_rows
                continue
            with suppress(ValueError, TypeError):  # texts where numbers belong
                counts[feature.name][:] += feature.count(values)
        return n_rows

    def _new_rows(self, columns: Mapping[str, Array]) -> NDArray[np.bool_]:
        """Which rows were not there before in this window."""
        is_new = []
        for row in zip(*map(_comparable, columns.values()), strict=True):
            n_seen = len(self._seen)
            self._seen.add(hash(row))
            is_new.append(len(self._seen) > n_seen)
        return np.array(is_new, dtype=bool)


def _chosen(columns: Mapping[str, Array], rows: NDArray[np.bool_]) -> dict[str, Array]:
    return {name: column[rows] for name, column in columns.items()}


def _joined(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Put samples that have the same inputs one behind the other."""
    alike = defaultdict(list)
    for sample in samples:
        alike[tuple((name, each.dtype, each.shape[1:]) for name, each in sample.items())].append(
            sample
        )
    for group in alike.values():
        yield {name: np.concatenate([sample[name] for sample in group]) for name in group[0]}


def _comparable(column: Array) -> list[Any]:
    """Values that are equal where the column's are: NaN equals nothing, itself not either."""
    if column.dtype.kind in "fmM" and column.itemsize <= 8:
        return list(column.view(f"u{column.itemsize}").tolist())
    values = column.tolist()
    return list(map(str, values)) if column.dtype.kind == "O" else list(values)


def _size_bytes(array: Array) -> int:
    size_bytes = array.nbytes
    if array.dtype.kind == "O":
        texts = [each for each in array.flat if isinstance(each, str | bytes)]
        size_bytes += sum(map(len, texts))
    return size_bytes
