"""False aborts by the number of looks, and how long bad and good versions take, as curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.judging.measures import (
    JUDGE,
    MANN_WHITNEY,
    THRESHOLD,
    TRUSTING,
    Delay,
    FalseAborts,
    Success,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {JUDGE: "#1f77b4", TRUSTING: "#2ca02c", THRESHOLD: "#ff9d3b", MANN_WHITNEY: "#9467bd"}

LEAST = 1e-4
"""One rollout of ten thousand; fewer are drawn there, too."""


def draw(
    path: Path,
    aborts: Sequence[FalseAborts],
    delays: Sequence[Delay],
    successes: Sequence[Success],
    *,
    alpha: float,
    caption: str,
) -> None:
    """Write the chart; the suffix of the path says in which format."""
    from matplotlib.figure import Figure  # noqa: PLC0415, slower than --help should be

    figure = Figure(figsize=(15, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_aborts(left, aborts, alpha)
    _draw_delays(middle, delays)
    _draw_successes(right, successes)
    for panel in (left, middle, right):
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(caption, fontsize=8, color="#555555")
    figure.savefig(path, dpi=110)


def _draw_aborts(panel: "Axes", aborts: Sequence[FalseAborts], alpha: float) -> None:
    """Draw one curve for each scenario and rule; zero is drawn at the bottom."""
    labelled: set[str] = set()
    for found in aborts:
        for rule, shares in found.aborted.items():
            looks, shown = np.arange(1, len(shares) + 1), np.maximum(shares, LEAST)
            label = rule if rule not in labelled else None
            panel.plot(looks, shown, color=COLORS[rule], label=label, linewidth=1)
            labelled.add(rule)
    panel.axhline(alpha, color="#333333", linestyle="--", linewidth=1)
    panel.set(xscale="log", yscale="log", ylim=(LEAST, 1.2))
    panel.set_xlabel("looks", fontsize=8)
    panel.set_title("good versions aborted, each scenario (dashed: alpha)", fontsize=10)
    panel.legend(fontsize=8, frameon=False)


def _draw_delays(panel: "Axes", delays: Sequence[Delay]) -> None:
    rates = [100 * delay.rate for delay in delays]
    fixed = [delay.fixed for delay in delays]
    panel.plot(rates, fixed, "o--", color="#333333", label="fixed size, power 0.8", linewidth=1)
    for rule in delays[0].requests:
        medians = [delay.median(rule) for delay in delays]
        panel.plot(rates, medians, "o-", color=COLORS[rule], label=rule, linewidth=1)
    panel.set(xscale="log", yscale="log")
    panel.minorticks_off()
    panel.set_xticks(rates, [f"{rate:g}" for rate in rates])
    panel.set_xlabel("error rate of the canary, %; stable has 1 %", fontsize=8)
    panel.set_title("canary requests until abort, median", fontsize=10)
    panel.legend(fontsize=8, frameon=False)


def _draw_successes(panel: "Axes", successes: Sequence[Success]) -> None:
    for weight in sorted({success.weight for success in successes}):
        found = [success for success in successes if success.weight == weight]
        rates = [100 * success.rate for success in found]
        middle, most = (
            [float(np.quantile(success.requests, share)) for success in found]
            for share in (0.5, 0.9)
        )
        (line,) = panel.plot(rates, middle, "o-", label=f"at {weight} %, median", linewidth=1)
        panel.plot(rates, most, ":", color=line.get_color(), linewidth=1)
    panel.set(yscale="log")
    panel.set_xscale("symlog", linthresh=0.1)
    panel.set_xlim(-0.02, 8)
    panel.xaxis.minorticks_off()
    ticks = sorted({100 * success.rate for success in successes})
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_xlabel("error rate of both, %", fontsize=8)
    panel.set_title("canary requests until success (dotted: 9 of 10)", fontsize=10)
    panel.legend(fontsize=8, frameon=False)
