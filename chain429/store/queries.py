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
from typing import Any, NamedTuple, TypeVar

from peewee import SQL, PeeweeException, SqliteDatabase, fn

from chain429.store import disk, usage
from chain429.store.bodies import KeptBodies
from chain429.store.hours import HOUR
from chain429.store.models import Attempt, Body, Request
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
    """A request in the log; ``number`` is its row's. ``bodies`` are there where one request is asked for."""

    number: int
    request: RequestRecord
    costs: Costs
    bodies: KeptBodies | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to. With ``older`` as ``before`` it goes on; None where nothing is left. It looks at so many
    requests (``Queries.searched``) at once: where that ended it, ``until`` is how far back it went (Unix seconds).
    """

    requests: list[Logged]
    older: int | None = None
    until: float | None = None


class Queries:
    """Questions to the log at ``path``. ``patience`` is how many seconds one may wait for a lock; ``searched`` is how
    many requests a search looks at where no index helps, so that its cost does not grow with the log; ``on_damage`` is
    called, from any thread, when the file turns out to be damaged; ``on_failure`` with what is wrong in words, whenever
    a question can't be answered."""

    def __init__(
        self,
        path: Path,
        *,
        patience: float = 1.0,
        searched: int = 50_000,
        on_damage: Callable[[], None] = lambda: None,
        on_failure: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._on_damage = on_damage
        self._on_failure = on_failure
        self.searched = searched
        self._path = path
        self._patience = patience

    def recent(self, limit: int = 50, before: float | None = None) -> list[RequestRecord]:
        """The last requests, newest first, with their attempts in order; ``before`` (Unix seconds) pages back."""
        return [row.request for row in self.search(Filter(until=before), limit).requests]

    def search(self, wanted: Filter, limit: int = 50, before: int | None = None) -> Found:
        """The last requests that are wanted, newest first, with attempts; ``before`` (a row's number) pages back."""
        return self._ask(lambda database: _search(database, wanted, limit, before, self.searched), Found([]))

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
        """What each provider did from the hour of ``since`` on (Unix seconds); those that did nothing are absent."""
        return self._ask(lambda database: _totals(database, since), {})

    def summary(self, since: float) -> Summary:
        """All requests from the hour of ``since`` on (Unix seconds)."""
        return self._ask(lambda database: _summary(database, since), Summary())

    def _ask(self, question: Callable[[SqliteDatabase], _T], nothing: _T) -> _T:
        database = SqliteDatabase(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=self._patience)
        try:
            # One transaction, so that the parts of an answer are of the same moment.
            with database.connection_context(), database.atomic():
                return question(database)
        except (PeeweeException, sqlite3.Error) as error:
            cause = disk.cause(error)
            if disk.damaged(cause):
                self._on_damage()
            self._on_failure(disk.words(cause))
            return nothing


def _search(database: SqliteDatabase, wanted: Filter, limit: int, before: int | None, searched: int) -> Found:
    conditions = list(_conditions(wanted))
    query = Request.select().order_by(Request.at.desc(), Request.number.desc()).limit(limit + 1)
    bounds = _bounds(database, wanted, before)
    last = _last_looked_at(database, bounds, searched) if conditions else None
    if last is not None:
        query = query.where(Request.at >= last.at)
    rows = _with_attempts(database, list(query.where(*bounds, *conditions).dicts().execute(database)))
    if len(rows) > limit:
        return Found(rows[:limit], rows[limit - 1].number)
    if wanted.text and before is None:
        # An id is found however old it is.
        named = Request.select().where(Request.id == wanted.text, *_conditions(replace(wanted, text="")), *bounds)
        known = {row.number for row in rows}
        found = _with_attempts(database, list(named.limit(limit).dicts().execute(database)))
        rows += [row for row in found if row.number not in known][: limit - len(rows)]
    return Found(rows) if last is None else Found(rows, last.number, last.at)


def _bounds(database: SqliteDatabase, wanted: Filter, before: int | None) -> list[Any]:
    """Between which times to look, and below which row. Always with one upper bound: SQLite makes use of no more."""
    until = math.inf if wanted.until is None else wanted.until
    since = [] if wanted.since is None else [Request.at >= wanted.since]
    if before is None:
        return [Request.at < until, *since]
    at = Request.select(Request.at).where(Request.number == before).scalar(database)
    if at is None:
        # It was taken away, and with it all that came earlier, if it was ever there.
        return [Request.at < until, SQL("+number < ?", [before]), *since]
    if until <= at:
        return [Request.at < until, *since]
    # Rows are numbered as requests end, and listed as they began.
    return [Request.at <= at, (Request.at < at) | (Request.number < before), *since]


class _Place(NamedTuple):
    at: float
    number: int


def _last_looked_at(database: SqliteDatabase, bounds: list[Any], searched: int) -> _Place | None:
    """Where a search ends for now: before the first row of a time; None where there are not as many rows."""
    query = Request.select(Request.at).where(*bounds).order_by(Request.at.desc()).limit(1).offset(searched - 1)
    at = query.scalar(database)
    if at is None:
        return None
    return _Place(at, Request.select(fn.MIN(Request.number)).where(Request.at == at).scalar(database))


def _by_id(database: SqliteDatabase, id: str) -> list[Logged]:
    query = Request.select().where(Request.id == id).order_by(Request.number.desc()).limit(1)
    return _with_bodies(database, _with_attempts(database, list(query.dicts().execute(database))))


def _by_number(database: SqliteDatabase, number: int) -> list[Logged]:
    query = Request.select().where(Request.number == number)
    return _with_bodies(database, _with_attempts(database, list(query.dicts().execute(database))))


def _conditions(wanted: Filter) -> Iterator[Any]:
    """Those that no index knows of."""
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
    if not rows:
        return []
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


def _with_bodies(database: SqliteDatabase, rows: list[Logged]) -> list[Logged]:
    found = []
    for row in rows:
        kept = Body.select(Body.asked, Body.asked_size, Body.answered, Body.answered_size)
        texts = next(iter(kept.where(Body.request == row.number).tuples().execute(database)), None)
        found.append(row if texts is None else replace(row, bodies=KeptBodies(*texts)))
    return found


def _totals(database: SqliteDatabase, since: float) -> dict[str, ProviderTotals]:
    totals: dict[str, ProviderTotals] = {}
    for sums in usage.by(database, "provider", since, math.inf):
        if sums.name:
            known = totals.get(sums.name, ProviderTotals(sums.name, 0, 0, 0, 0))
            totals[sums.name] = ProviderTotals(
                sums.name,
                known.served + sums.served,
                known.failed_attempts + sums.failures,
                known.tokens_in + sums.tokens_in,
                known.tokens_out + sums.tokens_out,
            )
    return totals


def _summary(database: SqliteDatabase, since: float) -> Summary:
    since = since // HOUR * HOUR
    of = Request.outcome
    counted = Request.select(fn.COUNT(of), fn.SUM(of == "served"), fn.SUM(of.in_(("exhausted", "broken"))))
    ((requests, served, failed),) = counted.where(Request.at >= since).tuples().execute(database)
    timings = (
        Request.select(Request.latency, Request.first_token)
        .where(Request.at >= since, Request.outcome == "served")
        .order_by(Request.at.desc())
        .limit(_TIMED)
    )
    timed: list[tuple[float, float | None]] = list(timings.tuples().execute(database))
    latencies = [latency for latency, _ in timed]
    return Summary(
        requests=requests,
        served=served or 0,
        failed=failed or 0,
        latency_p50=percentile(latencies, 50),
        latency_p95=percentile(latencies, 95),
        first_token_p50=percentile([first for _, first in timed if first is not None], 50),
    )


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The nearest rank: the smallest value that at least ``percent`` of 100 values do not exceed; None of none."""
    rank = max(1, -(-len(values) * percent // 100))
    return sorted(values)[rank - 1] if values else None
