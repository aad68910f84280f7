"""Requests per second, and latencies at constant arrivals, as bars: a panel for each load."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.serving.cases import CASES
from benchmarks.serving.report import load_title
from benchmarks.serving.results import Measurement, Results
from benchmarks.serving.targets import TARGETS, Role

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {Role.OURS: "#1f77b4", Role.PEER: "#ff9d3b", Role.BARE: "#b0b0b0", Role.LIMIT: "#707070"}

COLUMNS = 3

ROOM_FOR_LABELS = 1.25
"""Width of the axis over the longest bar."""


def draw(path: Path, results: Results, *, caption: str) -> None:
    """Write the chart; the suffix of the path says in which format."""
    from matplotlib.figure import Figure  # noqa: PLC0415, slower than --help should be

    loads = list(results.loads())
    columns = min(COLUMNS, len(loads))
    rows = math.ceil(len(loads) / columns)
    most = max(len(results.of(*load)) for load in loads)
    size = (5.6 * columns, 0.6 + rows * (1.0 + 0.27 * most))
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, (case, connections) in zip(panels, loads, strict=False):
        _draw_panel(panel, results.of(case, connections))
        panel.set_title(f"{CASES[case].title}\n{load_title(case, connections)}", fontsize=10)
    for panel in panels[len(loads) :]:
        panel.set_visible(False)
    figure.supxlabel(caption, fontsize=8, color="#555555")
    figure.savefig(path, dpi=110)


def _draw_panel(panel: "Axes", measurements: Sequence[Measurement]) -> None:
    is_open = measurements[0].connections is None
    titles = [TARGETS[measurement.target].title for measurement in measurements]
    colors = [COLORS[TARGETS[measurement.target].role] for measurement in measurements]
    figures = [
        [r.p99_ms if is_open else r.requests_per_s for r in m.readings] for m in measurements
    ]
    middles = [m.middle.p99_ms if is_open else m.middle.requests_per_s for m in measurements]
    below = [middle - min(found) for middle, found in zip(middles, figures, strict=True)]
    above = [max(found) - middle for middle, found in zip(middles, figures, strict=True)]
    bars = panel.barh(titles, middles, color=colors, xerr=(below, above), ecolor="#333333")
    labels = [f"{value:,.1f}" if is_open else f"{value:,.0f}" for value in middles]
    panel.bar_label(bars, labels=labels, padding=4, fontsize=8)
    panel.set_xlim(0, max(max(found) for found in figures) * ROOM_FOR_LABELS or 1)
    panel.set_xlabel("p99, ms" if is_open else "requests/s", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.invert_yaxis()  # the first of the table on top
    panel.spines[["top", "right"]].set_visible(False)
