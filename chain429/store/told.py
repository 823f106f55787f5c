"""What the log answers, as JSON tells it: for the admin API, and for whoever reads the log without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chain429.store.queries import Logged
from chain429.store.usage import Sums


def savings_of(days: Sequence[Sums]) -> list[dict[str, Any]]:
    """What was saved, by currency: of the requests that have a price."""
    found = []
    for currency in dict.fromkeys(day.currency for day in days):
        own = [day for day in days if day.currency == currency]
        cost, listed = sum(day.cost for day in own), sum(day.list_cost for day in own)
        served, unpriced = sum(day.served for day in own), sum(day.unpriced for day in own)
        found.append(
            {
                "currency": currency,
                "requests": sum(day.requests for day in own),
                "priced": served - unpriced,
                "unpriced": unpriced,
                "cost": cost,
                "list_cost": listed,
                "saved": listed - cost,
                "tokens_cached": sum(day.tokens_cached for day in own),
                "tokens_wasted": sum(day.tokens_wasted for day in own),
            }
        )
    return found


def told(row: Logged) -> dict[str, Any]:
    """A request as the answers tell it."""
    request = row.request._asdict()
    del request["bodies"]  # which are read from the log by themselves
    request["attempts"] = [attempt._asdict() for attempt in row.request.attempts]
    return {"number": row.number, **request, **row.costs._asdict()}


def told_request(row: Logged) -> dict[str, Any]:
    """The same of a request that was asked for by its id, with its bodies."""
    return {**told(row), "bodies": row.bodies and row.bodies._asdict()}


def told_sums(sums: Sums) -> dict[str, Any]:
    """What somebody used, as the answers tell it."""
    found = {name: getattr(sums, name) for name in Sums.__slots__}
    for name in ("latency_p50", "latency_p95"):  # JSON has no word for what has no end
        found[name] = None if found[name] == math.inf else found[name]
    return {**found, "saved": sums.saved}
