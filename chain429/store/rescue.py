"""What can still be read of a damaged log: copied into the new one, as far as that is cheap."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from peewee import SqliteDatabase

from chain429.store.migrations import connection_of

# So many requests at most, the newest: who starts the gateway waits for it.
_MOST = 20_000
_BITE = 500
_WHOLE = ("state", "hour", "day")

_Row = tuple[object, ...]


def rescue(damaged: Path, database: SqliteDatabase) -> int:
    """Copy what can be read, from both ends up to the damage; how many requests that were.

    ``database`` is a new log. Raises what SQLite says of that one only.
    """
    connection = connection_of(database)
    try:
        source = sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=rw", uri=True)
    except sqlite3.Error:
        return 0
    with closing(source), database.atomic("IMMEDIATE"):
        for table in _WHOLE:
            _copy(source, connection, table, "rowid" if table == "state" else "hour")
        _copy(source, connection, "request", "number", _MOST)
        count, first = connection.execute('SELECT count(*), coalesce(min("number"), 0) FROM "request"').fetchone()
        if count:
            for table in ("attempt", "body"):
                _copy(source, connection, table, "request_id", first=first)
                # The damage may have taken the request of these.
                connection.execute(
                    f'DELETE FROM "{table}" WHERE "request_id" NOT IN (SELECT "number" FROM "request")'  # noqa: S608
                )
    return int(count)


def _copy(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, key: str, most: int = -1, first: int = 0
) -> None:
    columns = [name for name in _columns(target, table) if name in _columns(source, table)]
    if not columns:
        return
    names = ", ".join(f'"{name}"' for name in columns)
    insert = f'INSERT OR IGNORE INTO "{table}" ({names}) VALUES ({", ".join("?" * len(columns))})'  # noqa: S608
    for direction in ("DESC", "ASC"):
        query = f'SELECT {names} FROM "{table}" WHERE {key} >= ? ORDER BY {key} {direction} LIMIT ?'  # noqa: S608
        whole = True
        for rows in _read(source, query, (first, most)):
            if rows is None:
                whole = False
            else:
                target.executemany(insert, rows)
        if whole:
            return


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    try:
        return [str(name) for _, name, *_ in connection.execute(f'PRAGMA table_info("{table}")')]
    except sqlite3.Error:
        return []


def _read(source: sqlite3.Connection, query: str, bound: Sequence[int]) -> Iterator[list[_Row] | None]:
    """Rows in bites; None at last where damage ended it."""
    found: list[_Row] = []
    try:
        for row in source.execute(query, bound):
            found.append(row)
            if len(found) == _BITE:
                yield found
                found = []
    except sqlite3.Error:
        yield found
        yield None
    else:
        yield found
