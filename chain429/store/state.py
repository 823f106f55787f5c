"""What is kept by name over a restart: one JSON value a name, the newest wins."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from peewee import PeeweeException, SqliteDatabase

from chain429.errors import StoreError
from chain429.routing.saved import Json
from chain429.store.disk import cause
from chain429.store.models import State

# A value is turned into JSON piece by piece, down to the members of members so deep: while C code makes JSON of one
# piece, no other thread runs, and so no request.
_DEPTH = 4


def encode(value: Json, clean: Callable[[str], str], depth: int = _DEPTH) -> Iterator[str]:
    """``value`` as JSON, in pieces to be joined, with every text cleaned, but for the names of members: those are ids.

    Raises ValueError.
    """
    if depth and isinstance(value, Mapping):
        yield "{"
        for number, (name, part) in enumerate(value.items()):
            yield f"{',' if number else ''}{json.dumps(name)}:"
            yield from encode(part, clean, depth - 1)
        yield "}"
    else:
        yield json.dumps(_cleaned(value, clean), allow_nan=False)


def _cleaned(value: Json, clean: Callable[[str], str]) -> Json:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {name: _cleaned(part, clean) for name, part in value.items()}
    if isinstance(value, list):
        return [part if type(part) is float else _cleaned(part, clean) for part in value]
    return value


def write(database: SqliteDatabase, values: Mapping[str, str], now: float) -> None:
    """Keep these, by name, instead of what was kept before. Raises what SQLite and Peewee do."""
    with database.atomic("IMMEDIATE"):
        for name, value in values.items():
            State.insert(name=name, value=value, written_at=now).on_conflict_replace().execute(database)


def read(path: Path, name: str, patience: float) -> object:
    """The value that was kept last, or None where none was. Raises ``StoreError`` where it can't be read."""
    database = SqliteDatabase(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=patience)
    try:
        with database.connection_context():
            row = State.select(State.value).where(State.name == name).tuples().execute(database)
            found = next(iter(row), None)
        return None if found is None else json.loads(found[0])
    except (PeeweeException, sqlite3.Error) as error:
        raise StoreError(f"{path} can't be read: {cause(error)}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error
