"""The writing side of the log: a bounded queue and one thread.

``record`` costs the request an append; everything that can wait, block or fail happens in the thread. What comes in is
redacted and cut to size here, at the sink, so that nothing upstream has to be trusted to have done it. What is to be
kept over a restart (``keep``) goes the same way, beside the queue.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from peewee import Model, PeeweeException, SqliteDatabase

from chain429.clock import Clock
from chain429.errors import StartError
from chain429.routing.saved import Json
from chain429.store import disk, hours, state
from chain429.store.migrations import connection_of
from chain429.store.models import Attempt, Request
from chain429.store.pruning import Retention, prune
from chain429.store.records import Costs, RequestRecord

_PRUNE_SECONDS = 60.0  # between two looks at whether the log has grown too large
_BATCH = 500  # as many records as this are written without waiting for more
_LONGEST_PAUSE = 30.0  # seconds between tries at a disk that keeps failing
_BREATH_AFTER = 4096  # characters of JSON at once
_BREATH = 0.0002  # seconds
_LONGEST_TEXT = 2000  # characters kept of an error or a reason
_LONGEST_NAME = 200  # characters kept of the model's name as the client wrote it
_MOST_TOKENS = 10**12  # in one request; a provider may claim any number, and sums have to fit into 64 bits

_Value = str | int | float | None


class Store:
    """Writes requests to SQLite, in batches, from one thread that starts with the first record.

    Order of calls: ``open``, then ``record`` and ``keep`` from any thread, then ``close``. ``redact`` is given every
    text that may hold a stranger's words. ``capacity`` bounds the queue (the oldest are dropped first), ``interval`` is
    how many seconds a batch may gather, ``patience`` how many to wait for another process's lock in one try.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        redact: Callable[[str], str],
        *,
        capacity: int = 10_000,
        interval: float = 0.5,
        patience: float = 1.0,
    ) -> None:
        self.path = path
        self.dropped = 0  # records that were given up
        self.price: Callable[[RequestRecord], Costs] = _unpriced
        self.retention = Retention()
        self._pruned_at = 0.0
        self._clock = clock
        self._redact = redact
        self._capacity = capacity
        self._interval = interval
        self._patience = patience
        self._changed = threading.Condition(threading.Lock())  # guards all that follows up to the connection
        self._pending: deque[RequestRecord] = deque()
        self._kept: dict[str, Json] = {}  # to be kept, by name: the newest only
        self._thread: threading.Thread | None = None
        self._closing = False
        self._hurry = threading.Event()  # set when closing
        self._asked = 0  # flushes asked for
        self._answered = 0  # flushes that have had their try
        self._problem: str | None = None
        self._notice: str | None = None
        self._database: SqliteDatabase | None = None  # the thread's own, after ``open``
        self._distrusted = False  # the file turned out to be damaged, and is still in its place

    @property
    def failure(self) -> str | None:
        """What is wrong with writing, in plain words; None once it works again.

        That a damaged file was moved aside stays said until the process ends: nobody would see it otherwise.
        """
        return self._problem or self._notice

    def open(self) -> None:
        """Make the file, or bring it up to date.

        A damaged file is moved aside. Raises ``StartError`` when the file can't be made, opened or understood.
        """
        try:
            self._connect()
        except (OSError, sqlite3.Error, PeeweeException) as error:
            raise StartError(f"the request log {self.path} can't be opened: {disk.cause(error)}") from error
        finally:
            # SQLite's connections belong to the thread that made them; the writer makes its own.
            self._disconnect()

    def record(self, record: RequestRecord) -> None:
        """Take a record to be written soon. Never blocks on the disk and never raises."""
        with self._changed:
            if self._closing:
                self.dropped += 1
                return
            if len(self._pending) >= self._capacity:
                self._pending.popleft()
                self.dropped += 1
            self._pending.append(record)
            if self._thread is None:
                self._start()
            if len(self._pending) in (1, _BATCH):
                self._changed.notify_all()

    def keep(self, name: str, value: Json) -> None:
        """Take a value to be kept under ``name``, instead of any before; it must not be changed after that.

        Texts in it are redacted, names of members are taken for ids. Never blocks on the disk and never raises.
        """
        with self._changed:
            if self._closing:
                return
            self._kept[name] = value
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def kept(self, name: str) -> object:
        """What was kept under ``name`` and is written; None where nothing was. Raises ``StoreError``."""
        return state.read(self.path, name, self._patience)

    def flush(self) -> bool:
        """Wait until everything recorded so far has been tried, or the store is closed; False when writing failed."""
        with self._changed:
            if self._thread is None:
                return not self._pending and not self._kept
            self._asked += 1
            ticket = self._asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= ticket or self._closing)
            return self._problem is None

    def close(self) -> None:
        """Write what is queued, with one try, and stop the thread. What does not go in is dropped and counted."""
        with self._changed:
            self._closing = True
            self._hurry.set()
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join()
        with self._changed:
            self._thread = None
            self.dropped += len(self._pending)
            self._pending.clear()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="chain429-store", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads: the next record tries again
            self._problem = f"the request log has no writer: {error}"
        else:
            self._thread = thread

    def _run(self) -> None:
        """The thread: gather, write, and after a failure wait longer each time."""
        pause = self._interval
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._kept or self._hurried())
                self._changed.wait_for(lambda: self._hurried() or self._full(), pause)
                closing, asked = self._closing, self._asked
                batch, kept = list(self._pending), self._kept
                self._pending.clear()
                self._kept = {}
            problem = self._try(batch, kept)
            with self._changed:
                if problem is not None:
                    self._put_back(batch)
                    self._kept = {**kept, **self._kept}
                pause = self._interval if problem is None else min(pause * 2, _LONGEST_PAUSE)
                self._problem = problem
                self._answered = asked
                self._changed.notify_all()
            if closing:
                self._disconnect()
                return

    def _hurried(self) -> bool:
        return self._closing or self._asked > self._answered

    def _full(self) -> bool:
        return len(self._pending) >= _BATCH and self._problem is None

    def _put_back(self, batch: list[RequestRecord]) -> None:
        self._pending.extendleft(reversed(batch))
        while len(self._pending) > self._capacity:
            self._pending.popleft()
            self.dropped += 1

    def _try(self, batch: list[RequestRecord], kept: dict[str, Json]) -> str | None:
        """Write ``batch``, then ``kept``, and empty what is dealt with; what is wrong with the disk, if anything is.

        What is not empty after that is to be tried again.
        """
        problem = self._problem
        if batch:
            problem = self._try_one(lambda: self._write(batch), lambda error: self._give_up(batch, error))
            if problem is None:
                batch.clear()
        if kept and not batch:
            problem = self._try_one(lambda: self._write_kept(kept), self._give_up_kept)
            if problem is None:
                kept.clear()
        return problem

    def _try_one(self, write: Callable[[], None], give_up: Callable[[BaseException], None]) -> str | None:
        """Write; what is wrong with the disk, if that is to be tried again."""
        try:
            write()
        except disk.TROUBLE as error:
            cause = disk.cause(error)
            if isinstance(cause, disk.REFUSED):
                give_up(cause)
                return None
            self._disconnect()
            self._distrusted = disk.damaged(cause)
            return f"the request log {self.path} can't be written: {cause}"
        except Exception as error:  # noqa: BLE001 - such as a redaction that fails: the thread has to outlive it
            give_up(error)
        return None

    def _give_up(self, batch: list[RequestRecord], error: BaseException) -> None:
        """Drop what the disk is not to blame for: it would fail the same way for ever and hold up the rest."""
        with self._changed:
            self.dropped += len(batch)
            self._notice = f"{len(batch)} requests were not logged ({type(error).__name__})"

    def _give_up_kept(self, error: BaseException) -> None:
        with self._changed:
            self._notice = f"what was learned of limits can't be kept over a restart ({type(error).__name__})"

    def _write_kept(self, kept: dict[str, Json]) -> None:
        encoded = {name: self._encoded(value) for name, value in kept.items()}
        state.write(self._connect(), encoded, self._clock.now())

    def _encoded(self, value: Json) -> str:
        pieces: list[str] = []
        size = 0
        for piece in state.encode(value, lambda words: self._text(words, _LONGEST_TEXT)):
            pieces.append(piece)
            size += len(piece)
            if size >= _BREATH_AFTER:
                size = 0
                # Else the thread of the requests would wait for the interpreter for as long as it takes.
                self._hurry.wait(_BREATH)
        return "".join(pieces)

    def _write(self, batch: list[RequestRecord]) -> None:
        database = self._connect()
        insert_request, insert_attempt = _inserts()
        # The write lock comes first: so nobody else takes the numbers, and one that has read could not wait for it.
        with database.atomic("IMMEDIATE"):
            connection = connection_of(database)
            (last,) = connection.execute('SELECT coalesce(max("number"), 0) FROM "request"').fetchone()
            priced = [(record, self.price(record)) for record in batch]
            numbered = list(enumerate(priced, last + 1))
            connection.executemany(insert_request, [self._request_row(number, *one) for number, one in numbered])
            connection.executemany(
                insert_attempt, [row for number, (record, _) in numbered for row in self._attempt_rows(number, record)]
            )
            hours.add(connection, priced)
        self._prune(database)

    def _prune(self, database: SqliteDatabase) -> None:
        """Take away what is too old, or too much, a bite at a time."""
        now = self._clock.now()
        if not 0 <= now - self._pruned_at < _PRUNE_SECONDS and not prune(database, self.retention, now):
            self._pruned_at = now

    def _request_row(self, number: int, record: RequestRecord, costs: Costs) -> tuple[_Value, ...]:
        return (
            number,
            record.id,
            record.at,
            record.dialect,
            record.chain,
            self._text(record.model_asked, _LONGEST_NAME),
            record.provider,
            record.model,
            record.credential,
            record.status,
            record.outcome,
            int(record.streamed),  # sqlite3 binds a bool many times slower
            _counted(record.tokens_in),
            _counted(record.tokens_out),
            record.latency,
            record.first_token,
            record.client,
            self._text(record.error, _LONGEST_TEXT),
            _counted(record.tokens_cached),
            *costs,
        )

    def _attempt_rows(self, number: int, record: RequestRecord) -> Iterator[tuple[_Value, ...]]:
        for ordinal, attempt in enumerate(record.attempts):
            yield (
                number,
                ordinal,
                attempt.provider,
                attempt.model,
                attempt.credential,
                attempt.outcome,
                attempt.status,
                self._text(attempt.reason, _LONGEST_TEXT),
                attempt.duration,
                attempt.until,
            )

    def _text(self, words: str, longest: int) -> str:
        if not words:
            return words
        # Redacted before it is cut: the half of a key that a cut leaves would not be recognised.
        words = self._redact(words)[:longest]
        # JSON may carry lone surrogates, which SQLite can't store.
        return words if words.isascii() else words.encode("utf-8", "replace").decode("utf-8")

    def _connect(self) -> SqliteDatabase:
        """The calling thread's connection to a log that is up to date."""
        if self._database is not None:
            if self.path.exists():
                return self._database
            # Deleted under our feet: SQLite would go on writing to a file that has no name.
            self._disconnect()
        if self._distrusted:
            self._move_aside()
        try:
            self._database = disk.connect(self.path, self._patience, self._clock.now())
        except disk.TROUBLE as error:
            if not disk.damaged(disk.cause(error)):
                raise
            self._move_aside()
            self._database = disk.connect(self.path, self._patience, self._clock.now())
        return self._database

    def _disconnect(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(PeeweeException, sqlite3.Error):  # what is broken need not close well
                database.close()

    def _move_aside(self) -> None:
        aside = disk.move_aside(self.path, self._clock.now())
        self._distrusted = False
        self._notice = f"the request log was damaged; it was moved to {aside} and a new one begun"


@functools.cache
def _inserts() -> tuple[str, str]:
    """The SQL that inserts a request, and an attempt: derived from the models once, for ``executemany``."""
    return _insert(Request), _insert(Attempt)


def _insert(model: type[Model]) -> str:
    fields = model._meta.sorted_fields
    query = model.insert_many([[None] * len(fields)], fields=fields)
    sql, _ = query.bind(SqliteDatabase(None)).sql()
    return str(sql)


def _unpriced(record: RequestRecord) -> Costs:
    return Costs()


def _counted(tokens: int | None) -> int | None:
    return tokens if tokens is None else max(0, min(tokens, _MOST_TOKENS))
