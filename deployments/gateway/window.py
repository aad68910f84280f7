"""How long a batch should wait for company when a replica is free: pure.

Clients that wait for their answers come back together, a moment after a batch was answered.
Sent at once, the first of them would occupy the replica alone while the rest gather, and
every second batch would be nearly empty. So the first waits, for a fraction of what a call
takes, until as many are back as were there lately. A lone client never waits: nobody else
is expected.

Measured beside a gateway that never waits, 32 connections on two cores through Serve's port:
a forest of 100 trees 1.50 times the requests per second, a linear model 1.10 times; with one
connection the same (`python -m benchmarks.serving --targets rayfleet rayfleet-0`).

Where a call costs little beside the predicting, over a connection of our own, a quick model
is another case: its answer is there before the gateway has written the last batch's answers,
and waiting leaves both of them idle. There the next batch goes while one is under way, and
nobody waits for longer than the loop's next turn, which reads what has arrived meanwhile:
1.1 to 1.2 times the requests per second with 32 connections, for batches are larger and the
replica's share of them is smaller by a third (logistic regression in a pipeline, 0.5 ms).
"""

import math
from dataclasses import dataclass

FRACTION = 0.25
"""Of the time that a call takes. Waiting longer costs more than a fuller batch saves."""

SHORTEST_S = 0.0001
"""A shorter window gathers nobody: requests of one turn of the loop share a batch anyway."""

QUICK_S = 0.002
"""Writing a full batch's answers and reading the next requests takes the gateway as long."""

COMPANY = 1.5
"""A crowd, as it is forgotten, that still counts as more than one client."""

SMOOTHING = 0.2
"""Weight of the newest call in the moving average."""

FORGETTING = 0.95
"""What a batch leaves of the crowd remembered before it: clients that left are forgotten."""


@dataclass(slots=True)
class AdaptiveWindow:
    """What the queue of one version has learned about its clients and its replicas."""

    typical_s: float = 0.0
    """Moving average of the time from sending a batch to its answer."""

    predict_s: float = math.inf
    """Moving average of the model's own time for a batch; infinite before the first."""

    crowd: float = 1.0
    """Requests that were there at the same time, lately."""

    def arrived(self, depth: int) -> None:
        """Learn that a request is one of so many that wait or are in flight."""
        self.crowd = max(self.crowd, float(depth))

    def sent(self) -> None:
        """Learn that a batch went out."""
        self.crowd = max(1.0, self.crowd * FORGETTING)

    @property
    def expects_company(self) -> bool:
        """Whether several requests were there at the same time, lately."""
        return self.crowd >= COMPANY

    @property
    def is_quick(self) -> bool:
        """Whether the model answers sooner than the gateway can turn to the next batch."""
        return self.predict_s < QUICK_S

    def answered(self, took_s: float, predict_s: float) -> None:
        """Learn how long a batch took, on the whole and in the model."""
        if self.typical_s == 0.0:
            self.typical_s, self.predict_s = took_s, predict_s
        self.typical_s += SMOOTHING * (took_s - self.typical_s)
        self.predict_s += SMOOTHING * (predict_s - self.predict_s)

    def length_s(self, waiting: int, in_flight: int, slots: int) -> float:
        """Longest time to hold back a replica that is free, counted from when it could have gone.

        Args:
            waiting: Requests in line.
            in_flight: Requests in batches on their way.
            slots: Batches that may be in flight at a time.
        """
        expected = round(self.crowd)
        if waiting >= math.ceil(expected / slots) or waiting + in_flight >= expected:
            return 0.0
        window_s = FRACTION * self.typical_s
        return window_s if window_s >= SHORTEST_S else 0.0
