"""How the log's tables came to be: numbered functions, applied once each and in order.

A migration is written in SQL and never edited once released: it has to mean the same whatever ``models`` has become
since. A new one is a function at the end of ``MIGRATIONS``. What would keep a start waiting when the log is long, and
only makes things quick, is among ``LATER`` too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from peewee import SqliteDatabase

from chain429.errors import StartError
from chain429.store.models import Migration


def connection_of(database: SqliteDatabase) -> sqlite3.Connection:
    """The calling thread's SQLite connection beneath ``database``."""
    connection: sqlite3.Connection = database.connection()  # type: ignore[no-untyped-call]
    return connection


def m0001_requests_and_attempts(connection: sqlite3.Connection) -> None:
    """The first tables."""
    connection.execute("""
        CREATE TABLE "request" (
            "number" INTEGER NOT NULL PRIMARY KEY,
            "id" TEXT NOT NULL,
            "at" REAL NOT NULL,
            "dialect" TEXT NOT NULL,
            "chain" TEXT NOT NULL,
            "model_asked" TEXT NOT NULL,
            "provider" TEXT,
            "model" TEXT,
            "credential" TEXT,
            "status" INTEGER NOT NULL,
            "outcome" TEXT NOT NULL,
            "streamed" INTEGER NOT NULL,
            "tokens_in" INTEGER,
            "tokens_out" INTEGER,
            "latency" REAL NOT NULL,
            "first_token" REAL,
            "client" TEXT NOT NULL,
            "error" TEXT NOT NULL
        )""")
    connection.execute('CREATE INDEX "request_at" ON "request" ("at")')
    connection.execute("""
        CREATE TABLE "attempt" (
            "request_id" INTEGER NOT NULL REFERENCES "request" ("number") ON DELETE CASCADE,
            "ordinal" INTEGER NOT NULL,
            "provider" TEXT NOT NULL,
            "model" TEXT NOT NULL,
            "credential" TEXT NOT NULL,
            "outcome" TEXT NOT NULL,
            "status" INTEGER,
            "reason" TEXT NOT NULL,
            "duration" REAL NOT NULL,
            "until" REAL,
            PRIMARY KEY ("request_id", "ordinal")
        ) WITHOUT ROWID""")


def m0002_state(connection: sqlite3.Connection) -> None:
    """What is kept over a restart."""
    connection.execute("""
        CREATE TABLE "state" (
            "name" TEXT NOT NULL PRIMARY KEY,
            "value" TEXT NOT NULL,
            "written_at" REAL NOT NULL
        )""")


