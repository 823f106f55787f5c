from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chain429.errors import StartError
from chain429.store.queries import Queries
from chain429.store.writer import Store

NewStore = Callable[..., Store]
LOCKED = (
    "The request log can't be written: another program has locked it. Requests go on; the last 10,000 of them are "
    "written down as soon as that works again."
)


def ids(path: Path) -> list[str]:
    return sorted(record.id for record in Queries(path).recent(limit=100_000))


def test_what_is_recorded_can_be_read_back(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    record = records()
    store.record(record)
    assert store.flush()
    assert Queries(path).recent() == [record]
    assert store.failure is None
    assert store.dropped == 0


def test_rows_on_the_disk_have_the_types_that_are_read_by_other_tools(
    path: Path, new_store: NewStore, records: Any
) -> None:
    store = new_store()
    store.open()
    store.record(records("req_7"))
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM request").fetchall() == [
            (
                *(1, "req_7", 1_750_000_000.0, "chat", "default", "gpt-4o", "groq", "openai/gpt-oss-120b", "groq-1"),
                *(200, "served", 1, 1200, 85, 1.25, 0.25, "default", ""),
                *(None, None, "usd", None, "", "usd", ""),
            )
        ]
        assert connection.execute("SELECT * FROM attempt").fetchall() == [
            (1, 0, "cerebras", "gpt-oss-120b", "c-1", "skipped", None, "requests per day", 0.0, 1_750_000_060.0),
            (1, 1, "groq", "openai/gpt-oss-120b", "groq-1", "served", 200, "", 1.2, None),
        ]


