"""The writing side of the log: a bounded queue and one thread.

``record`` costs the request an append; everything that can wait, block or fail happens in the thread. What comes in is
redacted and cut to size here, at the sink, so that nothing upstream has to be trusted to have done it. What is to be
kept over a restart (``keep``) goes the same way, beside the queue.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from peewee import PeeweeException, SqliteDatabase

from chain429.clock import Clock
from chain429.errors import StartError
from chain429.routing.saved import Json
from chain429.store import disk, state
from chain429.store.migrations import connection_of
from chain429.store.pruning import Retention, prune
from chain429.store.records import Costs, RequestRecord
from chain429.store.rescue import rescue
from chain429.store.rows import Rows

_PRUNE_SECONDS = 60.0  # between two looks at whether the log has grown too large
_SUSPECT_SECONDS = 60.0  # between two times that a file is looked through
_BATCH = 500  # as many records as this are written without waiting for more
_LONGEST_PAUSE = 30.0  # seconds between tries at a disk that keeps failing
_BREATH_AFTER = 4096  # characters of JSON at once
_BREATH = 0.0002  # seconds


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
        self._rows = Rows(redact)
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
        self._suspected = False  # somebody has read what can't be right
        self._suspect_again = float("-inf")  # monotonic seconds
        self._distrusted = False  # the file turned out to be damaged, and is still in its place

    @property
    def failure(self) -> str | None:
        """What is wrong with writing, in sentences that name no folder; None once it works again.

        That a damaged file was moved aside stays said until the process ends: nobody would see it otherwise.
        """
        return self._problem or self._notice

    def open(self) -> None:
        """Make the file, or bring it up to date.

        A damaged file is moved aside; one that is locked, or on a full disk, is for the writer to try again. Raises
        ``StartError`` when the file can't be made, opened or understood.
        """
        try:
            self._connect(whole=False)
        except (OSError, sqlite3.Error, PeeweeException) as error:
            cause = disk.cause(error)
            if not disk.passes(cause):
                raise StartError(f"the request log {self.path} can't be opened: {cause}") from error
            self._problem = self._sentence(cause)
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
            if record.bodies is not None and len(self._pending) >= _BATCH:
                record = record._replace(bodies=None)  # a queue that can't be written must not grow large
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

    def suspect(self) -> None:
        """Somebody found the file damaged: have it looked through, and moved aside if it is. Never blocks."""
        with self._changed:
            now = self._clock.monotonic()
            if self._closing or now < self._suspect_again:
                return
            self._suspect_again = now + _SUSPECT_SECONDS
            self._suspected = True
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
                self._changed.wait_for(lambda: self._pending or self._kept or self._suspected or self._hurried())
                self._changed.wait_for(lambda: self._hurried() or self._full(), pause)
                closing, asked = self._closing, self._asked
                batch, kept, suspected = list(self._pending), self._kept, self._suspected
                self._pending.clear()
                self._kept = {}
                self._suspected = False
            problem = self._look_through() if suspected else None
            if problem is None:
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
            problem = self._try_batch(batch)
            if problem is None:
                # Apart from that: what was written must not be written again.
                problem = self._try_one(self._prune, lambda error: None)
        if kept and not batch:
            problem = self._try_one(lambda: self._write_kept(kept), self._give_up_kept)
            if problem is None:
                kept.clear()
        return problem

    def _try_batch(self, batch: list[RequestRecord]) -> str | None:
        """Write all of ``batch``, and empty it; where it can't be, each by itself, so that only what is at fault is
        lost. What is wrong with the disk, if that is to be tried again."""
        refused: list[BaseException] = []
        problem = self._try_one(lambda: self._write(batch), refused.append)
        if refused and len(batch) > 1:
            while batch and problem is None:
                problem = self._try_batch(batch[:1])
                if problem is None:
                    del batch[0]
        elif problem is None:
            if refused:
                self._give_up(batch, refused[0])
            batch.clear()
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
            return self._sentence(cause)
        except Exception as error:  # noqa: BLE001 - such as a redaction that fails: the thread has to outlive it
            give_up(error)
        return None

    def _sentence(self, cause: BaseException) -> str:
        return (
            f"The request log can't be written: {disk.words(cause)}. Requests go on; the last {self._capacity:,} of "
            "them are written down as soon as that works again."
        )

    def _look_through(self) -> str | None:
        """Move the file aside if it is damaged; what is wrong with the disk, if anything is."""

        def look() -> None:
            found = connection_of(self._connect()).execute("PRAGMA quick_check(1)").fetchall()
            if found != [("ok",)]:
                self._disconnect()
                self._distrusted = True
                self._connect()

        return self._try_one(look, lambda error: None)

    def _give_up(self, batch: list[RequestRecord], error: BaseException) -> None:
        """Drop what the disk is not to blame for: it would fail the same way for ever and hold up the rest."""
        with self._changed:
            self.dropped += len(batch)
            self._notice = f"{len(batch)} requests were not logged: they can't be written ({type(error).__name__})."

    def _give_up_kept(self, error: BaseException) -> None:
        with self._changed:
            self._notice = f"What was learned of limits can't be kept over a restart ({type(error).__name__})."

    def _write_kept(self, kept: dict[str, Json]) -> None:
        encoded = {name: self._encoded(value) for name, value in kept.items()}
        state.write(self._connect(), encoded, self._clock.now())

    def _encoded(self, value: Json) -> str:
        pieces: list[str] = []
        size = 0
        for piece in state.encode(value, self._rows.text):
            pieces.append(piece)
            size += len(piece)
            if size >= _BREATH_AFTER:
                size = 0
                # Else the thread of the requests would wait for the interpreter for as long as it takes.
                self._hurry.wait(_BREATH)
        return "".join(pieces)

    def _write(self, batch: list[RequestRecord]) -> None:
        database = self._connect()
        # The write lock comes first: whoever has read could not wait for it.
        with database.atomic("IMMEDIATE"):
            self._rows.add(connection_of(database), [(record, self.price(record)) for record in batch])

    def _prune(self) -> None:
        """Take away what is too old, or too much, a bite at a time."""
        now = self._clock.now()
        if not 0 <= now - self._pruned_at < _PRUNE_SECONDS and not prune(self._connect(), self.retention, now):
            self._pruned_at = now

    def _connect(self, *, whole: bool = True) -> SqliteDatabase:
        """The calling thread's connection to a log that is up to date; see ``migrations.migrate``."""
        if self._database is not None:
            if self.path.exists():
                return self._database
            # Deleted under our feet: SQLite would go on writing to a file that has no name.
            self._disconnect()
        aside = self._move_aside() if self._distrusted else None
        try:
            self._database = disk.connect(self.path, self._patience, self._clock.now(), whole=whole)
        except disk.TROUBLE as error:
            if not disk.damaged(disk.cause(error)):
                raise
            aside = self._move_aside()
            self._database = disk.connect(self.path, self._patience, self._clock.now())
        if aside is not None:
            self._rescue(aside, self._database)
        return self._database

    def _disconnect(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(PeeweeException, sqlite3.Error):  # what is broken need not close well
                database.close()

    def _move_aside(self) -> Path:
        aside = disk.move_aside(self.path, self._clock.now())
        self._distrusted = False
        self._notice = f"The request log was damaged; it was set aside as {aside.name} and a new one begun."
        return aside

    def _rescue(self, aside: Path, database: SqliteDatabase) -> None:
        count = rescue(aside, database)
        if count:
            self._notice = (
                f"The request log was damaged; it was set aside as {aside.name} and a new one begun, with the "
                f"{count:,} requests that could still be read."
            )


def _unpriced(record: RequestRecord) -> Costs:
    return Costs()