def m0003_costs_and_hours(connection: sqlite3.Connection) -> None:
    """What requests cost, and sums by the hour, also of what is there already."""
    for column in (
        '"tokens_cached" INTEGER',
        '"cost" REAL',
        """"currency" TEXT NOT NULL DEFAULT 'usd'""",
        '"list_cost" REAL',
        """"list_model" TEXT NOT NULL DEFAULT ''""",
        """"list_currency" TEXT NOT NULL DEFAULT 'usd'""",
        """"priced" TEXT NOT NULL DEFAULT ''""",
    ):
        connection.execute(f'ALTER TABLE "request" ADD COLUMN {column}')
    connection.execute("""
        CREATE TABLE "hour" (
            "hour" INTEGER NOT NULL,
            "chain" TEXT NOT NULL,
            "provider" TEXT NOT NULL,
            "model" TEXT NOT NULL,
            "credential" TEXT NOT NULL,
            "client" TEXT NOT NULL,
            "currency" TEXT NOT NULL,
            "requests" INTEGER NOT NULL,
            "served" INTEGER NOT NULL,
            "failures" INTEGER NOT NULL,
            "tokens_in" INTEGER NOT NULL,
            "tokens_out" INTEGER NOT NULL,
            "tokens_cached" INTEGER NOT NULL,
            "tokens_wasted" INTEGER NOT NULL,
            "cost" REAL NOT NULL,
            "list_cost" REAL NOT NULL,
            "unpriced" INTEGER NOT NULL,
            "first_token" REAL NOT NULL,
            "within_250" INTEGER NOT NULL,
            "within_500" INTEGER NOT NULL,
            "within_1000" INTEGER NOT NULL,
            "within_2000" INTEGER NOT NULL,
            "within_4000" INTEGER NOT NULL,
            "within_8000" INTEGER NOT NULL,
            "within_16000" INTEGER NOT NULL,
            "within_32000" INTEGER NOT NULL,
            "within_ever" INTEGER NOT NULL,
            PRIMARY KEY ("hour", "chain", "provider", "model", "credential", "client", "currency")
        ) WITHOUT ROWID""")
    connection.execute("""
        INSERT INTO "hour"
        SELECT
            CAST("at" / 3600 AS INTEGER) * 3600, "chain", coalesce("provider", ''), coalesce("model", ''),
            coalesce("credential", ''), "client", 'usd', count(*), sum("outcome" = 'served'), 0,
            coalesce(sum("tokens_in"), 0), coalesce(sum("tokens_out"), 0), 0,
            coalesce(sum(("outcome" IN ('broken', 'cancelled'))
                         * (coalesce("tokens_in", 0) + coalesce("tokens_out", 0))), 0),
            0, 0, sum("outcome" = 'served'), coalesce(sum(("outcome" = 'served') * "first_token"), 0),
            sum("outcome" = 'served' AND "latency" <= 0.25),
            sum("outcome" = 'served' AND "latency" > 0.25 AND "latency" <= 0.5),
            sum("outcome" = 'served' AND "latency" > 0.5 AND "latency" <= 1),
            sum("outcome" = 'served' AND "latency" > 1 AND "latency" <= 2),
            sum("outcome" = 'served' AND "latency" > 2 AND "latency" <= 4),
            sum("outcome" = 'served' AND "latency" > 4 AND "latency" <= 8),
            sum("outcome" = 'served' AND "latency" > 8 AND "latency" <= 16),
            sum("outcome" = 'served' AND "latency" > 16 AND "latency" <= 32),
            sum("outcome" = 'served' AND "latency" > 32)
        FROM "request" GROUP BY 1, 2, 3, 4, 5, 6""")
    connection.execute("""
        INSERT INTO "hour"
        SELECT CAST("request"."at" / 3600 AS INTEGER) * 3600, "request"."chain", "attempt"."provider",
            "attempt"."model", "attempt"."credential", "request"."client", 'usd',
            0, 0, count(*), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        FROM "attempt" JOIN "request" ON "request"."number" = "attempt"."request_id"
        WHERE "attempt"."outcome" NOT IN ('served', 'skipped', 'cancelled') GROUP BY 1, 2, 3, 4, 5, 6
        ON CONFLICT DO UPDATE SET "failures" = "failures" + excluded."failures"
        """)


