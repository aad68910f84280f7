"""How much memory large bodies may take in one gateway at a time, whatever carries them.

Connections and queues are bounded by number, and a body may have megabytes: a thousand of them
fit every other bound, and no machine. Small bodies are not counted, they pay nothing for this.
"""

import threading

from deployments.errors import UnavailableError

SMALL_BYTES = 64 * 1024
"""A body that is no longer is not counted."""

LARGEST_AT_ONCE = 8
"""Bodies of the largest size that a gateway holds at a time."""

LEAST_BYTES = 64 * 1024 * 1024
"""Of a budget."""


class ByteBudget:
    """What all large bodies of one gateway may take together."""

    def __init__(self, max_body_bytes: int) -> None:
        """Begin with all of it.

        Args:
            max_body_bytes: The largest body's.
        """
        self.limit_bytes = max(LEAST_BYTES, LARGEST_AT_ONCE * max_body_bytes)
        self.held_bytes = 0
        # Bodies are dropped by threads, too; and by the garbage collector, amid anything.
        self.lock = threading.RLock()

    def hold(self, size_bytes: int = 0) -> "Hold":
        """Begin a body.

        Raises:
            UnavailableError: See `Hold.grow`.
        """
        hold = Hold(self)
        hold.grow(size_bytes)
        return hold


class Hold:
    """One body's part of a budget; given back when it is released or nobody has it any more."""

    __slots__ = ("_budget", "_size_bytes")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._size_bytes = 0

    def grow(self, size_bytes: int) -> None:
        """Count that the body has so many bytes, or will have.

        Raises:
            UnavailableError: There is no room for it now.
        """
        if size_bytes <= max(SMALL_BYTES, self._size_bytes):
            return
        budget = self._budget
        with budget.lock:
            held_bytes = budget.held_bytes + size_bytes - self._size_bytes
            if held_bytes > budget.limit_bytes:
                raise UnavailableError(
                    f"this gateway has {budget.held_bytes} bytes of large bodies in work,"
                    f" at most {budget.limit_bytes} may be"
                )
            budget.held_bytes, self._size_bytes = held_bytes, size_bytes

    def release(self) -> None:
        """Give it back; more than once does no harm."""
        if self._size_bytes:
            with self._budget.lock:
                self._budget.held_bytes -= self._size_bytes
                self._size_bytes = 0

    def __del__(self) -> None:
        self.release()
