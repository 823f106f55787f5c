"""What was used over a day, a week or a month, as charts and as tables, and what was saved by it."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from chain429.clock import Clock
from chain429.store.queries import Queries
from chain429.store.told import savings_of
from chain429.store.usage import Dimension, Slot, Sums
from chain429.web.charts import COLOURS, Chart, Series, bars, lines
from chain429.web.pages.frame import Frame, Page
from chain429.web.view import number, percent, seconds

_NOBODY = "nobody"
_OTHERS = "others"
# A latency beyond the last step of the sums has no end; it is drawn here, in seconds.
_BEYOND = 64.0


@dataclass(frozen=True, slots=True)
class Span:
    """How far back the page looks: ``count`` slots of ``step`` seconds, the last of them under way."""

    name: str
    said: str
    step: int
    count: int
    form: str

    def slots(self, now: float) -> tuple[int, ...]:
        """When they begin, Unix seconds."""
        last = int(now // self.step)
        return tuple(slot * self.step for slot in range(last - self.count + 1, last + 1))

    def label(self, at: int) -> str:
        return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime(self.form)


SPANS = {
    span.name: span
    for span in (
        Span("24h", "24 hours", 3600, 24, "%H:%M"),
        Span("7d", "7 days", 6 * 3600, 28, "%d %b %H:%M"),
        Span("30d", "30 days", 86_400, 30, "%d %b"),
    )
}
KINDS: Mapping[str, tuple[Dimension, str]] = {
    "provider": ("provider", "Provider"),
    "model": ("model", "Model"),
    "chain": ("chain", "Chain"),
    "credential": ("credential", "Key"),
    "client": ("client", "Client"),
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart and the same numbers in words: ``rows`` are slots, with a cell for each of ``names``."""

    chart: Chart
    svg: str
    note: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, chart: Chart, draw: Callable[[Chart], str], note: str = "") -> Drawing:
        cells = [[_cell(chart, one.values[slot]) for one in chart.series] for slot in range(len(chart.slots))]
        rows = tuple((name, tuple(row)) for name, row in zip(chart.slots, cells, strict=True))
        return cls(chart, draw(chart), note, tuple(one.name for one in chart.series), rows)


def _cell(chart: Chart, value: float | None) -> str:
    return "" if value is None else chart.write(value)


class Usage:
    """The page. ``priced`` is the date of the table of prices."""

    def __init__(self, frame: Frame, queries: Queries, clock: Clock, priced: str) -> None:
        self._frame = frame
        self._queries = queries
        self._clock = clock
        self._priced = priced

    def pages(self) -> tuple[Page, ...]:
        return (Page("/usage", "Usage", self.show),)

    async def show(self, request: web.Request) -> web.Response:
        span = SPANS.get(request.query.get("span", ""), SPANS["24h"])
        kind = request.query.get("by", "")
        now = self._clock.now()
        by = kind if kind in KINDS else "provider"
        return await self._frame.page(request, "usage.html", lambda: self._values(span, by, now))

    def _values(self, span: Span, by: str, now: float) -> dict[str, Any]:
        dimension, title = KINDS[by]
        slots = span.slots(now)
        sums = self._queries.usage(dimension, slots[0])
        timeline = self._queries.timeline(slots[0], math.inf, span.step, dimension)
        return {
            "spans": [(each.name, each.said) for each in SPANS.values()],
            "span": span,
            "kinds": [(name, said) for name, (_, said) in KINDS.items()],
            "by": by,
            "title": title,
            "sums": [(one.name or _NOBODY, one, failed_share(one)) for one in sums],
            "drawings": drawings(span, slots, timeline, [one.name for one in sums], title.lower()),
            "savings": savings_of(self._queries.usage("day", slots[0])),
            "priced": self._priced,
            "beyond": math.inf,
        }


def drawings(
    span: Span, slots: Sequence[int], timeline: Iterable[Slot], names: Iterable[str], what: str
) -> list[Drawing]:
    """The charts, the names in this order; of more than there are colours for, the last ones are ``others``."""
    names = tuple(dict.fromkeys(names))
    told = names if len(names) <= COLOURS else names[: COLOURS - 1]
    rest = names[len(told) :]
    cells: dict[tuple[int, str], list[Sums]] = {}
    for slot in timeline:
        cells.setdefault((slot.at, slot.sums.name), []).append(slot.sums)

    def chart(id: str, title: str, write: Callable[[float], str], value: Value, added: bool) -> Chart:
        def values(those: Sequence[str]) -> tuple[float | None, ...]:
            return tuple(value([one for name in those for one in cells.get((at, name), ())]) for at in slots)

        series = [Series(name or _NOBODY, values([name])) for name in told]
        if rest and added:
            series.append(Series(_OTHERS, values(rest)))
        return Chart(
            id,
            title,
            f"{title} by {what} over {span.said}; the table below has the numbers.",
            tuple(map(span.label, slots)),
            tuple(series),
            write,
        )

    left_out = f"{len(rest)} more are in the table of totals only." if rest else ""
    return [
        Drawing.of(chart("requests", "Requests", _whole, _requests, True), bars),
        Drawing.of(chart("tokens", "Tokens", _short, _tokens, True), bars),
        Drawing.of(chart("failed", "Failed attempts of all", percent, _failed, False), lines, left_out),
        Drawing.of(chart("latency", "95 % of answers within", _latency, _slowest, False), lines, left_out),
    ]


Value = Callable[[Sequence[Sums]], float | None]


def _requests(those: Sequence[Sums]) -> float:
    return sum(one.requests for one in those)


def _tokens(those: Sequence[Sums]) -> float:
    return sum(one.tokens_in + one.tokens_out for one in those)


def _failed(those: Sequence[Sums]) -> float | None:
    failures, served = sum(one.failures for one in those), sum(one.served for one in those)
    return failures / (failures + served) if failures + served else None


def _slowest(those: Sequence[Sums]) -> float | None:
    # Of sums in two currencies the slower one: percentiles can't be added.
    return max((min(one.latency_p95, _BEYOND) for one in those if one.latency_p95 is not None), default=None)


def failed_share(sums: Sums) -> float | None:
    """Attempts that failed, of all that came to an end; None where there were none."""
    return _failed([sums])


def _whole(value: float) -> str:
    return number(round(value)) if value == round(value) else f"{value:g}"


def _short(value: float) -> str:
    """``950``, ``1.2 k``, ``3.4 M``: the axis has little room."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:g}"


def _latency(value: float) -> str:
    return "over 32 s" if value >= _BEYOND else seconds(value) if value else "0"
