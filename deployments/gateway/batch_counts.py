"""What is counted of a batch."""

import time
from collections.abc import Sequence

from deployments.gateway.waiting import Waiting
from deployments.telemetry import ANSWER, BATCH, LAST_ANSWER, PREDICT, QUEUE, Counters, Labels


def count_batch(
    counters: Counters,
    labels: Labels,
    batch: Sequence[Waiting],
    rows: int,
    sent_s: float,
    predict_s: float,
) -> None:
    """Count a batch that was answered.

    Args:
        counters: This gateway's.
        labels: Of the version.
        batch: Its requests, the first one first.
        rows: Theirs together.
        sent_s: When the model began, by the clock of the requests' arrival.
        predict_s: How long it took.
    """
    counters.observe(PREDICT, labels, predict_s)
    counters.observe(BATCH, labels, rows)
    counters.set(LAST_ANSWER, labels, time.time())
    waits = counters.distribution(QUEUE, labels)
    for item in batch:
        waits.observe(sent_s - item.arrived_s)
    count_time(counters, labels, batch, sent_s + predict_s)


def count_time(
    counters: Counters, labels: Labels, batch: Sequence[Waiting], ended_s: float
) -> None:
    """Count how long the first request of a batch had to wait, for the batch as a whole.

    The requests of one batch share its fate, so that they are one observation to who judges.
    """
    first = batch[0]
    if first.sender is not None:  # else it is a copy, for which nobody waits
        counters.observe(ANSWER, labels, ended_s - first.arrived_s)
