"""Requests per second as bars, one panel for each number of connections."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.serving.report import Measurement
from benchmarks.serving.targets import TARGETS, Role

COLORS = {Role.OURS: "#1f77b4", Role.PEER: "#ff9d3b", Role.BARE: "#b0b0b0", Role.LIMIT: "#707070"}

ROOM_FOR_LABELS = 1.18
"""Width of the axis over the longest bar."""


def draw(path: Path, measurements: list[Measurement], *, caption: str) -> None:
    """Write the chart; the suffix of the path says in which format."""
    columns = sorted({measurement.connections for measurement in measurements})
    rows = len({measurement.target for measurement in measurements})
    figure = Figure(figsize=(2.0 + 5.0 * len(columns), 1.3 + 0.5 * rows), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for panel, connections in zip(panels, columns, strict=True):
        _draw_panel(panel, [m for m in measurements if m.connections == connections])
        panel.set_title(f"{connections} connections", fontsize=10)
    panels[0].invert_yaxis()  # the first of the table on top; the axis is shared
    figure.supxlabel(caption, fontsize=8, color="#555555")
    figure.savefig(path)


def _draw_panel(panel: Axes, measurements: list[Measurement]) -> None:
    titles = [TARGETS[measurement.target].title for measurement in measurements]
    colors = [COLORS[TARGETS[measurement.target].role] for measurement in measurements]
    middles = [measurement.middle.requests_per_s for measurement in measurements]
    slowest = [min(r.requests_per_s for r in m.readings) for m in measurements]
    fastest = [max(r.requests_per_s for r in m.readings) for m in measurements]
    below = [middle - low for middle, low in zip(middles, slowest, strict=True)]
    above = [high - middle for middle, high in zip(middles, fastest, strict=True)]
    bars = panel.barh(titles, middles, color=colors, xerr=(below, above), ecolor="#333333")
    panel.bar_label(bars, labels=[f"{value:,.0f}" for value in middles], padding=4)
    panel.set_xlim(0, max(fastest) * ROOM_FOR_LABELS)
    panel.set_xlabel("requests/s")
    panel.spines[["top", "right"]].set_visible(False)
