"""From readings to a table and a JSON file."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.serving.load import Reading, middle
from benchmarks.serving.targets import TARGETS, Role


@dataclass(frozen=True, slots=True)
class Measurement:
    """One target at one number of connections."""

    target: str
    connections: int
    readings: tuple[Reading, ...]
    """One a round."""

    @property
    def middle(self) -> Reading:
        """Median over the rounds."""
        return middle(list(self.readings))


def ratio(measurement: Measurement, all_of_them: Iterable[Measurement], role: Role) -> float | None:
    """Divide requests/s by those of the best target of a role at as many connections.

    None when no target of that role was measured.
    """
    others = [
        other.middle.requests_per_s
        for other in all_of_them
        if other.connections == measurement.connections and TARGETS[other.target].role is role
    ]
    return measurement.middle.requests_per_s / max(others) if others else None


RATIOS = {"x peer": Role.PEER, "x bare": Role.BARE, "x limit": Role.LIMIT}
"""Columns that compare: heading and the role whose best target is 1.00 in it."""


def tables(measurements: list[Measurement]) -> Iterator[Table]:
    """Lay the medians out for a terminal, one table for each number of connections."""
    for connections in sorted({measurement.connections for measurement in measurements}):
        rows = [row for row in measurements if row.connections == connections]
        table = Table(
            title=f"{connections} connections",
            title_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,  # 80 columns are enough then
        )
        table.add_column("target", no_wrap=True)
        for heading in ("requests/s", "p50 ms", "p99 ms", *RATIOS, "faults"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*_cells(row, rows))
        yield table


def _cells(measurement: Measurement, rows: list[Measurement]) -> Iterator[str]:
    reading = measurement.middle
    yield measurement.target
    yield f"{reading.requests_per_s:,.0f}"
    yield f"{reading.p50_ms:.2f}"
    yield f"{reading.p99_ms:.2f}"
    for role in RATIOS.values():
        value = ratio(measurement, rows, role)
        yield "-" if value is None else f"{value:.2f}"
    yield str(reading.faults)


def write_json(path: Path, measurements: list[Measurement], context: dict[str, Any]) -> None:
    """Keep medians, every single reading and what they depend on."""
    rows = [
        {
            "target": measurement.target,
            "role": TARGETS[measurement.target].role,
            "connections": measurement.connections,
            "median": asdict(measurement.middle),
            "ratios": {role: ratio(measurement, measurements, role) for role in RATIOS.values()},
            "rounds": [asdict(reading) for reading in measurement.readings],
        }
        for measurement in measurements
    ]
    document = msgspec.json.encode({**context, "measurements": rows})
    path.write_bytes(msgspec.json.format(document, indent=2) + b"\n")