def test_close_writes_what_is_queued(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store(interval=3600.0)
    store.open()
    for number in range(3):
        store.record(records(f"req_{number}"))
    store.close()
    assert ids(path) == ["req_0", "req_1", "req_2"]
    assert store.dropped == 0


def test_a_full_batch_does_not_wait_for_more(path: Path, clock: Any, records: Any) -> None:
    written = threading.Event()

    def redact(words: str) -> str:
        written.set()
        return words

    store = Store(path, clock, redact, interval=3600.0)
    store.open()
    try:
        for number in range(500):
            store.record(records(f"req_{number}"))
        assert written.wait(30)
    finally:
        store.close()


def test_threads_may_record_at_once(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()

    def put(thread: int) -> None:
        for number in range(250):
            store.record(records(f"req_{thread}_{number:03}"))

    threads = [threading.Thread(target=put, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.flush()
    assert ids(path) == sorted(f"req_{thread}_{number:03}" for thread in range(4) for number in range(250))
    assert store.dropped == 0


def test_a_full_queue_drops_the_oldest_and_counts(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store(capacity=3, interval=3600.0)
    store.open()
    for number in range(5):
        store.record(records(f"req_{number}"))
    assert store.dropped == 2
    store.close()
    assert ids(path) == ["req_2", "req_3", "req_4"]


def test_after_close_records_are_counted_as_dropped(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    store.close()
    store.record(records())
    assert store.dropped == 1
    assert ids(path) == []


def test_a_store_that_recorded_nothing_starts_no_thread(new_store: NewStore) -> None:
    store = new_store()
    store.open()
    before = threading.active_count()
    assert store.flush()
    store.close()
    assert threading.active_count() == before


def test_a_locked_database_is_tried_again(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store(interval=3600.0)
    store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.record(records("req_1"))
        assert not store.flush()
        assert store.failure == LOCKED
        store.record(records("req_2"))
        assert not store.flush()
        other.execute("ROLLBACK")
    assert store.flush()
    assert store.failure is None
    assert store.dropped == 0
    assert ids(path) == ["req_1", "req_2"]


def test_while_locked_the_queue_stays_bounded(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store(capacity=2, interval=3600.0)
    store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(5):
            store.record(records(f"req_{number}"))
            assert not store.flush()
        assert store.dropped == 3
    assert store.flush()
    assert ids(path) == ["req_3", "req_4"]


def test_close_gives_up_on_a_locked_database(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.record(records())
        store.close()
    assert store.dropped == 1


def test_a_corrupt_file_is_moved_aside(path: Path, new_store: NewStore, records: Any) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, and long enough for SQLite to look at" * 50)
    store = new_store()
    store.open()
    aside = path.with_name("log.db.corrupt-2025-06-15T150640Z")
    assert store.failure == f"The request log was damaged; it was set aside as {aside.name} and a new one begun."
    assert aside.read_bytes().startswith(b"this is no database")
    store.record(records())
    assert store.flush()
    assert ids(path) == ["req_1"]
    assert store.failure is not None


def test_a_file_that_breaks_while_it_is_written_is_moved_aside(path: Path, new_store: NewStore, records: Any) -> None:
    new_store().open()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # The schema stays readable, so it opens; the table's own first page is what is broken.
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'request'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    store = new_store()
    store.open()
    store.record(records("req_1"))
    assert not store.flush()
    assert store.flush()
    assert ids(path) == ["req_1"]
    assert "log.db.corrupt-2025-06-15T150640Z" in (store.failure or "")


def test_a_deleted_file_is_made_anew(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    store.record(records("req_1"))
    assert store.flush()
    for file in path.parent.iterdir():
        file.unlink()
    store.record(records("req_2"))
    assert store.flush()
    assert ids(path) == ["req_2"]


def test_a_folder_that_is_no_folder_is_an_error_at_the_start(tmp_path: Path, new_store: NewStore) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StartError, match=r"request log .*log\.db can't be opened"):
        new_store().open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_error_at_the_start(path: Path, new_store: NewStore) -> None:
    path.parent.mkdir(mode=0o500)
    with pytest.raises(StartError, match=r"can't be opened: .*Permission denied"):
        new_store().open()


def test_a_folder_that_goes_away_fails_no_request(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file in its place")
    store.record(records("req_1"))
    assert not store.flush()
    assert "can't be written" in (store.failure or "")
    path.parent.unlink()
    assert store.flush()
    assert store.failure is None
    assert ids(path) == ["req_1"]


def test_only_the_owner_may_read(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    store.record(records())
    assert store.flush()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"log.db": 0o600, "log.db-wal": 0o600, "log.db-shm": 0o600}


def test_strangers_words_are_redacted_and_then_cut(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    store.record(
        records(
            model_asked="gsk_secret",
            error="x" * 1995 + "gsk_secret",
            attempts=(records.failed("Incorrect API key: gsk_secret"),),
        )
    )
    store.close()
    (record,) = Queries(path).recent()
    assert record.model_asked == "[key]"
    assert record.error == "x" * 1995 + "[key]"
    assert record.attempts[0].reason == "Incorrect API key: [key]"
    assert b"gsk_" not in path.read_bytes()


def test_what_sqlite_can_not_hold_is_made_to_fit(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    store.record(records(error="half of a pair: \ud83d", tokens_in=10**30, tokens_out=-1, model_asked="m" * 100_000))
    assert store.flush()
    (record,) = Queries(path).recent()
    assert record.error == "half of a pair: ?"
    assert (record.tokens_in, record.tokens_out) == (10**12, 0)
    assert record.model_asked == "m" * 200
    assert store.dropped == 0


def test_a_record_that_can_not_be_written_does_not_hold_up_the_others(
    path: Path, new_store: NewStore, records: Any
) -> None:
    store = new_store()
    store.open()
    store.record(records("bad", status=object()))
    assert store.flush()
    store.record(records("good"))
    assert store.flush()
    assert ids(path) == ["good"]
    assert store.dropped == 1
    assert "1 requests were not logged" in (store.failure or "")


def test_a_redaction_that_fails_does_not_end_the_thread(path: Path, clock: Any, records: Any) -> None:
    def fail(words: str) -> str:
        if words == "boom":
            raise RuntimeError(words)
        return words

    store = Store(path, clock, fail, interval=0.01)
    store.open()
    try:
        store.record(records("bad", error="boom"))
        assert store.flush()
        store.record(records("good"))
        assert store.flush()
    finally:
        store.close()
    assert ids(path) == ["good"]


def test_one_that_can_not_be_written_takes_no_other_with_it(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store(interval=3600.0)
    store.open()
    for id, provider in (("before", "a"), ("bad", "\ud800"), ("after", "a")):
        store.record(records(id, provider=provider))
    assert store.flush()
    assert ids(path) == ["after", "before"]
    assert store.dropped == 1


def test_names_that_clients_choose_can_be_written(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    store.record(records("odd", chain="a/\ud800", model="\ud800", attempts=()))
    assert store.flush()
    assert ids(path) == ["odd"]


def test_an_id_that_a_client_uses_twice_is_two_requests(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    store.record(records("chosen", status=429))
    store.record(records("chosen", status=200))
    assert store.flush()
    assert [(record.id, record.status) for record in Queries(path).recent()] == [("chosen", 200), ("chosen", 429)]


def test_two_processes_may_write_to_one_log(path: Path, new_store: NewStore, records: Any) -> None:
    one, other = new_store(), new_store()
    one.open()
    other.open()
    for number in range(5):
        one.record(records(f"one_{number}"))
        assert one.flush()
        other.record(records(f"other_{number}"))
        assert other.flush()
    assert ids(path) == sorted([f"one_{number}" for number in range(5)] + [f"other_{number}" for number in range(5)])


# What is kept over a restart.


def test_what_is_kept_can_be_read_back_by_the_next(path: Path, new_store: NewStore) -> None:
    store = new_store()
    store.open()
    assert store.kept("learned") is None
    store.keep("learned", {"groq": [1.5, None]})
    store.close()
    later = new_store()
    later.open()
    assert later.kept("learned") == {"groq": [1.5, None]}
    assert later.kept("other") is None
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM state").fetchall() == [
            ("learned", '{"groq":[1.5, null]}', 1_750_000_000.0)
        ]


def test_of_what_is_kept_the_newest_wins(new_store: NewStore, records: Any) -> None:
    store = new_store(interval=3600.0)
    store.open()
    for number in range(3):
        store.keep("learned", number)
    store.keep("other", "words")
    store.record(records())
    assert store.flush()
    assert (store.kept("learned"), store.kept("other")) == (2, "words")
    store.keep("learned", 3)
    assert store.flush()
    assert store.kept("learned") == 3


def test_what_is_kept_waits_for_a_locked_database_and_the_newest_wins(
    path: Path, new_store: NewStore, records: Any
) -> None:
    store = new_store(interval=3600.0)
    store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.keep("learned", "old")
        store.keep("other", "as it was")
        assert not store.flush()
        assert store.failure == LOCKED
        store.keep("learned", "new")
        store.record(records())
        assert not store.flush()
        other.execute("ROLLBACK")
    assert store.flush()
    assert store.failure is None
    assert (store.kept("learned"), store.kept("other")) == ("new", "as it was")
    assert ids(path) == ["req_1"]


def test_a_lock_between_the_two_writes_neither_twice(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store(interval=3600.0)
    store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DROP TABLE state")
        store.record(records("req_1"))
        store.keep("learned", 1)
        assert not store.flush()
        assert "no such table: state" in (store.failure or "")
        assert ids(path) == ["req_1"]
        other.execute("CREATE TABLE state (name TEXT NOT NULL PRIMARY KEY, value TEXT, written_at REAL)")
    assert store.flush()
    assert store.failure is None
    assert store.kept("learned") == 1
    assert ids(path) == ["req_1"]


def test_what_is_kept_is_redacted_and_cut(path: Path, new_store: NewStore) -> None:
    store = new_store()
    store.open()
    store.keep("learned", {"reason": "Incorrect API key: gsk_secret", "long": ["x" * 1995 + "gsk_secret"]})
    store.close()
    assert store.kept("learned") == {"reason": "Incorrect API key: [key]", "long": ["x" * 1995 + "[key]"]}
    assert b"gsk_" not in path.read_bytes()


def test_what_can_not_be_kept_holds_up_nothing(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    store.keep("learned", 1)
    assert store.flush()
    store.keep("learned", float("nan"))
    store.record(records())
    assert store.flush()
    assert store.failure == "What was learned of limits can't be kept over a restart (ValueError)."
    assert store.dropped == 0
    assert ids(path) == ["req_1"]
    assert store.kept("learned") == 1


def test_after_close_nothing_is_kept(new_store: NewStore) -> None:
    store = new_store()
    store.open()
    store.close()
    store.keep("learned", 1)
    assert store.flush()
    assert store.kept("learned") is None


def test_what_is_kept_is_flushed_though_nothing_is_recorded(new_store: NewStore) -> None:
    store = new_store(interval=3600.0)
    store.open()
    store.keep("learned", 1)
    assert store.flush()
    assert store.kept("learned") == 1


_WRITES_UNTIL_KILLED = """
import sys
from pathlib import Path
from chain429.clock import SystemClock
from chain429.store.records import RequestRecord
from chain429.store.writer import Store

store = Store(Path(sys.argv[1]), SystemClock(), lambda words: words, interval=0.001)
store.open()
number = 0
while True:
    record = RequestRecord(f"req_{number:06}", float(number), "chat", "default", "m", "groq", "m", "k", 200, "served",
                           False, 1, 1, 1.0, None, "default", "", ())
    store.record(record)
    number += 1
    if number % 20 == 0:
        store.flush()
        print(number, flush=True)
"""


def test_a_kill_in_the_middle_leaves_a_readable_log(path: Path, new_store: NewStore, records: Any) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITES_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    with writer:
        promised = 0
        while promised < 200:
            promised = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL

    assert ids(path)[:promised] == [f"req_{number:06}" for number in range(promised)]
    store = new_store()
    store.open()
    assert store.failure is None
    store.record(records("req_after"))
    assert store.flush()
    assert "req_after" in ids(path)
