"""Questions to the sums by the hour and the day: what was used, by whom, when, what it cost. See ``models.Hour``."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from peewee import SqliteDatabase

from chain429.store.hours import DAY, HOUR, STEPS, SUMS, WITHIN

Dimension = Literal["provider", "model", "chain", "credential", "client", "day"]
_EVER = 2**62  # seconds
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


@dataclass(frozen=True, slots=True)
class Sums:
    """What one provider, model, … or day (``name``: for a day its date in UTC) amounts to, in one currency.

    ``requests`` were served there, or broke off there; ``failures`` are attempts that failed. ``tokens_wasted`` are
    those of answers that did not come to their end. Costs are of the requests whose cost is known; where no list price
    is known to compare it with, it stands for that too. ``unpriced`` counts the served ones that lack either. Latencies
    are upper bounds in seconds (infinite beyond the last step), None where nothing was served; ``first_token`` is a
    mean.
    """

    name: str
    currency: str
    requests: int
    served: int
    failures: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_wasted: int
    cost: float
    list_cost: float
    unpriced: int
    first_token: float | None
    latency_p50: float | None
    latency_p95: float | None

    @property
    def saved(self) -> float:
        """What the priced requests would have cost by the list, minus what they did cost."""
        return self.list_cost - self.cost


@dataclass(frozen=True, slots=True)
class Slot:
    """The sums of one span of time, which began at ``at`` (Unix seconds)."""

    at: int
    sums: Sums


def by(database: SqliteDatabase, dimension: Dimension, since: float, until: float) -> list[Sums]:
    """See ``Queries.usage``."""
    name = "hour / 86400" if dimension == "day" else dimension
    rows = _asked(database, f"{name} AS name, currency", "name, currency", _spans(since, until))
    if dimension == "day":
        rows.sort(key=lambda row: int(row["name"]))
        return [_of(_date(int(row["name"])), row) for row in rows]
    rows.sort(key=lambda row: (-row["requests"], -row["failures"], row["name"]))
    return [_of(str(row["name"]), row) for row in rows]


def timeline(database: SqliteDatabase, since: float, until: float, step: int, dimension: Dimension) -> list[Slot]:
    """See ``Queries.timeline``."""
    slot = f"hour / {int(step)}"
    name = slot if dimension == "day" else dimension
    # A day's sums can't be divided among the slots of a day.
    spans = _spans(since, until) if step % DAY == 0 else [_hours(since, until)]
    rows = _asked(database, f"{slot} AS slot, {name} AS name, currency", "slot, name, currency", spans)
    rows.sort(key=lambda row: (row["slot"], row["name"]))
    return [Slot(int(row["slot"]) * step, _of(str(row["name"]), row)) for row in rows]


class _Span(NamedTuple):
    """Rows of a table whose ``hour`` is from ``since`` on and before ``until``."""

    table: Literal["hour", "day"]
    since: int
    until: int


def _spans(since: float, until: float) -> list[_Span]:
    """Where to find what happened between two times: whole days by the day, what is left at the ends by the hour."""
    first, last = -(-_hour(since) // DAY) * DAY, _hour(until) // DAY * DAY
    if first >= last:
        return [_hours(since, until)]
    return [_hours(since, first), _Span("day", first, last), _hours(last, until)]


def _hours(since: float, until: float) -> _Span:
    return _Span("hour", _hour(since), math.ceil(min(until, _EVER)))


def _asked(database: SqliteDatabase, names: str, groups: str, spans: Sequence[_Span]) -> list[dict[str, Any]]:
    # Each table is added up by itself: a sum over their union would copy every row first.
    sums = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
    parts = [f"SELECT {names}, {sums} FROM {span.table} WHERE hour >= ? AND hour < ? GROUP BY {groups}"  # noqa: S608
             for span in spans]  # fmt: skip
    query = (
        parts[0]
        if len(parts) == 1
        else (
            f"SELECT {groups}, {sums} FROM ({' UNION ALL '.join(parts)}) GROUP BY {groups}"  # noqa: S608
        )
    )
    rows: Any = database.execute_sql(query, [bound for span in spans for bound in span[1:]])  # type: ignore[no-untyped-call]
    columns = [column for column, *_ in rows.description]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _hour(at: float) -> int:
    return int(min(at, _EVER) // HOUR) * HOUR


def _date(day: int) -> str:
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()


def _of(name: str, row: Mapping[str, Any]) -> Sums:
    counts = [row[column] for column in WITHIN]
    served = row["served"]
    return Sums(
        name,
        row["currency"],
        row["requests"],
        served,
        row["failures"],
        row["tokens_in"],
        row["tokens_out"],
        row["tokens_cached"],
        row["tokens_wasted"],
        row["cost"],
        row["list_cost"],
        row["unpriced"],
        row["first_token"] / served if served else None,
        bound(counts, 50),
        bound(counts, 95),
    )


def bound(counts: Sequence[int], percent: int) -> float | None:
    """The step that at least ``percent`` of 100 values do not exceed, by how many lie within each; None of none."""
    rank = -(-sum(counts) * percent // 100)
    for count, step in zip(counts, (*STEPS, math.inf), strict=True):
        rank -= count
        if rank <= 0 < sum(counts):
            return step
    return None
