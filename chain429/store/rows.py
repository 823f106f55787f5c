"""How records become rows: numbered at the end of the log, texts redacted and cut to size, numbers made to fit."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator, Sequence

from peewee import Model, SqliteDatabase

from chain429.store import hours
from chain429.store.models import Attempt, Body, Request
from chain429.store.records import Costs, RequestRecord

LONGEST_TEXT = 2000  # characters kept of an error or a reason
_LONGEST_NAME = 200  # characters kept of the model's name as the client wrote it

Priced = tuple[RequestRecord, Costs]
_Value = str | int | float | None


class Rows:
    """Adds batches to the log. ``redact`` is given every text that may hold a stranger's words."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def add(self, connection: sqlite3.Connection, batch: Sequence[Priced]) -> None:
        """Add a batch and its sums by the hour. Raises what SQLite does.

        The transaction holds the write lock already, so that nobody else takes the numbers.
        """
        insert_request, insert_attempt, insert_body = _inserts()
        names: dict[str, str] = {}
        batch = [(self._named(record, names), costs) for record, costs in batch]
        (last,) = connection.execute('SELECT coalesce(max("number"), 0) FROM "request"').fetchone()
        numbered = list(enumerate(batch, last + 1))
        connection.executemany(insert_request, [self._request(number, *one) for number, one in numbered])
        connection.executemany(
            insert_attempt, [row for number, (record, _) in numbered for row in self._attempts(number, record)]
        )
        bodies = [(number, *one.bodies.kept(self._redact)) for number, (one, _) in numbered if one.bodies is not None]
        if bodies:
            connection.executemany(insert_body, bodies)
        hours.add(connection, batch)

    def text(self, words: str, longest: int = LONGEST_TEXT) -> str:
        """``words`` as they are kept."""
        if not words:
            return words
        # Redacted before it is cut: the half of a key that a cut leaves would not be recognised.
        words = self._redact(words)[:longest]
        # JSON may carry lone surrogates, which SQLite can't store.
        return words if words.isascii() else words.encode("utf-8", "replace").decode("utf-8")

    def _named(self, record: RequestRecord, names: dict[str, str]) -> RequestRecord:
        """The record with its names as they are kept, for clients choose those of models; ``names`` are those seen."""

        def name(words: str) -> str:
            found = names.get(words)
            if found is None:
                found = names[words] = self.text(words, _LONGEST_NAME)
            return found

        chain, model = name(record.chain), record.model and name(record.model)
        attempts = record.attempts
        if any(name(attempt.model) != attempt.model for attempt in attempts):
            attempts = tuple(attempt._replace(model=name(attempt.model)) for attempt in attempts)
        if (chain, model, attempts) == (record.chain, record.model, record.attempts):
            return record
        return record._replace(chain=chain, model=model, attempts=attempts)

    def _request(self, number: int, record: RequestRecord, costs: Costs) -> tuple[_Value, ...]:
        return (
            number,
            record.id,
            record.at,
            record.dialect,
            record.chain,
            self.text(record.model_asked, _LONGEST_NAME),
            record.provider,
            record.model,
            record.credential,
            record.status,
            record.outcome,
            int(record.streamed),  # sqlite3 binds a bool many times slower
            hours.counted(record.tokens_in),
            hours.counted(record.tokens_out),
            record.latency,
            record.first_token,
            record.client,
            self.text(record.error),
            hours.counted(record.tokens_cached),
            *costs,
        )

    def _attempts(self, number: int, record: RequestRecord) -> Iterator[tuple[_Value, ...]]:
        for ordinal, attempt in enumerate(record.attempts):
            yield (
                number,
                ordinal,
                attempt.provider,
                attempt.model,
                attempt.credential,
                attempt.outcome,
                attempt.status,
                self.text(attempt.reason),
                attempt.duration,
                attempt.until,
            )


@functools.cache
def _inserts() -> tuple[str, str, str]:
    """The SQL that inserts a request, an attempt, and bodies: derived from the models once, for ``executemany``."""
    return _insert(Request), _insert(Attempt), _insert(Body)


def _insert(model: type[Model]) -> str:
    fields = model._meta.sorted_fields
    query = model.insert_many([[None] * len(fields)], fields=fields)
    sql, _ = query.bind(SqliteDatabase(None)).sql()
    return str(sql)
