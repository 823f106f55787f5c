from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from peewee import SqliteDatabase

from chain429.errors import StartError
from chain429.store.migrations import MIGRATIONS, connection_of, migrate
from chain429.store.models import Attempt, Body, Day, Hour, Migration, Request, State

NOON = 1_750_000_000.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(str(tmp_path / "log.db"))
    with database.connection_context():
        yield database


def schema(database: SqliteDatabase) -> dict[str, object]:
    """Tables with their columns (name, type, not null, default, place in the key) and what their indexes are on."""
    connection = connection_of(database)
    found: dict[str, object] = {}
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        found[table] = [row[1:] for row in connection.execute(f"PRAGMA table_info({table})")]
        for _, index, *_ in connection.execute(f"PRAGMA index_list({table})").fetchall():
            found[index] = [row[2] for row in connection.execute(f"PRAGMA index_info({index})")]
        found[f"{table} refers to"] = connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
    return found


def test_an_empty_file_becomes_what_the_models_say(database: SqliteDatabase, tmp_path: Path) -> None:
    migrate(database, NOON)
    by_models = SqliteDatabase(str(tmp_path / "models.db"))
    tables = [Request, Attempt, Hour, Day, Body, State, Migration]
    with by_models.connection_context(), by_models.bind_ctx(tables):
        by_models.create_tables(tables)
        assert schema(database) == schema(by_models)


def test_each_migration_is_noted_and_applied_once(database: SqliteDatabase) -> None:
    migrate(database, NOON)
    migrate(database, NOON + 1)
    assert list(Migration.select(Migration.name, Migration.applied).tuples().execute(database)) == [
        ("m0001_requests_and_attempts", NOON),
        ("m0002_state", NOON),
        ("m0003_costs_and_hours", NOON),
        ("m0004_days", NOON),
        ("m0005_bodies", NOON),
        ("m0006_quick_to_find", NOON),
    ]


def test_names_are_numbered_in_order() -> None:
    assert [migration.__name__[:6] for migration in MIGRATIONS] == [
        f"m{number:04}_" for number in range(1, len(MIGRATIONS) + 1)
    ]


def test_a_newer_log_is_left_alone(database: SqliteDatabase) -> None:
    migrate(database, NOON)
    Migration.insert(name="m9999_from_tomorrow", applied=NOON).execute(database)
    with pytest.raises(StartError, match=r"log\.db was written by a newer chain429 \(it knows m9999_from_tomorrow\)"):
        migrate(database, NOON)


def as_before_indexes(database: SqliteDatabase, numbers: tuple[int, ...]) -> None:
    """A log that has not been through the last migration yet, with requests of these numbers."""
    migrate(database, NOON)
    connection = connection_of(database)
    connection.execute('CREATE INDEX "request_at" ON "request" ("at")')
    for index in ("request_id", "request_at_outcome"):
        connection.execute(f'DROP INDEX "{index}"')
    connection.execute("DELETE FROM migration WHERE name = 'm0006_quick_to_find'")
    for number in numbers:
        connection.execute(
            "INSERT INTO request (number, id, at, dialect, chain, model_asked, status, outcome, streamed, latency, "
            "client, error) VALUES (?, 'id', 0, '', '', '', 200, 'served', 0, 0, '', '')",
            (number,),
        )
    connection.commit()


def indexes(database: SqliteDatabase) -> set[str]:
    return {row[1] for row in connection_of(database).execute("PRAGMA index_list(request)")}


def test_a_start_does_not_wait_for_the_indexes_of_a_long_log(database: SqliteDatabase) -> None:
    as_before_indexes(database, (1, 30_000))
    migrate(database, NOON, whole=False)
    assert indexes(database) == {"request_at"}
    migrate(database, NOON)
    assert indexes(database) == {"request_id", "request_at_outcome"}


def test_a_short_log_has_them_at_once(database: SqliteDatabase) -> None:
    as_before_indexes(database, (29_000, 30_000))
    migrate(database, NOON, whole=False)
    assert indexes(database) == {"request_id", "request_at_outcome"}
