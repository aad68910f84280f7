"""How large a model is and how long it takes to answer one row."""

import time
from collections.abc import Callable

import numpy as np

from tuning.data import Rows
from tuning.flavors import Flavor
from tuning.trainers.trainer import Metrics

WARM_UP = 10
"""Answers that are not counted: the first ones fill caches."""

MOST_ANSWERS = 500
LONGEST_S = 2.0
"""What is enough for a 99th percentile, and how long a slow model may take for it."""

FEWEST_ANSWERS = 20


def measure(
    model: object, flavor: Flavor, rows: Rows, clock: Callable[[], float] = time.perf_counter
) -> Metrics:
    """Measure a fitted model, in the process and on the machine of its trial.

    Returns:
        Size of its file in bytes; median and 99th percentile of the time for one row, in
        milliseconds. Other trials on the same machine slow it down.
    """
    times_s: list[float] = []
    began_s = clock()
    for place in range(WARM_UP + MOST_ANSWERS):
        row = rows[place % len(rows) : place % len(rows) + 1]
        started_s = clock()
        flavor.outputs(model, row)
        ended_s = clock()
        if place >= WARM_UP:
            times_s.append(ended_s - started_s)
        if ended_s - began_s > LONGEST_S and len(times_s) >= FEWEST_ANSWERS:
            break
    median_s, tail_s = np.percentile(times_s, [50, 99])
    return {
        "model_bytes": float(flavor.size_bytes(model)),
        "p50_ms": 1000 * float(median_s),
        "p99_ms": 1000 * float(tail_s),
    }
