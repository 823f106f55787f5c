"""The log's file: made for its owner only, opened, moved aside when it is damaged; and what may go wrong with it."""

from __future__ import annotations

import contextlib
import datetime
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


def connect(path: Path, patience: float, now: float, *, whole: bool = True) -> SqliteDatabase:
    """Open the log, made if it is not there and brought up to date, for the calling thread.

    ``patience`` is how many seconds to wait for a lock; ``whole`` is as ``migrate`` has it. Raises any of ``TROUBLE``.
    """
    _make_private(path)
    database = SqliteDatabase(
        str(path),
        pragmas={"auto_vacuum": "incremental", "journal_mode": "wal", "synchronous": "normal"},
        timeout=patience,
    )
    try:
        migrate(database, now, whole=whole)
    except BaseException:
        database.close()
        raise
    return database


def move_aside(path: Path, now: float) -> Path:
    """Rename a damaged log, so that a new one can be made; where it is now. Raises OSError."""
    at = datetime.datetime.fromtimestamp(now, datetime.UTC)
    aside = path.with_name(f"{path.name}.corrupt-{at:%Y-%m-%dT%H%M%SZ}")
    path.replace(aside)
    # What was written last is in the journal, and can be read with it.
    with contextlib.suppress(FileNotFoundError):
        path.with_name(f"{path.name}-wal").replace(aside.with_name(f"{aside.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    return aside


def cause(error: BaseException) -> BaseException:
    """What SQLite itself said, where Peewee has wrapped it, once or twice."""
    inner: BaseException | None = error
    while isinstance(inner, PeeweeException):
        inner = inner.__context__
    return inner if isinstance(inner, sqlite3.Error) else error


def damaged(error: BaseException) -> bool:
    """Whether ``error`` (a ``cause``) says that the file is no database, or no sound one."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def passes(error: BaseException) -> bool:
    """Whether ``error`` (a ``cause``) says nothing against the file, and may be gone the next time."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def words(error: BaseException) -> str:
    """What is wrong (a ``cause``), for people, without the file's name."""
    match _code(error):
        case sqlite3.SQLITE_FULL:
            return "the disk is full"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "another program has locked it"
        case sqlite3.SQLITE_IOERR:
            return f"the disk fails, or is full ({error})"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code


def _make_private(path: Path) -> None:
    # SQLite gives its other files (-wal, -shm) the mode of the first.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)
