"""Charts as SVG, drawn on the server: numbers in, a piece of HTML out.

Pure. Colours and dashes are the style sheet's, by the class of a series (``c0``, ``c1``, …). A chart says what it is in
a ``title`` and a ``desc``; whoever shows one puts the numbers beside it in a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 480, 230
LEFT, TOP, RIGHT, BOTTOM = 60, 14, 472, 196
COLOURS = 8
_MOST_LABELS = 5
_BAR = 0.8  # of the room that a slot has


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one layer of the bars: a value for each slot, None where there is none. No value is negative."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """``id`` tells charts of a page apart; ``slots`` are the names of the places along the bottom; ``write`` says a
    value in words."""

    id: str
    title: str
    description: str
    slots: tuple[str, ...]
    series: tuple[Series, ...]
    write: Callable[[float], str]


def bars(chart: Chart) -> str:
    """One bar a slot, the series on top of each other."""
    count = len(chart.slots)
    room = (RIGHT - LEFT) / max(1, count)
    top = ceiling(sum(one.values[slot] or 0.0 for one in chart.series) for slot in range(count))
    parts = []
    for slot, name in enumerate(chart.slots):
        below = 0.0
        for number, one in enumerate(chart.series):
            value = one.values[slot]
            if not value:
                continue
            high, low = _y(below + value, top), _y(below, top)
            place = f'x="{LEFT + room * (slot + (1 - _BAR) / 2):.2f}" y="{high:.2f}" width="{room * _BAR:.2f}"'
            told = escape(f"{one.name}, {name}: {chart.write(value)}")
            parts.append(
                f'<rect class="c{number % COLOURS}" {place} height="{low - high:.2f}"><title>{told}</title></rect>'
            )
            below += value
    return _drawn(chart, top, parts)


def lines(chart: Chart) -> str:
    """One line a series, with a gap where a value is missing."""
    room = (RIGHT - LEFT) / max(1, len(chart.slots))
    top = ceiling(value for one in chart.series for value in one.values if value is not None)
    parts = []
    for number, one in enumerate(chart.series):
        colour = f"c{number % COLOURS}"
        for run in _runs(one.values):
            points = " ".join(f"{LEFT + room * (slot + 0.5):.2f},{_y(value, top):.2f}" for slot, value in run)
            if len(run) > 1:
                parts.append(f'<polyline class="{colour}" points="{points}"/>')
            for slot, value in run:
                place = f'cx="{LEFT + room * (slot + 0.5):.2f}" cy="{_y(value, top):.2f}"'
                told = escape(f"{one.name}, {chart.slots[slot]}: {chart.write(value)}")
                parts.append(f'<circle class="{colour}" {place} r="3"><title>{told}</title></circle>')
    return _drawn(chart, top, parts)


def ceiling(values: Iterable[float]) -> float:
    """The end of the axis: the next 1, 2 or 5 with zeros that no value exceeds; 1 where all are nothing."""
    most = max(values, default=0.0)
    if most <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(most))
    return next((step * unit for step in (1, 2, 5) if most <= step * unit), 10 * unit)


def _y(value: float, top: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * min(1.0, value / top)


def _runs(values: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """The values that follow each other without a gap."""
    run: list[tuple[int, float]] = []
    for slot, value in enumerate((*values, None)):
        if value is not None:
            run.append((slot, value))
        elif run:
            yield run
            run = []


def _drawn(chart: Chart, top: float, parts: Iterable[str]) -> str:
    named = f"{chart.id}-title {chart.id}-desc"
    return "".join(
        (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{named}">',
            f'<title id="{chart.id}-title">{escape(chart.title)}</title>',
            f'<desc id="{chart.id}-desc">{escape(chart.description)}</desc>',
            *_scale(chart, top),
            *parts,
            *_labels(chart),
            "</svg>",
        )
    )


def _scale(chart: Chart, top: float) -> Iterator[str]:
    for value in (0.0, top / 2, top):
        y = _y(value, top)
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.2f}" y2="{y:.2f}"/>'
        yield f'<text class="amount" x="{LEFT - 8}" y="{y + 4:.2f}">{escape(chart.write(value))}</text>'


def _labels(chart: Chart) -> Iterator[str]:
    count = len(chart.slots)
    room = (RIGHT - LEFT) / max(1, count)
    every = max(1, -(-count // _MOST_LABELS))
    for slot in range(0, count, every):
        x = LEFT + room * (slot + 0.5)
        yield f'<text class="slot" x="{x:.2f}" y="{HEIGHT - 10}">{escape(chart.slots[slot])}</text>'
