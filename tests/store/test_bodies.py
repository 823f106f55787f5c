from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chain429.store.bodies import Bodies, KeptBodies
from chain429.store.pruning import Retention
from chain429.store.queries import Filter, Queries
from chain429.store.writer import Store
from tests.store.conftest import redact

NewStore = Callable[..., Store]


def as_it_is(words: str) -> str:
    return words


def test_so_much_is_kept_and_its_whole_size() -> None:
    bodies = Bodies(5, b"Hello, you")
    for piece in (b"Go", b"od ", b"bye"):
        bodies.answer(piece)
    assert bodies.kept(as_it_is) == KeptBodies("Hello", 10, "Good ", 8)


def test_what_is_no_text_is_kept_as_far_as_it_is() -> None:
    assert Bodies(9, b"\xff{}\x00").kept(as_it_is).asked == "\ufffd{}\x00"


@given(before=st.integers(0, 6000), limit=st.integers(0, 6000), after=st.integers(0, 6000))
def test_no_part_of_a_key_is_left_where_a_body_is_cut(before: int, limit: int, after: int) -> None:
    kept = Bodies(limit, b"." * before + b"gsk_secret" + b"." * after).kept(redact).asked
    assert "gsk" not in kept
    assert len(kept) <= limit


def test_no_part_of_a_key_is_left_where_others_before_it_made_room() -> None:
    assert "gsk" not in Bodies(200, b"gsk_secret" * 1000).kept(lambda words: words.replace("gsk_secret", "")).asked


def test_bodies_are_read_with_one_request(new_store: NewStore, records: Any, path: Path) -> None:
    store = new_store()
    store.open()
    bodies = Bodies(100, b'{"key":"gsk_secret"}')
    bodies.answer(b"Hi")
    store.record(records("with", bodies=bodies))
    store.record(records("without"))
    assert store.flush()
    log = Queries(path)
    found = log.request("with")
    assert found
    assert found.bodies == KeptBodies('{"key":"[key]"}', 20, "Hi", 2)
    assert log.numbered(1) == found
    assert [row.bodies for row in log.search(Filter()).requests] == [None, None]


def test_bodies_go_with_their_requests(new_store: NewStore, records: Any, path: Path) -> None:
    store = new_store()
    store.retention = Retention(size=1)
    store.open()
    store.record(records(bodies=Bodies(100, b"{}")))
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM body").fetchone() == (0,)


def test_a_queue_that_is_not_written_does_not_fill_the_memory(new_store: NewStore, records: Any, path: Path) -> None:
    store = new_store(interval=3600.0)
    store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(501):
            store.record(records(f"req_{number}", attempts=(), bodies=Bodies(100, b"{}")))
        assert not store.flush()
    assert store.flush()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM request").fetchone() == (501,)
        assert connection.execute("SELECT count(*) FROM body").fetchone() == (500,)
