"""CPU seconds of this process and of all below it, also of those that end meanwhile."""

import psutil


class CpuMeter:
    """Adds up what was spent since it was made, as far as it was read in time."""

    def __init__(self) -> None:
        self._before = _by_process()
        self._seen = dict(self._before)

    def read_s(self) -> float:
        """Read all clocks; a process that is gone keeps its last reading."""
        self._seen |= _by_process()
        return sum(cpu_s - self._before.get(key, 0.0) for key, cpu_s in self._seen.items())


def machine_s() -> float:
    """Return the seconds that all cores together were busy since the machine started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _by_process() -> dict[tuple[int, float], float]:
    me = psutil.Process()
    found = {}
    for each in [me, *me.children(recursive=True)]:
        try:
            times = each.cpu_times()
            # With the time of birth, since numbers of processes come back.
            found[each.pid, each.create_time()] = float(times.user + times.system)
        except psutil.NoSuchProcess:
            continue
    return found
