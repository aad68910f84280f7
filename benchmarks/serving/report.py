"""From results to tables and a JSON file."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.serving.bars import Finding
from benchmarks.serving.cases import CASES
from benchmarks.serving.results import Measurement, Results
from benchmarks.serving.targets import TARGETS, Role

RATIOS = {"x peer": Role.PEER, "x bare": Role.BARE, "x limit": Role.LIMIT}
"""Columns that compare: heading and the role whose fastest target is 1.00 in it."""


def ratio(results: Results, measurement: Measurement, role: Role) -> float | None:
    """Divide requests/s by those of the fastest target of a role in the same case and load.

    None when there is none, or when the rate of arrivals was given.
    """
    if measurement.connections is None:
        return None
    best = results.fastest(measurement.case, role, measurement.connections)
    return None if best is None else measurement.middle.requests_per_s / best[1].requests_per_s


def load_title(case: str, connections: int | None) -> str:
    """Name a load of a case."""
    if connections is None:
        return CASES[case].open_title
    return "1 connection" if connections == 1 else f"{connections} connections"


def tables(results: Results) -> Iterator[Table]:
    """Lay the medians out for a terminal, one table for each case and load."""
    for case, connections in results.loads():
        table = _table(f"{CASES[case].title}, {load_title(case, connections)}")
        table.add_column("target", no_wrap=True)
        headings = ("requests/s", "p50 ms", "p99 ms", *RATIOS, "faults")
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for measurement in results.of(case, connections):
            table.add_row(*_cells(results, measurement))
        yield table


def _cells(results: Results, measurement: Measurement) -> Iterator[str]:
    reading = measurement.middle
    yield measurement.target
    yield f"{reading.requests_per_s:,.0f}"
    yield f"{reading.p50_ms:.2f}"
    yield f"{reading.p99_ms:.2f}"
    for role in RATIOS.values():
        value = ratio(results, measurement, role)
        yield "-" if value is None else f"{value:.2f}"
    yield str(reading.faults)


def bar_table(findings: Sequence[Finding]) -> Table:
    """Say of each bar what was measured and whether that is enough."""
    table = _table("bars")
    table.add_column("bar")
    for heading in ("wanted", "measured"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("beside", no_wrap=True)
    table.add_column("", no_wrap=True)
    for finding in findings:
        found = finding.ratio
        table.add_row(
            finding.bar.text,
            f"{finding.bar.sense} {finding.bar.wanted:g}",
            "-" if found is None else f"{found.value:.2f}",
            "-" if found is None else found.against,
            verdict(finding),
        )
    return table


def verdict(finding: Finding) -> str:
    """One or two words for a finding."""
    return {True: "met", False: "not met", None: "not measured"}[finding.is_met]


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,  # 80 columns are enough then
    )


def write_json(
    path: Path, results: Results, findings: Sequence[Finding], context: dict[str, Any]
) -> None:
    """Keep bars, medians, every single reading and what they depend on."""
    document = {
        **context,
        "bars": [
            {
                "bar": finding.bar.text,
                "sense": finding.bar.sense,
                "wanted": finding.bar.wanted,
                "measured": None if finding.ratio is None else finding.ratio.value,
                "beside": None if finding.ratio is None else finding.ratio.against,
                "verdict": verdict(finding),
            }
            for finding in findings
        ],
        "measurements": [
            {
                "case": measurement.case,
                "target": measurement.target,
                "role": TARGETS[measurement.target].role,
                "connections": measurement.connections,
                "median": asdict(measurement.middle),
                "ratios": {role: ratio(results, measurement, role) for role in RATIOS.values()},
                "rounds": [asdict(reading) for reading in measurement.readings],
            }
            for case, connections in results.loads()
            for measurement in results.of(case, connections)
        ],
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
