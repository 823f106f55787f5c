from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chain429.store import disk
from chain429.store.bodies import Bodies
from chain429.store.queries import Filter, Queries
from chain429.store.writer import Store

NewStore = Callable[..., Store]
COUNT = 400
ASIDE = "log.db.corrupt-2025-06-15T150640Z"


@pytest.fixture
def whole(path: Path, new_store: NewStore, records: Any) -> Path:
    """A log of some pages, all of it in the file itself."""
    store = new_store()
    store.open()
    for number in range(COUNT):
        store.record(records(f"req_{number:03}", bodies=Bodies(50, b"{}") if number % 2 else None))
    store.keep("learned", 7)
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return path


def overwrite(path: Path, words: bytes) -> None:
    """The page in which these stand, among the rows of the requests."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('DROP INDEX "request_id"')
        connection.commit()
        connection.execute("VACUUM")
    content = path.read_bytes()
    page = content.index(words) // 4096 * 4096
    path.write_bytes(content[:page] + b"\xff" * 4096 + content[page + 4096 :])


def test_what_a_reader_finds_damaged_is_set_aside_and_the_rest_goes_on(
    whole: Path, new_store: NewStore, records: Any
) -> None:
    overwrite(whole, b"req_200")
    store = new_store()
    store.open()
    assert store.failure is None
    assert Queries(whole, on_damage=store.suspect).search(Filter(chain="nowhere")).requests == []
    assert store.flush()
    saved = {row.request.id for row in Queries(whole).search(Filter(), COUNT).requests}
    assert 300 < len(saved) < COUNT
    assert {"req_000", "req_399"} <= saved
    assert "req_200" not in saved
    assert store.failure == (
        f"The request log was damaged; it was set aside as {ASIDE} and a new one begun, with the {len(saved)} requests "
        "that could still be read."
    )
    assert whole.with_name(ASIDE).exists()
    assert store.kept("learned") == 7
    found = Queries(whole).request("req_399")
    assert found
    assert found.bodies
    assert len(found.request.attempts) == 2
    assert sum(sums.requests for sums in Queries(whole).usage("chain", 0.0)) == COUNT
    with closing(sqlite3.connect(whole)) as connection:
        orphans = 'SELECT count(*) FROM "attempt" WHERE "request_id" NOT IN (SELECT "number" FROM "request")'
        assert connection.execute(orphans).fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.record(records("req_next"))
    assert store.flush()
    assert Queries(whole).newest() == COUNT + 1


def test_a_sound_file_that_is_suspected_stays(whole: Path, new_store: NewStore) -> None:
    store = new_store()
    store.open()
    store.suspect()
    assert store.flush()
    assert store.failure is None
    assert not whole.with_name(ASIDE).exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_was_cut_short_does_not_stop_anything(
    whole: Path, new_store: NewStore, records: Any, share: float
) -> None:
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * share)])
    store = new_store()
    store.open()
    for _ in range(3):  # the first tries may be what finds it damaged
        store.record(records("req_next"))
        if store.flush():
            break
    assert Queries(whole).request("req_next")
    with closing(sqlite3.connect(whole)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_start_does_not_wait_for_who_holds_the_log(path: Path, new_store: NewStore, records: Any) -> None:
    new_store().open()
    store = new_store()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store.open()
        assert store.failure
        assert "another program has locked it" in store.failure
        store.record(records())
        assert not store.flush()
    assert store.flush()
    assert store.failure is None
    assert Queries(path).request("req_1")


def test_what_a_full_disk_says() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("CREATE TABLE t (x)")
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("INSERT INTO t VALUES (zeroblob(9000))")
    assert disk.words(caught.value) == "the disk is full"
    assert disk.passes(caught.value)
    assert disk.words(PermissionError(13, "Permission denied", "/a/path")) == "Permission denied"
