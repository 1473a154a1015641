"""A line chart as SVG: few words, honest axes, names beside the lines instead of a legend.

Colours come from CSS classes, so that one chart serves the light and the dark
page. The two hues are Okabe and Ito's vermilion and blue, which stay apart for
all common kinds of colour blindness; the baseline is dashed as well, so that
nothing depends on hue alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from backstay.lab.report._scale import Scale, linear
from backstay.lab.report._series import Curve, Span

__all__ = ["Chart", "Line", "draw"]

_LABEL_GAP = 17.0  # least distance between two names at the right edge
_TITLE_Y = 20.0


@dataclass(frozen=True, slots=True)
class Line:
    """One curve, with the name and the figure that stand at its end."""

    name: str
    css: str  # "a" for the variant to beat, "b" for the one that holds
    curve: Curve
    figure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What is drawn."""

    key: str  # names it for the crosshair script
    title: str
    unit: str  # stands in grey behind the title
    lines: Sequence[Line]
    spans: Sequence[Span]
    y: Scale
    duration_s: float
    write: Callable[[float], str]  # tick labels
    width: float = 640.0
    height: float = 268.0
    left: float = 58.0
    right: float = 118.0
    top: float = 58.0
    bottom: float = 38.0
    span_labels: bool = True
    x: Scale = field(init=False)

    def __post_init__(self) -> None:
        """Derive the time axis: it ends where the load ended."""
        ticks = linear(self.duration_s, wanted=6).ticks
        inside = tuple(tick for tick in ticks if tick <= self.duration_s)
        object.__setattr__(self, "x", Scale(0.0, self.duration_s, inside))

    def px(self, t: float) -> float:
        """Return the horizontal place of a second of load."""
        return self.left + self.x.place(t) * (self.width - self.left - self.right)

    def py(self, value: float) -> float:
        """Return the vertical place of a value."""
        return self.height - self.bottom - self.y.place(value) * self.plot_height

    @property
    def plot_height(self) -> float:
        """Height of the area inside the axes."""
        return self.height - self.top - self.bottom


def draw(chart: Chart) -> str:
    """Return the chart as one `<svg>` element without style of its own."""
    parts = [
        (
            f'<svg class="chart" data-chart="{chart.key}" viewBox="0 0 {chart.width:g} {chart.height:g}" '
            f'role="img" aria-label="{escape(_describe(chart))}" xmlns="http://www.w3.org/2000/svg">'
        ),
        (
            f'<text class="title" x="2" y="{_TITLE_Y}">{escape(chart.title)}'
            f'<tspan class="unit" dx="8">{escape(chart.unit)}</tspan></text>'
        ),
        *_spans(chart),
        *_axes(chart),
    ]
    # The variant to beat lies below, so that the flat line is never hidden by it.
    parts += [_line(chart, line) for line in chart.lines]
    parts += _names(chart)
    parts.append("</svg>")
    return "\n".join(parts)


def _describe(chart: Chart) -> str:
    ends = ", ".join(f"{line.name} {line.figure}" for line in chart.lines)
    return f"{chart.title} ({chart.unit}) over {chart.duration_s:g} seconds: {ends}"


def _spans(chart: Chart) -> list[str]:
    parts: list[str] = []
    bottom = chart.height - chart.bottom
    for span in chart.spans:
        x, end = chart.px(span.begin), chart.px(span.end)
        css = "fault" if span.kind == "fault" else "warmup"
        parts.append(
            f'<rect class="{css}" x="{x:.1f}" y="{chart.top:g}" width="{end - x:.1f}" '
            f'height="{chart.plot_height:g}"/>'
        )
        if span.kind == "fault":
            parts.append(f'<path class="fault-edge" d="M{x:.1f} {chart.top - 4:g}V{bottom:g}"/>')
        if chart.span_labels and (span.kind == "fault" or end - x > 56):
            room = int((chart.width - x - 4) / 5.6)
            text = span.label if len(span.label) <= room else span.label[: room - 1] + "…"
            parts.append(
                f'<text class="span {css}-label" x="{x + (4 if css == "fault" else 0):.1f}" '
                f'y="{chart.top - 8:g}">{escape(text)}</text>'
            )
    return parts


def _axes(chart: Chart) -> list[str]:
    left, right = chart.left, chart.width - chart.right
    bottom = chart.height - chart.bottom
    parts: list[str] = []
    for tick in chart.y.ticks:
        y = chart.py(tick)
        css = "axis" if tick == chart.y.low else "grid"
        parts.append(f'<path class="{css}" d="M{left:g} {y:.1f}H{right:g}"/>')
        parts.append(
            f'<text class="tick" text-anchor="end" x="{left - 8:g}" y="{y + 4:.1f}">'
            f"{escape(chart.write(tick))}</text>"
        )
    for tick in chart.x.ticks:
        x = chart.px(tick)
        # The unit once, at the last tick: seconds of load.
        unit = " s" if tick == chart.x.ticks[-1] else ""
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom:g}v4"/>')
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{bottom + 18:g}">{tick:g}{unit}</text>'
        )
    return parts


def _line(chart: Chart, line: Line) -> str:
    """Draw a curve; a gap in the values is a gap in the line."""
    path: list[str] = []
    pen_down = False
    for t, value in line.curve:
        if value is None:
            pen_down = False
            continue
        path.append(f"{'L' if pen_down else 'M'}{chart.px(t):.1f} {chart.py(value):.1f}")
        pen_down = True
    return f'<path class="line {line.css}" d="{"".join(path)}"/>' if path else ""


def _names(chart: Chart) -> list[str]:
    """Write each name beside the end of its line, moved apart where they would touch."""
    ends: list[tuple[float, Line]] = []
    for line in chart.lines:
        values = [value for _, value in line.curve if value is not None]
        if values:
            ends.append((chart.py(values[-1]), line))
    ends.sort(key=lambda end: end[0])
    # Not beside the labels of the spans, which may run on above the plot.
    places = [max(y, chart.top + 12) for y, _ in ends]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + 2 * _LABEL_GAP)
    lowest = chart.height - chart.bottom - 8
    for index in range(len(places) - 1, -1, -1):
        limit = lowest if index == len(places) - 1 else places[index + 1] - 2 * _LABEL_GAP
        places[index] = min(places[index], limit)
    x = chart.width - chart.right + 10
    return [
        f'<text class="name {line.css}-text" x="{x:g}" y="{y - 3:.1f}">{escape(line.name)}'
        f'<tspan class="figure" x="{x:g}" dy="15">{escape(line.figure)}</tspan></text>'
        for y, (_, line) in zip(places, ends, strict=True)
    ]
