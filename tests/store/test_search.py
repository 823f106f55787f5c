"""Questions to a long log: which index each of them uses, and how far a search goes at once."""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain429.store.queries import Filter, Queries
from chain429.store.writer import Store

NOON = 1_750_000_000.0
DAY = 86_400
MIDNIGHT = int(NOON // DAY) * DAY


@pytest.fixture(scope="module")
def times() -> list[float]:
    """Five a day, over four days."""
    return [MIDNIGHT + number * 5 * 3600 + 7.5 for number in range(20)]


@pytest.fixture
def log(new_store: Callable[..., Store], records: Any, path: Path, times: list[float]) -> Path:
    store = new_store()
    store.open()
    for number, at in enumerate(times):
        store.record(records(f"req_{number:02}", at=at, chain="rare" if number in (3, 17) else "default"))
    store.close()
    return path


PLAN_OF_USAGE = [
    "SEARCH hour USING PRIMARY KEY (hour>? AND hour<?)",
    "SEARCH day USING PRIMARY KEY (hour>? AND hour<?)",
    "SEARCH hour USING PRIMARY KEY (hour>? AND hour<?)",
]
RECENT = "SEARCH t1 USING INDEX request_at_outcome (at<?)"
WINDOW = "SEARCH t1 USING INDEX request_at_outcome (at>? AND at<?)"
EDGE = [
    "SEARCH t1 USING COVERING INDEX request_at_outcome (at<?)",
    "SEARCH t1 USING COVERING INDEX request_at_outcome (at=?)",
]
TRAIL = "SEARCH t1 USING PRIMARY KEY (request_id=?)"
BODIES = "SEARCH t1 USING INTEGER PRIMARY KEY (rowid=?)"
BY_ROW = "SEARCH t1 USING INTEGER PRIMARY KEY (rowid=?)"


@pytest.mark.parametrize(
    ("ask", "plan"),
    [
        (lambda log: log.search(Filter()), [RECENT, TRAIL]),
        (lambda log: log.search(Filter(), 10, 9), [BY_ROW, RECENT, TRAIL]),
        (lambda log: log.search(Filter(since=1.0)), [WINDOW, TRAIL]),
        (
            lambda log: log.search(Filter(text="req_1", chain="rare")),
            [*EDGE, WINDOW, TRAIL, "SEARCH t1 USING INDEX request_id (id=?)"],
        ),
        (lambda log: log.search(Filter(provider="nobody")), [*EDGE, WINDOW, TRAIL.replace("t1", "t2")]),
        (lambda log: log.request("req_03"), ["SEARCH t1 USING INDEX request_id (id=?)", TRAIL, BODIES]),
        (lambda log: log.numbered(3), [BY_ROW, TRAIL, BODIES]),
        (lambda log: log.newest(), ["SEARCH t1"]),
        (lambda log: log.usage("model", NOON - 3 * DAY), PLAN_OF_USAGE),
        (lambda log: log.timeline(NOON - 3 * DAY, math.inf, DAY, "client"), PLAN_OF_USAGE),
        (lambda log: log.totals(NOON - 3 * DAY), PLAN_OF_USAGE),
        (
            lambda log: log.summary(NOON - DAY),
            [
                "SEARCH t1 USING COVERING INDEX request_at_outcome (at>?)",
                "SEARCH t1 USING INDEX request_at_outcome (at>?)",
            ],
        ),
    ],
)
def test_no_question_reads_a_whole_table(
    log: Path, caplog: pytest.LogCaptureFixture, ask: Callable[[Queries], object], plan: list[str]
) -> None:
    with caplog.at_level(logging.DEBUG, "peewee"):
        ask(Queries(log, searched=10))
    said: list[Any] = [entry.msg for entry in caplog.records]
    with closing(sqlite3.connect(log)) as connection:
        steps = [
            row[3]
            for sql, bound in said
            if sql.startswith("SELECT")
            for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bound or ())
        ]
    assert [step for step in steps if step.startswith(("SEARCH", "SCAN")) and "(subquery" not in step] == plan


def pages(log: Queries, wanted: Filter, limit: int) -> Iterator[tuple[list[str], float | None]]:
    found = log.search(wanted, limit)
    yield [row.request.id for row in found.requests], found.until
    while found.older is not None:
        found = log.search(wanted, limit, found.older)
        yield [row.request.id for row in found.requests], found.until


def test_a_search_looks_at_so_many_and_says_how_far_it_came(log: Path, times: list[float]) -> None:
    assert list(pages(Queries(log, searched=8), Filter(chain="rare"), 5)) == [
        (["req_17"], times[12]),
        ([], times[4]),
        (["req_03"], None),
    ]


def test_requests_of_one_moment_are_not_parted_by_the_end_of_a_search(
    new_store: Callable[..., Store], records: Any, path: Path
) -> None:
    store = new_store()
    store.open()
    for number in range(5):
        store.record(records(f"req_{number}", at=NOON, chain="rare"))
    store.record(records("req_5", at=NOON - 1, chain="rare"))
    store.close()
    assert [ids for ids, _ in pages(Queries(path, searched=2), Filter(chain="rare"), 9)] == [
        ["req_4", "req_3", "req_2", "req_1", "req_0"],
        ["req_5"],
    ]


def test_an_id_is_found_however_old_it_is(log: Path) -> None:
    queries = Queries(log, searched=8)
    assert [row.request.id for row in queries.search(Filter(text="req_03")).requests] == ["req_03"]
    assert queries.search(Filter(text="req_03", chain="default")).requests == []
    assert [row.request.id for row in queries.search(Filter(text="req_1"), 2).requests] == ["req_19", "req_18"]


def test_a_page_after_a_row_that_was_taken_away_is_empty(log: Path) -> None:
    with closing(sqlite3.connect(log)) as connection, connection:
        connection.execute("DELETE FROM request WHERE number <= 5")
    assert Queries(log).search(Filter(), 10, 4).requests == []
    assert len(Queries(log).search(Filter(), 50, 2**62).requests) == 15


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(since=st.integers(-5, 110), hours=st.integers(0, 120))
def test_sums_of_days_and_hours_together_are_those_of_the_requests(
    log: Path, times: list[float], since: int, hours: int
) -> None:
    began = MIDNIGHT + since * 3600
    ended = began + hours * 3600
    within = [at for at in times if began <= at < ended]
    queries = Queries(log)
    assert sum(sums.requests for sums in queries.usage("chain", began, ended)) == len(within)
    assert sum(slot.sums.requests for slot in queries.timeline(began, ended, DAY)) == len(within)
