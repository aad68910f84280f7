"""The order in which the requests for one version go out, and which of them go together: pure."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from deployments.gateway.joining import join
from deployments.gateway.waiting import Waiting
from deployments.protocols.tensors import Batch


class Line:
    """Requests that wait to be sent, the first to go first."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self.rows = 0
        """Of all that wait."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> Waiting:
        """Who goes next; there must be somebody."""
        return self._waiting[0]

    @property
    def last(self) -> Waiting:
        """Who came last; there must be somebody."""
        return self._waiting[-1]

    def join(self, waiting: Waiting) -> None:
        """Stand at the end."""
        self._waiting.append(waiting)
        self.rows += waiting.request.rows

    def come_back_alone(self, again: Sequence[Waiting]) -> None:
        """Stand at the front, in this order: what was sent, and must be once more, each alone."""
        for item in reversed(again):
            self._come_back([item])

    def come_back_halved(self, again: Sequence[Waiting]) -> None:
        """Stand at the front, in this order: what was sent, and must be once more, in halves."""
        left = [item for item in again if not item.ended]
        middle = len(left) // 2
        self._come_back(left[middle:])
        self._come_back(left[:middle])

    def _come_back(self, together: Sequence[Waiting]) -> None:
        group = object()
        for item in reversed([item for item in together if not item.ended]):
            item.group = group
            item.flight = None
            self._waiting.appendleft(item)
            self.rows += item.request.rows

    def leave(self, waiting: Waiting) -> None:
        """Give up a place; nothing if it has none, as when it is about to be sent."""
        with suppress(ValueError):
            self._waiting.remove(waiting)
            self.rows -= waiting.request.rows

    def take(self, most_rows: int, most_passed: int, hopeless_s: float) -> list[Waiting]:
        """Remove the next batch: the first request and all that fit to it.

        Args:
            most_rows: That may share a batch; a larger request goes alone.
            most_passed: Requests of other shapes that may be overtaken.
            hopeless_s: Who expires before is left out; it will be told so in time.
        """
        batch: list[Waiting] = []
        passed: list[Waiting] = []
        rows = 0
        while self._waiting:
            item = self._waiting.popleft()
            item_rows = item.request.rows
            self.rows -= item_rows
            if item.ended or item.expires_s < hopeless_s:
                continue
            if not batch or _fits(item, batch[0], rows + item_rows, most_rows):
                batch.append(item)
                rows += item_rows
                if rows >= most_rows:
                    break
            else:
                passed.append(item)
                if batch[0].group is not None or len(passed) > most_passed:
                    break
        self._waiting.extendleft(reversed(passed))
        self.rows += sum([item.request.rows for item in passed])
        return batch


def join_waiting(batch: Sequence[Waiting]) -> Batch:
    """Join requests of one shape into what a replica is sent."""
    names = [item.sender.logged_id for item in batch if item.sender is not None]
    return join([item.request for item in batch], b"\n".join(names))


def _fits(item: Waiting, leader: Waiting, rows: int, most_rows: int) -> bool:
    return item.group is leader.group and item.shape == leader.shape and rows <= most_rows
