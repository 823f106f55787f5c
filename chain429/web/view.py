"""What the page shows, as values and words: the templates need nothing but loops.

Pure but for the questions to the log; everything here may run in a thread. Times are Unix seconds unless a name says
otherwise.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass

from chain429.clock import Clock
from chain429.routing.status import ChainStatus, LimitStatus, ProviderStatus, Status, TargetStatus
from chain429.store.queries import Filter, Logged, ProviderTotals, Queries, Summary
from chain429.store.records import Costs, RequestRecord
from chain429.store.told import savings_of

_DAY = 86_400.0
_SHOWN = 10  # requests on the page
_PAUSE = 20  # counts of the day are taken again after as many times as long as taking them took

# States of targets, and outcomes of attempts and requests, that do not read well as they are written.
_WORDS = {
    "tracking": "available, limits known",
    "open": "breaker open",
    "half-open": "on trial",
    "rate_limited": "rate limited",
    "quota_spent": "quota spent",
    "unauthorized": "key refused",
    "too_large": "too large",
    "broken": "broke off",
    "cancelled": "client left",
    "skipped": "passed over",
}
_REQUEST_WORDS = {**_WORDS, "exhausted": "nothing left"}


# From this share of a limit on, its bar says that it runs low.
_LOW = 0.8
_SOURCES = {
    "reported": "reported",
    "concluded": "from a refusal",
    "configured": "configured",
}


@dataclass(frozen=True, slots=True)
class LimitView:
    """A limit whose size is known: ``used`` of ``size`` as a bar, of ``level`` ``ok``, ``low`` or ``out``.

    ``size`` is what is used and what is left together where only these are told. ``back`` is when all is back.
    """

    name: str
    used: int
    size: int
    left: int
    level: str
    back: float | None
    source: str

    @classmethod
    def of(cls, limit: LimitStatus, left: int) -> LimitView:
        size = round(limit.limit) if limit.limit is not None and limit.limit >= 1 else limit.used + left
        low = "low" if limit.used >= _LOW * size else "ok"
        return cls(
            name=_limit_name(limit),
            used=limit.used,
            size=size,
            left=left,
            level=low if left else "out",
            back=limit.resets_at,
            source=_SOURCES.get(limit.layer, ""),
        )


@dataclass(frozen=True, slots=True)
class TargetView:
    """A target, with the limits that are known and, in words, what was counted against those that are not."""

    now: TargetStatus
    limits: tuple[LimitView, ...]
    counted: str

    @classmethod
    def of(cls, target: TargetStatus) -> TargetView:
        counted = [_counted(limit) for limit in target.limits if limit.left is None]
        return cls(
            target,
            tuple(LimitView.of(limit, limit.left) for limit in target.limits if limit.left is not None),
            ", ".join(counted),
        )


def _limit_name(limit: LimitStatus) -> str:
    return f"{_metric(limit)} {f'per {limit.window}' if limit.window else 'at a time'}"


def _counted(limit: LimitStatus) -> str:
    metric = _metric(limit).removesuffix("s") if limit.used == 1 else _metric(limit)
    return f"{limit.used:,} {metric} in {'an' if limit.window == 'hour' else 'a'} {limit.window}"


def _metric(limit: LimitStatus) -> str:
    return limit.metric.replace("_", " ")


@dataclass(frozen=True, slots=True)
class ChainView:
    """A chain. ``next`` is the index of the tier that the next request goes to, ``back`` the soonest return."""

    name: str
    tiers: tuple[tuple[TargetView, ...], ...]
    available: int
    targets: int
    next: int | None
    back: float | None

    @classmethod
    def of(cls, chain: ChainStatus) -> ChainView:
        ready = [any(target.ready for target in tier) for tier in chain.tiers]
        targets = [target for tier in chain.tiers for target in tier]
        return cls(
            name=chain.name,
            tiers=tuple(tuple(map(TargetView.of, tier)) for tier in chain.tiers),
            available=sum(target.ready for target in targets),
            targets=len(targets),
            next=ready.index(True) if any(ready) else None,
            back=min((target.until for target in targets if target.until is not None), default=None),
        )


@dataclass(frozen=True, slots=True)
class ProviderView:
    """A provider and what it did. ``now`` is None for one that only the log still knows."""

    name: str
    now: ProviderStatus | None
    totals: ProviderTotals


@dataclass(frozen=True, slots=True)
class BodyView:
    """A body as far as it is kept, and how many bytes it had."""

    id: str
    title: str
    text: str
    size: int

    @property
    def cut(self) -> bool:
        """Whether there was more of it."""
        return len(self.text.encode("utf-8", "replace")) < self.size


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request, with its trail in a few words. ``number`` tells rows apart even where clients chose the same id."""

    record: RequestRecord
    number: int
    costs: Costs
    trail: str
    bodies: tuple[BodyView, ...]

    @classmethod
    def of(cls, logged: Logged) -> RequestView:
        record = logged.request
        passed = sum(attempt.outcome == "skipped" for attempt in record.attempts)
        tried = len(record.attempts) - passed
        parts = [f"{tried} attempt{'' if tried == 1 else 's'}"]
        if passed:
            parts.append(f"{passed} passed over")
        kept = logged.bodies
        bodies = (
            ()
            if kept is None
            else (
                BodyView("asked", "What was asked", kept.asked, kept.asked_size),
                BodyView("answered", "What was answered", kept.answered, kept.answered_size),
            )
        )
        return cls(record, logged.number, logged.costs, ", ".join(parts), bodies)

    @property
    def saved(self) -> float | None:
        """What it would have cost by the list, minus what it did cost; None where either is not known."""
        if self.costs.cost is None or self.costs.list_cost is None or self.costs.currency != self.costs.list_currency:
            return None
        return self.costs.list_cost - self.costs.cost


class Views:
    """Makes the first page's content. ``api_url`` is the base URL that people are told to use, ``priced`` the date of
    the table of prices."""

    def __init__(self, queries: Queries, clock: Clock, api_url: str, priced: str = "") -> None:
        self._queries = queries
        self._clock = clock
        self._api_url = api_url
        self._priced = priced
        self._counts: tuple[Mapping[str, ProviderTotals], Summary] = ({}, Summary())
        self._count_again = float("-inf")  # monotonic seconds

    def of(self, status: Status, dropped: int, now: float) -> dict[str, object]:
        """What the templates are given; ``dropped`` is how many requests the log lost. Blocks on the log."""
        totals, summary = self._count(now - _DAY)
        return {
            "now": now,
            "status": status,
            "headline": headline(status),
            "chains": [ChainView.of(chain) for chain in status.chains],
            "providers": _providers(status, totals),
            "tokens": sum(total.tokens_in + total.tokens_out for total in totals.values()),
            "summary": summary,
            "savings": savings_of(self._queries.usage("day", now - _DAY)),
            "priced": self._priced,
            "requests": [RequestView.of(logged) for logged in self._queries.search(Filter(), _SHOWN).requests],
            "dropped": dropped,
            "api_url": self._api_url,
        }

    def _count(self, since: float) -> tuple[Mapping[str, ProviderTotals], Summary]:
        """Counts over a day take the longer the more was done, so a page left open takes them less often then."""
        began = self._clock.monotonic()
        if began >= self._count_again:
            self._counts = (self._queries.totals(since), self._queries.summary(since))
            ended = self._clock.monotonic()
            self._count_again = ended + _PAUSE * (ended - began)
        return self._counts


def _providers(status: Status, totals: Mapping[str, ProviderTotals]) -> list[ProviderView]:
    views = [
        ProviderView(provider.name, provider, totals.get(provider.id, ProviderTotals(provider.id, 0, 0, 0, 0)))
        for provider in status.providers
    ]
    known = {provider.id for provider in status.providers}
    return views + [ProviderView(id, None, total) for id, total in sorted(totals.items()) if id not in known]


def headline(status: Status) -> str:
    """The one line that says whether anything is wrong."""
    if status.healthy:
        return "All good"
    count = len(status.problems)
    return "One thing is wrong" if count == 1 else f"{count} things are wrong" if count else "Something is wrong"


def words(outcome: str) -> str:
    """A state of a target, or what became of an attempt."""
    return _WORDS.get(outcome, outcome)


def request_words(outcome: str) -> str:
    """What became of a request."""
    return _REQUEST_WORDS.get(outcome, outcome)


def iso(at: float) -> str:
    """``2025-06-15T15:06:40Z``, for a ``datetime`` attribute; a time that no calendar has is the nearest it has."""
    return _utc(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(at: float) -> str:
    """``2025-06-15 15:06:40 UTC``, for people without JavaScript."""
    return _utc(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def _utc(at: float) -> datetime.datetime:
    last = 253_402_300_799.0  # the end of the year 9999
    return datetime.datetime.fromtimestamp(max(0.0, min(at, last)), datetime.UTC)


def seconds(duration: float) -> str:
    """A duration in seconds: ``80 ms``, ``1.2 s``, ``2 min 5 s``."""
    if duration < 0.9995:
        return f"{duration * 1000:.0f} ms"
    if duration < 99.95:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s"


def number(value: int) -> str:
    """``1,234,567``."""
    return f"{value:,}"


def money(amount: float, currency: str) -> str:
    """``$1,234.56``, ``$0.00042``, ``12.5 sats``: four digits of what is small, never rounded to nothing."""
    size = abs(amount)
    digits = 2 if size >= 1 or size == 0 else min(9, 3 - math.floor(math.log10(size)))
    text = f"{size:,.{digits}f}"
    if digits > 2:
        whole, _, rest = text.partition(".")
        text = f"{whole}.{rest.rstrip('0').ljust(2, '0')}"
    sign = "-" if amount < 0 else ""
    return f"{sign}${text}" if currency == "usd" else f"{sign}{text} {currency}"


def percent(share: float) -> str:
    """``12 %``, ``0.4 %``; of what is not nothing, never ``0 %``."""
    if share in (0.0, 1.0):
        return f"{share * 100:.0f} %"
    text = f"{share * 100:.1f}" if share < 0.0995 or share > 0.995 else f"{share * 100:.0f}"
    return f"{max(text, '0.1', key=float)} %"
