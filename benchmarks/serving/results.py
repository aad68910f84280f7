"""Everything that a run has measured, and how figures are looked up and compared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.serving.readings import Reading, middle
from benchmarks.serving.targets import TARGETS, Role


@dataclass(frozen=True, slots=True)
class Measurement:
    """One target in one case under one load."""

    case: str
    target: str

    connections: int | None
    """That wait for their answers; None for constant arrivals at 70 % of the target's peak."""

    readings: tuple[Reading, ...]
    """One a round."""

    @property
    def middle(self) -> Reading:
        """Median over the rounds."""
        return middle(self.readings)


@dataclass(frozen=True, slots=True)
class Results:
    """All measurements of a run."""

    measurements: Sequence[Measurement]

    def of(self, case: str, connections: int | None) -> list[Measurement]:
        """Measurements of a case under one load, in the order of the targets."""
        order = list(TARGETS)
        found = [m for m in self.measurements if (m.case, m.connections) == (case, connections)]
        return sorted(found, key=lambda measurement: order.index(measurement.target))

    def find(self, case: str, target: str, connections: int | None) -> Reading | None:
        """The median of one target; None when it was not measured."""
        found = [m for m in self.of(case, connections) if m.target == target]
        return found[0].middle if found else None

    def fastest(self, case: str, role: Role, connections: int) -> tuple[str, Reading] | None:
        """The target of a role with most requests/s, and its median."""
        found = self._of_role(case, role, connections)
        return max(found, key=lambda item: item[1].requests_per_s, default=None)

    def quickest(self, case: str, role: Role, connections: int) -> tuple[str, Reading] | None:
        """The target of a role with the lowest p50, and its median."""
        found = self._of_role(case, role, connections)
        return min(found, key=lambda item: item[1].p50_ms, default=None)

    def loads(self) -> Iterator[tuple[str, int | None]]:
        """Each case with each of its loads, as first measured; constant arrivals last."""
        seen = dict.fromkeys((m.case, m.connections) for m in self.measurements)
        cases = dict.fromkeys(case for case, _ in seen)
        for case in cases:
            counts = sorted(n for name, n in seen if name == case and n is not None)
            yield from ((case, count) for count in counts)
            if (case, None) in seen:
                yield case, None

    def _of_role(self, case: str, role: Role, connections: int) -> list[tuple[str, Reading]]:
        return [
            (measurement.target, measurement.middle)
            for measurement in self.of(case, connections)
            if TARGETS[measurement.target].role is role
        ]
