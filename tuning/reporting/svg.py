"""Just enough SVG for charts: elements as text, scales, axes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 580.0
"""Units that a chart is wide; about the pixels of half a page, so that text keeps its size."""

WIDE = 1180.0
"""The same of a chart across the page."""

Scale = Callable[[float], float]


def element(name: str, *children: str, tip: str | None = None, **attributes: object) -> str:
    """Spell an element; `class_` and `stroke_width` become `class` and `stroke-width`.

    Args:
        name: Of the element.
        children: Inside it, already spelled.
        tip: What the page shows while the pointer is on it.
        attributes: Its attributes; those that are None are left out.
    """
    if tip is not None:
        attributes["data-tip"] = tip
    spelled = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(children)
    return f"<{name}{spelled}>{inner}</{name}>" if inner else f"<{name}{spelled}/>"


def text(content: str, x: float, y: float, *, class_: str) -> str:
    """Spell a text."""
    return element("text", escape(content), x=x, y=y, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, *, class_: str) -> str:
    """Spell a line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(
    points: Iterable[tuple[float, float]],
    *,
    class_: str,
    tip: str | None = None,
    stroke: str | None = None,
) -> str:
    """Spell a line through points."""
    steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return element("path", d=f"M{steps}", fill="none", class_=class_, tip=tip, stroke=stroke)


def chart(height: float, *parts: str, label: str, width: float = WIDTH) -> str:
    """Put a chart together; `label` is for those who cannot see it."""
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
        preserveAspectRatio="xMidYMid meet",
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """The area inside the axes."""

    left: float
    top: float
    right: float
    bottom: float


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Map [low, high] to [start, end]; equal bounds map to the middle."""
    if high == low:
        return lambda _: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within [low, high], about so many."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def whole_ticks(low: int, high: int, count: int = 8) -> list[float]:
    """Whole numbers within [low, high], about so many."""
    return sorted({float(round(each)) for each in ticks(low, high, count)})


def number(value: float) -> str:
    """Spell a number for people."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"


def seconds(value: float) -> str:
    """Spell a duration for people."""
    if value < 60:
        return f"{value:.1f}\u00a0s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min\u00a0{rest:02d}\u00a0s"
    return f"{minutes // 60}\u00a0h\u00a0{minutes % 60:02d}\u00a0min"


def y_axis(frame: Frame, scale: Scale, values: Sequence[float], title: str) -> str:
    """Draw horizontal grid lines with their values."""
    lines = [
        line(frame.left, scale(value), frame.right, scale(value), class_="grid")
        + text(number(value), frame.left - 8, scale(value) + 4, class_="tick end")
        for value in values
    ]
    return "".join(lines) + text(title, frame.left, frame.top - 12, class_="axis")


def x_axis(frame: Frame, scale: Scale, values: Sequence[float], title: str) -> str:
    """Draw the values below the chart."""
    marks = [
        text(number(value), scale(value), frame.bottom + 18, class_="tick middle")
        for value in values
    ]
    middle = (frame.left + frame.right) / 2
    return "".join(marks) + text(title, middle, frame.bottom + 36, class_="axis middle")


def counted(count: int, one: str) -> str:
    """Spell how many there are of something."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def padded(values: Sequence[float]) -> tuple[float, float]:
    """Return bounds with some air around the values."""
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return low - air, high + air


def color(share: float) -> str:
    """Color from the worst (0.0, violet) to the best (1.0, yellow-green): viridis."""
    stops = (
        (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142),
        (33, 144, 141), (39, 173, 129), (92, 200, 99), (170, 220, 50),
    )  # fmt: skip
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    part = place - index
    mixed = (
        round(one + part * (two - one))
        for one, two in zip(stops[index], stops[index + 1], strict=True)
    )
    return "#" + "".join(f"{each:02x}" for each in mixed)


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
