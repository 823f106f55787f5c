"""Questions to the sums by the hour: what was used, by whom, when, and what it cost. See ``models.Hour``."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from peewee import SqliteDatabase, fn

from chain429.store.hours import HOUR, STEPS, SUMS, WITHIN
from chain429.store.models import Hour

Dimension = Literal["provider", "model", "chain", "credential", "client", "day"]
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
    name: Any = Hour.hour / 86400 if dimension == "day" else getattr(Hour, dimension)
    query = (
        Hour.select(name.alias("name"), Hour.currency, *_sums())
        .where(Hour.hour >= _hour(since), Hour.hour < min(until, 2**62))
        .group_by(name, Hour.currency)
    )
    rows: list[dict[str, Any]] = list(query.dicts().execute(database))
    if dimension == "day":
        rows.sort(key=lambda row: int(row["name"]))
        return [_of(_date(int(row["name"])), row) for row in rows]
    rows.sort(key=lambda row: (-row["requests"], -row["failures"], row["name"]))
    return [_of(str(row["name"]), row) for row in rows]


def timeline(database: SqliteDatabase, since: float, until: float, step: int, dimension: Dimension) -> list[Slot]:
    """See ``Queries.timeline``."""
    slot = Hour.hour / step
    name: Any = slot if dimension == "day" else getattr(Hour, dimension)
    query = (
        Hour.select(slot.alias("slot"), name.alias("name"), Hour.currency, *_sums())
        .where(Hour.hour >= _hour(since), Hour.hour < min(until, 2**62))
        .group_by(slot, name, Hour.currency)
        .order_by(slot, name)
    )
    rows: Iterable[dict[str, Any]] = query.dicts().execute(database)
    return [Slot(int(row["slot"]) * step, _of(str(row["name"]), row)) for row in rows]


def _sums() -> list[Any]:
    return [fn.SUM(getattr(Hour, name)).alias(name) for name in SUMS]


def _hour(since: float) -> int:
    return int(since // HOUR) * HOUR


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
