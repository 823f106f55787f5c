"""Which limit a refusal names in words or quota ids: ``tokens per day``, its window and its size.

Used only once a status or a code has told that a limit was hit; wording never makes a refusal a rate limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chain429.routing.failure import Failure
from chain429.routing.headers import Metric
from chain429.routing.window import Window


@dataclass(frozen=True, slots=True)
class NamedLimit:
    """The limit that was hit, as far as it is named: ``requests per day``, its window, size as written, and metric."""

    name: str = ""
    window: Window | None = None
    amount: str = ""
    metric: Metric | None = None


UNNAMED = NamedLimit()


def limit_named(failure: Failure) -> NamedLimit:
    """The quota with the longest window where the body lists quotas, else the first limit that the message names.

    First, because advice on other limits and other plans comes after it.
    """
    hits = [_limit_in(_CAPITAL.sub(" ", quota.id), quota.value) for quota in failure.quotas]
    return max(hits, key=_length, default=UNNAMED) if any(hit.window for hit in hits) else _limit_in(failure.message)


def _length(limit: NamedLimit) -> float:
    return limit.window.seconds if limit.window else 0.0


# Quota ids are written GenerateRequestsPerDayPerProjectPerModel.
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WINDOW = re.compile(
    r"\bper[ -]?sec(?:onds?)?\b|/ ?sec(?:ond)?\b|(?P<minute>\bper[ -]?min(?:utes?)?\b|/ ?min(?:ute)?\b)"
    r"|(?P<hour>\bper[ -]?hour\b|/ ?hour\b|\bhourly\b)|(?P<day>\bper[ -]?day\b|/ ?day\b|\bdaily\b)"
    r"|(?P<week>\bper[ -]?week\b|/ ?week\b|\bweekly\b)|(?P<month>\bper[ -]?month\b|/ ?month\b|\bmonthly\b)"
    r"|\b(?P<metric>IT|OT|[RTQ])P(?P<unit>[SMHD])\b",
    re.IGNORECASE,
)
_METRIC = re.compile(
    r"(?:(?P<amount>[0-9][0-9,.]*) )?(?:API )?(?P<metric>(?:input |output )?tokens|requests|queries|calls)[ -]*"
    r"(?:per (?:model|project|user) ?)*$",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"\b(?:limit(?:ed to| is|:)?|max \w+:) ?(?P<amount>[0-9][0-9,]*)", re.IGNORECASE)
_UNITS: Mapping[str, Window] = MappingProxyType(
    {"s": Window.SECOND, "m": Window.MINUTE, "h": Window.HOUR, "d": Window.DAY}
)
_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "it": "input tokens",
        "ot": "output tokens",
        "t": "tokens",
        **dict.fromkeys(("r", "q", "queries", "calls"), "requests"),
    }
)

_COUNTED: Mapping[str, Metric] = MappingProxyType(
    {
        "requests": "requests",
        "tokens": "tokens",
        "input tokens": "input_tokens",
        "output tokens": "output_tokens",
    }
)


def _limit_in(text: str, size: float | None = None) -> NamedLimit:
    amount = "" if size is None else f"{size:g}"
    found = _WINDOW.search(text)
    before = _METRIC.search(text[max(0, found.start() - 60) : found.start()]) if found else None
    if not amount and before and before["amount"]:
        amount = before["amount"]
    told = None if amount else _AMOUNT.search(text)
    amount = (told["amount"] if told else amount).replace(",", "")
    if found is None:
        return NamedLimit(amount=amount)
    unit = found["unit"]
    window = _UNITS[unit.lower()] if unit else Window(found.lastgroup or Window.SECOND)
    metric = (before["metric"] if before else found["metric"] or "").lower()
    metric = _METRICS.get(metric, metric)
    return NamedLimit(f"{metric} per {window}" if metric else "", window, amount, _COUNTED.get(metric))
