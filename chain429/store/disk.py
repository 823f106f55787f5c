"""The log's file: made for its owner only, opened, moved aside when it is damaged; and what may go wrong with it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from peewee import PeeweeException, SqliteDatabase

from chain429.errors import StartError
from chain429.store.migrations import migrate

# What may be raised when the log is opened or written.
TROUBLE = (OSError, sqlite3.Error, PeeweeException, StartError)
# Those that are about the values that were to be written, not about the disk.
REFUSED = (sqlite3.InterfaceError, sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError)


def connect(path: Path, patience: float, now: float) -> SqliteDatabase:
    """Open the log, made if it is not there and brought up to date, for the calling thread.

    ``patience`` is how many seconds to wait for a lock. Raises any of ``TROUBLE``.
    """
    _make_private(path)
    database = SqliteDatabase(
        str(path),
        pragmas={"auto_vacuum": "incremental", "journal_mode": "wal", "synchronous": "normal"},
        timeout=patience,
    )
    try:
        migrate(database, now)
    except BaseException:
        database.close()
        raise
    return database


def move_aside(path: Path, now: float) -> Path:
    """Rename a damaged log, so that a new one can be made; where it is now. Raises OSError."""
    aside = path.with_name(f"{path.name}.corrupt-{now:.0f}")
    path.replace(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


def cause(error: BaseException) -> BaseException:
    """What SQLite itself said, where Peewee has wrapped it, once or twice."""
    inner: BaseException | None = error
    while isinstance(inner, PeeweeException):
        inner = inner.__context__
    return inner if isinstance(inner, sqlite3.Error) else error


def damaged(error: BaseException) -> bool:
    """Whether ``error`` (a ``cause``) says that the file is no database, or no sound one."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _make_private(path: Path) -> None:
    # SQLite gives its other files (-wal, -shm) the mode of the first.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)