def m0004_days(connection: sqlite3.Connection) -> None:
    """Sums by the day beside those by the hour."""
    connection.execute("""
        CREATE TABLE "day" (
            "hour" INTEGER NOT NULL,
            "chain" TEXT NOT NULL,
            "provider" TEXT NOT NULL,
            "model" TEXT NOT NULL,
            "credential" TEXT NOT NULL,
            "client" TEXT NOT NULL,
            "currency" TEXT NOT NULL,
            "requests" INTEGER NOT NULL,
            "served" INTEGER NOT NULL,
            "failures" INTEGER NOT NULL,
            "tokens_in" INTEGER NOT NULL,
            "tokens_out" INTEGER NOT NULL,
            "tokens_cached" INTEGER NOT NULL,
            "tokens_wasted" INTEGER NOT NULL,
            "cost" REAL NOT NULL,
            "list_cost" REAL NOT NULL,
            "unpriced" INTEGER NOT NULL,
            "first_token" REAL NOT NULL,
            "within_250" INTEGER NOT NULL,
            "within_500" INTEGER NOT NULL,
            "within_1000" INTEGER NOT NULL,
            "within_2000" INTEGER NOT NULL,
            "within_4000" INTEGER NOT NULL,
            "within_8000" INTEGER NOT NULL,
            "within_16000" INTEGER NOT NULL,
            "within_32000" INTEGER NOT NULL,
            "within_ever" INTEGER NOT NULL,
            PRIMARY KEY ("hour", "chain", "provider", "model", "credential", "client", "currency")
        ) WITHOUT ROWID""")
    connection.execute("""
        INSERT INTO "day"
        SELECT
            "hour" / 86400 * 86400, "chain", "provider", "model", "credential", "client", "currency",
            sum("requests"), sum("served"), sum("failures"), sum("tokens_in"), sum("tokens_out"), sum("tokens_cached"),
            sum("tokens_wasted"), sum("cost"), sum("list_cost"), sum("unpriced"), sum("first_token"),
            sum("within_250"), sum("within_500"), sum("within_1000"), sum("within_2000"), sum("within_4000"),
            sum("within_8000"), sum("within_16000"), sum("within_32000"), sum("within_ever")
        FROM "hour" GROUP BY 1, 2, 3, 4, 5, 6, 7""")


def m0005_bodies(connection: sqlite3.Connection) -> None:
    """What was asked and answered, where that is kept."""
    connection.execute("""
        CREATE TABLE "body" (
            "request_id" INTEGER NOT NULL PRIMARY KEY REFERENCES "request" ("number") ON DELETE CASCADE,
            "asked" TEXT NOT NULL,
            "asked_size" INTEGER NOT NULL,
            "answered" TEXT NOT NULL,
            "answered_size" INTEGER NOT NULL
        )""")


def m0006_quick_to_find(connection: sqlite3.Connection) -> None:
    """Requests are found by their id, and counted by what became of them, without a look at the rows."""
    connection.execute('CREATE INDEX "request_id" ON "request" ("id")')
    connection.execute('CREATE INDEX "request_at_outcome" ON "request" ("at", "outcome")')
    connection.execute('DROP INDEX "request_at"')


_MIGRATION = 'CREATE TABLE IF NOT EXISTS "migration" ("name" TEXT NOT NULL PRIMARY KEY, "applied" REAL NOT NULL)'

MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    m0001_requests_and_attempts,
    m0002_state,
    m0003_costs_and_hours,
    m0004_days,
    m0005_bodies,
    m0006_quick_to_find,
)
LATER = frozenset({m0006_quick_to_find})
# With so many requests, what is among ``LATER`` takes a tenth of a second.
_SHORT = 20_000


def migrate(database: SqliteDatabase, now: float, *, whole: bool = True) -> None:
    """Bring ``database`` (connected) to the newest form, or leave it as it was: all in one transaction.

    ``whole`` is False where somebody waits: then what can be done later, and takes long, is left to the next call.
    Raises ``StartError`` when it has been through a migration that is not known here.
    """
    # The write lock comes first, so that two processes that start together do not both create the tables.
    with database.atomic("IMMEDIATE"):
        connection = connection_of(database)
        connection.execute(_MIGRATION)
        applied = {row.name for row in Migration.select().execute(database)}
        known = [migration.__name__ for migration in MIGRATIONS]
        if unknown := sorted(applied.difference(known)):
            raise StartError(
                f"the request log {database.database} was written by a newer chain429 (it knows {', '.join(unknown)}): "
                "run that version, or move the file away to begin a new log"
            )
        for migration in MIGRATIONS:
            if migration.__name__ not in applied:
                if migration in LATER and not whole and _is_long(connection):
                    continue
                migration(connection)
                Migration.insert(name=migration.__name__, applied=now).execute(database)


def _is_long(connection: sqlite3.Connection) -> bool:
    (last,) = connection.execute('SELECT coalesce(max("number") - min("number"), 0) FROM "request"').fetchone()
    return int(last) > _SHORT
