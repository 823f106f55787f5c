"""Sums by the hour and by the day: added up from a batch of records, and written in the transaction of their rows."""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Iterable

from chain429.store.records import Costs, RequestRecord

HOUR = 3600
DAY = 86_400
# Attempts with one of these say nothing against the target.
HARMLESS = ("served", "skipped", "cancelled")
# The longest latency that each column ``within_…`` counts, in seconds; the last one has no end.
STEPS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
WITHIN = (*(f"within_{step * 1000:.0f}" for step in STEPS), "within_ever")

KEY = ("hour", "chain", "provider", "model", "credential", "client", "currency")
SUMS = (
    *("requests", "served", "failures", "tokens_in", "tokens_out", "tokens_cached", "tokens_wasted"),
    *("cost", "list_cost", "unpriced", "first_token", *WITHIN),
)
_MARKS = ", ".join("?" * len((*KEY, *SUMS)))
_ADDED = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
_UPSERT = f"({', '.join((*KEY, *SUMS))}) VALUES ({_MARKS}) ON CONFLICT DO UPDATE SET {_ADDED}"
_UPSERT_HOUR, _UPSERT_DAY = f"INSERT INTO hour {_UPSERT}", f"INSERT INTO day {_UPSERT}"

# In one request: a provider may claim any number, and sums have to fit into 64 bits.
_MOST_TOKENS = 10**12

_Key = tuple[int, str, str, str, str, str, str]


def add(connection: sqlite3.Connection, batch: Iterable[tuple[RequestRecord, Costs]]) -> None:
    """Add a batch to the sums."""
    sums: dict[_Key, list[float]] = {}
    for record, costs in batch:
        hour = int(record.at // HOUR) * HOUR
        key = (
            *(hour, record.chain, record.provider or "", record.model or "", record.credential or ""),
            *(record.client, costs.currency),
        )
        _add(sums.setdefault(key, [0.0] * len(SUMS)), record, costs)
        for attempt in record.attempts:
            if attempt.outcome not in HARMLESS:
                there = (hour, record.chain, attempt.provider, attempt.model, attempt.credential, record.client, "usd")
                sums.setdefault(there, [0.0] * len(SUMS))[2] += 1
    connection.executemany(_UPSERT_HOUR, [(*key, *values) for key, values in sums.items()])
    days: dict[_Key, list[float]] = {}
    for key, values in sums.items():
        day = days.setdefault((key[0] // DAY * DAY, *key[1:]), [0.0] * len(SUMS))
        day[:] = map(operator.add, day, values)
    connection.executemany(_UPSERT_DAY, [(*key, *values) for key, values in days.items()])


def _add(values: list[float], record: RequestRecord, costs: Costs) -> None:
    tokens_in, tokens_out = counted(record.tokens_in) or 0, counted(record.tokens_out) or 0
    values[0] += 1
    values[3] += tokens_in
    values[4] += tokens_out
    values[5] += counted(record.tokens_cached) or 0
    if record.outcome in ("broken", "cancelled"):
        values[6] += tokens_in + tokens_out
    values[7] += costs.cost or 0.0
    # Nothing is saved by what can't be compared: there the cost stands for the list price.
    comparable = costs.cost is not None and costs.list_cost is not None and costs.list_currency == costs.currency
    values[8] += (costs.list_cost if comparable else costs.cost) or 0.0
    if record.outcome != "served":
        return
    values[1] += 1
    values[9] += not comparable
    values[10] += record.first_token or 0.0
    values[11 + next((at for at, step in enumerate(STEPS) if record.latency <= step), len(STEPS))] += 1


def counted(tokens: int | None) -> int | None:
    """A provider's count, as far as it can be true."""
    return tokens if tokens is None else max(0, min(tokens, _MOST_TOKENS))
