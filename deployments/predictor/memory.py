"""How much memory this process takes, and how to make it take less."""

import ctypes
import ctypes.util
import gc
from collections.abc import Callable

import psutil


class ProcessMemory:
    """The memory of this process. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._trim = _malloc_trim()

    def resident_bytes(self) -> int:
        """What of the machine's memory the process occupies now."""
        return int(self._process.memory_info().rss)

    def give_back(self) -> None:
        """Free what nothing refers to, and return it to the system; takes milliseconds."""
        gc.collect()
        if self._trim is not None:
            # Without this the C library keeps what was freed for its own next use.
            self._trim(0)


def _malloc_trim() -> Callable[[int], int] | None:
    """The C library's function of that name; None where it has none, as outside of glibc."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim
