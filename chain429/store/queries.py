"""The reading side of the log, for the page and the admin API.

Each call opens a read-only connection of its own and closes it, so that it may be called from any thread
(``asyncio.to_thread``) while the writer writes. A log that isn't there, or can't be read now, is an empty one.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from peewee import PeeweeException, SqliteDatabase, fn

from chain429.store import usage
from chain429.store.hours import HARMLESS
from chain429.store.models import Attempt, Request
from chain429.store.records import AttemptRecord, Costs, RequestRecord
from chain429.store.usage import Dimension, Slot, Sums

_T = TypeVar("_T")

# Percentiles are of as many requests as this, so that their cost does not grow with the day.
_TIMED = 1000


@dataclass(frozen=True, slots=True)
class ProviderTotals:
    """What a provider did: requests it served, attempts that failed there, and the tokens that it counted."""

    provider: str
    served: int
    failed_attempts: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Summary:
    """All requests together: ``served`` were answered, ``failed`` were exhausted or broke off; the rest were refused or
    cancelled. Latencies are seconds, of the last 1000 served; None where there are none.
    """

    requests: int = 0
    served: int = 0
    failed: int = 0
    latency_p50: float | None = None
    latency_p95: float | None = None
    first_token_p50: float | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests are asked for; None and the empty text mean any. ``provider`` is one that was tried or served;
    ``status`` is an HTTP status; ``text`` stands in the id, the model that was asked for, or the error.
    """

    since: float | None = None
    until: float | None = None
    chain: str = ""
    provider: str = ""
    outcome: str = ""
    status: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Logged:
    """A request in the log; ``number`` is its row's."""

    number: int
    request: RequestRecord
    costs: Costs


class Queries:
    """Questions to the log at ``path``. ``patience`` is how many seconds one may wait for a lock."""

    def __init__(self, path: Path, *, patience: float = 1.0) -> None:
        self._path = path
        self._patience = patience

    def recent(self, limit: int = 50, before: float | None = None) -> list[RequestRecord]:
        """The last requests, newest first, with their attempts in order; ``before`` (Unix seconds) pages back."""
        nothing: list[Logged] = []
        return [
            row.request for row in self._ask(lambda database: _requests(database, Filter(), limit, before), nothing)
        ]

    def requests(self, wanted: Filter, limit: int = 50, before: int | None = None) -> list[Logged]:
        """The last requests that are wanted, newest first, with attempts; ``before`` (a row's number) pages back."""
        return self._ask(lambda database: _requests(database, wanted, limit, None, before), [])

    def request(self, id: str) -> Logged | None:
        """The newest request of that id, with its attempts."""
        nothing: list[Logged] = []
        found = self._ask(lambda database: _by_id(database, id), nothing)
        return found[0] if found else None

    def numbered(self, number: int) -> Logged | None:
        """The request of that row, with its attempts."""
        nothing: list[Logged] = []
        found = self._ask(lambda database: _by_number(database, number), nothing)
        return found[0] if found else None

    def newest(self) -> int:
        """The number of the row that was written last; 0 where there is none. Takes no time, however long the log."""
        return self._ask(lambda database: Request.select(fn.MAX(Request.number)).scalar(database), 0) or 0

    def usage(self, by: Dimension, since: float, until: float = math.inf) -> list[Sums]:
        """What was used from the hour of ``since`` on (Unix seconds), by each provider, model, chain, … or day; the
        most requests first, days in their order."""
        return self._ask(lambda database: usage.by(database, by, since, until), [])

    def timeline(self, since: float, until: float, step: int, by: Dimension = "provider") -> list[Slot]:
        """The same for each span of ``step`` seconds, of whole hours, in their order."""
        return self._ask(lambda database: usage.timeline(database, since, until, step, by), [])

    def totals(self, since: float) -> dict[str, ProviderTotals]:
        """What each provider did since ``since`` (Unix seconds); providers that did nothing are absent."""
        return self._ask(lambda database: _totals(database, since), {})

    def summary(self, since: float) -> Summary:
        """All requests since ``since`` (Unix seconds)."""
        return self._ask(lambda database: _summary(database, since), Summary())

    def _ask(self, question: Callable[[SqliteDatabase], _T], nothing: _T) -> _T:
        database = SqliteDatabase(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=self._patience)
        try:
            # One transaction, so that the parts of an answer are of the same moment.
            with database.connection_context(), database.atomic():
                return question(database)
        except (PeeweeException, sqlite3.Error):
            return nothing


def _requests(
    database: SqliteDatabase, wanted: Filter, limit: int, before: float | None = None, number: int | None = None
) -> list[Logged]:
    query = Request.select().order_by(Request.at.desc(), Request.number.desc()).limit(limit)
    if before is not None:
        query = query.where(Request.at < before)
    if number is not None:
        at = Request.select(Request.at).where(Request.number == number).scalar(database)
        # Rows are numbered as requests end, and listed as they began.
        earlier = (Request.at < at) | ((Request.at == at) & (Request.number < number))
        query = query.where(Request.number < number if at is None else earlier)
    for condition in _conditions(wanted):
        query = query.where(condition)
    return _with_attempts(database, list(query.dicts().execute(database)))


def _by_id(database: SqliteDatabase, id: str) -> list[Logged]:
    query = Request.select().where(Request.id == id).order_by(Request.number.desc()).limit(1)
    return _with_attempts(database, list(query.dicts().execute(database)))


def _by_number(database: SqliteDatabase, number: int) -> list[Logged]:
    query = Request.select().where(Request.number == number)
    return _with_attempts(database, list(query.dicts().execute(database)))


def _conditions(wanted: Filter) -> Iterator[Any]:
    if wanted.since is not None:
        yield Request.at >= wanted.since
    if wanted.until is not None:
        yield Request.at < wanted.until
    if wanted.chain:
        yield Request.chain == wanted.chain
    if wanted.outcome:
        yield Request.outcome == wanted.outcome
    if wanted.status is not None:
        yield Request.status == wanted.status
    if wanted.provider:
        tried = Attempt.select(Attempt.request).where(
            Attempt.request == Request.number, Attempt.provider == wanted.provider, Attempt.outcome != "skipped"
        )
        yield (Request.provider == wanted.provider) | fn.EXISTS(tried)
    if wanted.text:
        yield (
            Request.id.contains(wanted.text)
            | Request.model_asked.contains(wanted.text)
            | Request.error.contains(wanted.text)
        )


def _with_attempts(database: SqliteDatabase, rows: list[dict[str, Any]]) -> list[Logged]:
    trails: dict[int, list[AttemptRecord]] = {row["number"]: [] for row in rows}
    attempts = Attempt.select().where(Attempt.request.in_(list(trails))).order_by(Attempt.request, Attempt.ordinal)
    for attempt in attempts.dicts().execute(database):
        trail = trails[attempt.pop("request")]
        del attempt["ordinal"]
        trail.append(AttemptRecord(**attempt))
    found = []
    for row in rows:
        number = row.pop("number")
        costs = Costs(**{name: row.pop(name) for name in Costs._fields})
        found.append(Logged(number, RequestRecord(attempts=tuple(trails[number]), **row), costs))
    return found


def _totals(database: SqliteDatabase, since: float) -> dict[str, ProviderTotals]:
    totals: dict[str, ProviderTotals] = {}
    requests = (
        Request.select(
            Request.provider,
            fn.SUM(Request.outcome == "served"),
            fn.COALESCE(fn.SUM(Request.tokens_in), 0),
            fn.COALESCE(fn.SUM(Request.tokens_out), 0),
        )
        .where(Request.at >= since, Request.provider.is_null(False))
        .group_by(Request.provider)
    )
    for provider, served, tokens_in, tokens_out in requests.tuples().execute(database):
        totals[provider] = ProviderTotals(provider, served, 0, tokens_in, tokens_out)
    failures = (
        Attempt.select(Attempt.provider, fn.COUNT(Attempt.ordinal))
        .join(Request)
        .where(Request.at >= since, Attempt.outcome.not_in(HARMLESS))
        .group_by(Attempt.provider)
    )
    for provider, failed in failures.tuples().execute(database):
        known = totals.get(provider, ProviderTotals(provider, 0, 0, 0, 0))
        totals[provider] = replace(known, failed_attempts=failed)
    return totals


def _summary(database: SqliteDatabase, since: float) -> Summary:
    counts: dict[str, int] = dict(
        Request.select(Request.outcome, fn.COUNT(Request.number))
        .where(Request.at >= since)
        .group_by(Request.outcome)
        .tuples()
        .execute(database)
    )
    timings = (
        Request.select(Request.latency, Request.first_token)
        .where(Request.at >= since, Request.outcome == "served")
        .order_by(Request.at.desc())
        .limit(_TIMED)
    )
    timed: list[tuple[float, float | None]] = list(timings.tuples().execute(database))
    latencies = [latency for latency, _ in timed]
    return Summary(
        requests=sum(counts.values()),
        served=counts.get("served", 0),
        failed=counts.get("exhausted", 0) + counts.get("broken", 0),
        latency_p50=percentile(latencies, 50),
        latency_p95=percentile(latencies, 95),
        first_token_p50=percentile([first for _, first in timed if first is not None], 50),
    )


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The nearest rank: the smallest value that at least ``percent`` of 100 values do not exceed; None of none."""
    rank = max(1, -(-len(values) * percent // 100))
    return sorted(values)[rank - 1] if values else None
