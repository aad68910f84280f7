"""A soak's scenes as a table, as JSON and as a chart."""

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import psutil
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from tests.integration.load import Outcome
from tests.soak.scene import Scene, Soak

COLORS = {"serve": "#ff9d3b", "express": "#1f77b4"}
FAULT = "#d62728"
COLUMNS = 3


def table(scenes: Sequence[Scene]) -> Table:
    """One line for each scene, and one for each of its bounds and figures."""
    table = Table(title="soak", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("fault")
    for heading in ("rounds", "answered", "cut", "failed", "longest s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("bounds")
    for scene in scenes:
        tally = scene.tally
        lines = [f"{'' if bound.holds else 'BROKEN: '}{bound}" for bound in scene.bounds.values()]
        lines += [f"{name} {value:g}" for name, value in scene.figures.items()]
        lines += [f"ended early: {scene.error}"] if scene.error else []
        table.add_row(
            scene.name,
            str(scene.rounds_done),
            str(tally.answered),
            str(tally.count(Outcome.CUT)),
            str(tally.failed),
            f"{tally.longest_s:.2f}",
            "\n".join(lines),
        )
    return table


def write_json(path: Path, soak: Soak) -> None:
    """Keep bounds, figures, outcomes and the moments of the faults."""
    document = {
        "seed": soak.seed,
        "minutes": soak.minutes,
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "versions": {name: version(name) for name in ("ray", "mlflow", "uvicorn", "numpy")},
        "kept": not any(scene.broken for scene in soak.scenes),
        "scenes": [_scene(scene) for scene in soak.scenes],
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def _scene(scene: Scene) -> dict[str, Any]:
    return {
        "fault": scene.name,
        "rounds": scene.rounds_done,
        "took_s": round(scene.took_s, 1),
        "outcomes": {outcome: scene.tally.count(outcome) for outcome in Outcome},
        "longest_s": round(scene.tally.longest_s, 3),
        "not_right": scene.tally.details(),
        "bounds": [{**asdict(bound), "holds": bound.holds} for bound in scene.bounds.values()],
        "ended_early_by": scene.error or None,
        "figures": scene.figures,
        "marks": [{"at_s": round(at_s, 1), "what": what} for at_s, what in scene.marks],
        "answered_per_s": {door: _per_second(scene, door) for door in COLORS},
    }


def draw(path: Path, soak: Soak) -> None:
    """Draw right answers a second of both doors, with the moments of the faults."""
    scenes = [scene for scene in soak.scenes if scene.tally.asked]
    if not scenes:
        return
    rows = -(-len(scenes) // COLUMNS)
    figure = Figure(figsize=(5.2 * COLUMNS, 2.2 * rows), layout="constrained")
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for panel, scene in zip(panels, scenes, strict=False):
        _draw_panel(panel, scene)
    for panel in panels[len(scenes) :]:
        panel.set_visible(False)
    figure.savefig(path, dpi=110)


def _draw_panel(panel: Axes, scene: Scene) -> None:
    for door, color in COLORS.items():
        panel.plot(_per_second(scene, door), color=color, label=door, linewidth=1)
    for at_s, _ in scene.marks:
        panel.axvline(at_s, color="#999999", linewidth=0.6, linestyle=":")
    failed = [each.at_s for each in scene.tally.asked if each.outcome is not Outcome.RIGHT]
    panel.plot(failed, [0] * len(failed), "x", color=FAULT, label="cut or failed")
    panel.set_title(scene.name, fontsize=9)
    panel.set_ylabel("right answers/s", fontsize=8)
    panel.set_ylim(bottom=0)
    panel.tick_params(labelsize=7)
    panel.legend(fontsize=6, loc="lower right")


def _per_second(scene: Scene, door: str) -> list[int]:
    """Right answers by the second in which they came; the last, incomplete one left out."""
    good = (Outcome.RIGHT, Outcome.CUT)
    asked = [each for each in scene.tally.asked if each.door == door and each.outcome in good]
    counts = Counter(int(each.at_s + each.took_s) for each in asked)
    return [counts[second] for second in range(max(counts, default=0))]
