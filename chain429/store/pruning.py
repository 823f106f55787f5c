"""Keeps the log small: requests that are too old go, or the oldest where the file has grown too large. The sums of them
stay."""

from __future__ import annotations

import math
from dataclasses import dataclass

from peewee import SqliteDatabase

from chain429.store.migrations import connection_of

# So many requests go at once, so that nobody waits for the writer.
_BITE = 1000
# Pages of the file that are given back to the disk at once.
_PAGES = 2000


@dataclass(frozen=True, slots=True)
class Retention:
    """How long requests stay: so many seconds, and while no more than so many bytes of the file are in use."""

    seconds: float = math.inf
    size: float = math.inf


def prune(database: SqliteDatabase, retention: Retention, now: float) -> bool:
    """Take one bite; returns whether there may be more to take. Raises what SQLite does."""
    connection = connection_of(database)
    with database.atomic("IMMEDIATE"):
        query = 'SELECT "number", "at" FROM "request" ORDER BY "number" LIMIT ?'
        oldest = connection.execute(query, (_BITE,)).fetchall()
        large = _used(database) > retention.size
        gone = [number for number, at in oldest if large or at < now - retention.seconds]
        if gone:
            connection.execute('DELETE FROM "attempt" WHERE "request_id" <= ?', (gone[-1],))
            connection.execute('DELETE FROM "body" WHERE "request_id" <= ?', (gone[-1],))
            connection.execute('DELETE FROM "request" WHERE "number" <= ?', (gone[-1],))
    connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
    return len(gone) == _BITE


def _used(database: SqliteDatabase) -> int:
    """The bytes of the file that are in use."""
    connection = connection_of(database)
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
