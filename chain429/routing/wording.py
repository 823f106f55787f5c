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
    """The limit that was hit, as far as it is named: ``requests per day``, its window, size as written, and metric.

    ``used`` is how much of it was used when it refused, as written.
    """

    name: str = ""
    window: Window | None = None
    amount: str = ""
    metric: Metric | None = None
    used: str = ""


UNNAMED = NamedLimit()


def limit_named(failure: Failure) -> NamedLimit:
    """The quota with the longest window where the body lists quotas, else the first limit that the message names.

    First, because advice on other limits and other plans comes after it.
    """
    hits = [_limit_in(_CAPITAL.sub(" ", quota.id).lower(), quota.value) for quota in failure.quotas]
    return max(hits, key=_length, default=UNNAMED) if any(hit.window for hit in hits) else _limit_in(failure.folded)


def _length(limit: NamedLimit) -> float:
    return limit.window.seconds if limit.window else 0.0


# Quota ids are written GenerateRequestsPerDayPerProjectPerModel.
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WINDOW = re.compile(
    # Each begins with a letter of its own, which is looked for first; what may not stand before it is looked at then.
    r"p(?<!\w.)er[ -]?(?P<per>sec|min|hour|day|week|month)(?:onds?|utes?)?\b|/ ?(?P<slash>sec|min|hour|day|week|month)"
    r"(?:ond|ute)?\b|h(?<!\w.)ourl(?P<hour>y)\b|d(?<!\w.)ail(?P<day>y)\b|w(?<!\w.)eekl(?P<week>y)\b"
    r"|m(?<!\w.)onthl(?P<month>y)\b|(?P<short>i(?<!\w.)tp|o(?<!\w.)tp|r(?<!\w.)p|t(?<!\w.)p|q(?<!\w.)p)(?P<unit>[smhd])\b"
)
_METRIC = re.compile(
    r"(?P<metric>(?:input |output )?tokens|requests|queries|calls)[ -]*(?:per (?:model|project|user) ?)*$"
)
_BEFORE = re.compile(r"([0-9][0-9,.]*) (?:api )?$")
_AMOUNT = re.compile(r"\b(?:limit(?:ed to| is|:)?|max \w+:) ?(?P<amount>[0-9][0-9,]*)")
_USED = re.compile(r"\b(?:used|current usage):? ?(?P<used>[0-9][0-9,]*)")
_WINDOWS: Mapping[str, Window] = MappingProxyType(
    {
        "sec": Window.SECOND,
        "min": Window.MINUTE,
        "s": Window.SECOND,
        "m": Window.MINUTE,
        "h": Window.HOUR,
        "d": Window.DAY,
        **{str(window): window for window in Window},
    }
)
_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "itp": "input tokens",
        "otp": "output tokens",
        "tp": "tokens",
        **dict.fromkeys(("rp", "qp", "queries", "calls"), "requests"),
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
    """``text`` in lower case."""
    amount = "" if size is None else f"{size:g}"
    found = _WINDOW.search(text)
    before = _METRIC.search(text, max(0, found.start() - 60), found.start()) if found else None
    if not amount and before:
        told = _BEFORE.search(text, max(0, before.start() - 20), before.start())
        amount = told[1] if told else ""
    if not amount:
        told = _AMOUNT.search(text)
        amount = told["amount"] if told else ""
    amount = amount.replace(",", "")
    if found is None:
        return NamedLimit(amount=amount)
    window = _WINDOWS[found["per"] or found["slash"] or found["unit"] or found.lastgroup or ""]
    metric = before["metric"] if before else found["short"] or ""
    metric = _METRICS.get(metric, metric)
    used = _USED.search(text)
    return NamedLimit(
        f"{metric} per {window}" if metric else "",
        window,
        amount,
        _COUNTED.get(metric),
        used["used"].replace(",", "") if used else "",
    )
