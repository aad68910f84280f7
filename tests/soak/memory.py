"""How much more memory a fleet's processes take while something goes on."""

import threading
from typing import Self

import psutil

from tests.integration.hosting import Fleet, pids_of

LOOK_S = 0.25
"""Between two looks, seconds."""

MIB = 1024 * 1024


class MemoryWatch:
    """The growth of gateways, proxy and one model's replica, from entering until leaving."""

    def __init__(self, fleet: Fleet, replica: str) -> None:
        pids = pids_of(fleet, "fleet#Gateway") | pids_of(fleet, replica) | _proxies(fleet)
        self._processes = [psutil.Process(pid) for pid in pids]
        self._before = self._highest = self._now()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    @property
    def growth_mib(self) -> float:
        """The most that all of them together have taken beyond the beginning, MiB."""
        return round((self._highest - self._before) / MIB)

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            self._highest = max(self._highest, self._now())

    def _now(self) -> int:
        return sum(process.memory_info().rss for process in self._processes)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _proxies(fleet: Fleet) -> set[int]:
    """HAProxy's processes of this cluster, told by the folder of their files."""
    session = str(fleet.ray_tmpdir)
    return {
        process.pid
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "haproxy" and session in " ".join(process.info["cmdline"] or [])
    }
