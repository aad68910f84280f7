"""How many rows may share a batch: pure.

Where the spec does not say, 32, and more where more than a few such batches wait: what each
batch costs by itself is then shared by more rows, and no request waits any longer, since all
of these had to. A part of the line is left for the next batches, so that gateway and replica
go on working at the same time. Requests of 32 rows, 32 connections, two cores: 2.4 thousand
a second with batches of 32 rows, 7.9 with these (`python -m benchmarks.serving --cases batch32`).

With a latency target, no more than keep to it. A request that has just missed a batch waits
for that one and is answered with the next: so each may take half of the target. How long a
batch of n rows takes is learned as it goes, without a model of the model: the limit doubles
until a batch takes too long, then rises by one row after each full batch in time and falls by
a tenth after each late one.

Source:
    Crankshaw et al., "Clipper: A Low-Latency Online Prediction Serving System", NSDI 2017,
    section 4.3 (additive increase, multiplicative decrease); the doubling is TCP's slow start.
"""

from dataclasses import dataclass

USUAL_ROWS = 32
"""Most rows where no more than a few such batches wait."""

LARGEST_ROWS = 256
"""Most rows however many wait: what a batch costs by itself is nothing to that many rows, and
what a replica needs of memory for them is bounded."""

LEFT_IN_LINE = 2
"""Batches for each slot that the line is divided into."""

BRIEF_S = 0.01
"""Longest usual batch that may grow, seconds. A model that takes its time for each row gains
nothing by it, and deadlines, and clients that leave, would come too late for half of the line."""

SHARE = 0.5
"""Of the target that one batch may take."""

DECREASE = 0.9


@dataclass(slots=True)
class BatchLimit:
    """What the queue of one version has learned about the size of its batches."""

    rows: float = 1.0
    """Most rows that keep to the target, as far as is known."""

    is_known: bool = False
    """Whether a batch was late once; until then the limit doubles."""

    def most_rows(self, max_batch_size: int, target_s: float | None) -> int:
        """Most rows to join now, at least 1.

        Args:
            max_batch_size: What the spec allows, or `suited` does.
            target_s: The model's latency target, seconds; None for none.
        """
        return max_batch_size if target_s is None else min(max_batch_size, int(self.rows))

    def answered(self, rows: int, took_s: float, target_s: float) -> None:
        """Learn how long a batch took.

        Args:
            rows: It had.
            took_s: From sending it to its answer, seconds.
            target_s: As above.
        """
        if took_s > SHARE * target_s:
            # A batch below the limit that was late says that the limit is too high, too.
            late = min(self.rows, float(rows))
            self.rows = max(1.0, late * (DECREASE if self.is_known else 0.5))
            self.is_known = True
        elif rows >= int(self.rows):
            self.rows = self.rows + 1 if self.is_known else self.rows * 2


def suited(waiting_rows: int, slots: int, predict_s: float) -> int:
    """Most rows for a batch whose size nobody has fixed.

    Args:
        waiting_rows: In line.
        slots: Batches that may be in flight at a time, at least 1.
        predict_s: The model's usual time for a batch, seconds.
    """
    if predict_s > BRIEF_S:
        return USUAL_ROWS
    return min(LARGEST_ROWS, max(USUAL_ROWS, waiting_rows // (LEFT_IN_LINE * slots)))
