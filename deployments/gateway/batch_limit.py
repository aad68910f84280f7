"""How many rows may share a batch so that a model keeps to its latency target: pure.

A request that has just missed a batch waits for that one and is answered with the next: so
each may take half of the target. How long a batch of n rows takes is learned as it goes,
without a model of the model: the limit doubles until a batch takes too long, then rises by
one row after each full batch in time and falls by a tenth after each late one.

Source:
    Crankshaw et al., "Clipper: A Low-Latency Online Prediction Serving System", NSDI 2017,
    section 4.3 (additive increase, multiplicative decrease); the doubling is TCP's slow start.
"""

from dataclasses import dataclass

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
            max_batch_size: What the spec allows.
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
