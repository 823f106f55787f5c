from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.store.hours import STEPS
from chain429.store.pruning import Retention
from chain429.store.queries import Filter, Queries
from chain429.store.records import Costs
from chain429.store.usage import bound
from chain429.store.writer import Store

NewStore = Callable[..., Store]
HOUR = 1_749_999_600.0  # noon is within it


def priced(record: Any) -> Costs:
    return Costs(0.25, "usd", 1.0, "openai/gpt-4o-mini", "usd", "2026-09-30") if record.provider == "groq" else Costs()


@pytest.fixture
def log(new_store: NewStore, records: Any, path: Path) -> Queries:
    store = new_store()
    store.price = priced
    store.open()
    script: tuple[dict[str, Any], ...] = (
            {},
            {"latency": 3.0, "tokens_cached": 200},
            {"provider": "cerebras", "model": "m", "credential": "c-1", "attempts": (records.failed(),)},
            {"outcome": "broken", "provider": "cerebras", "model": "m", "credential": "c-1"},
            {"outcome": "exhausted", "provider": None, "model": None, "credential": None, "tokens_in": None,
             "tokens_out": None, "status": 429, "error": "all at their limits", "attempts": (records.failed(),)},
            {"at": HOUR + 3600, "chain": "fast"},
            {"at": HOUR + 86400},
    )  # fmt: skip
    for number, changes in enumerate(script):
        store.record(records(f"req_{number}", **changes))
    store.close()
    return Queries(path)


def test_what_was_used_by_each_provider(log: Queries) -> None:
    groq, cerebras, nobody = log.usage("provider", 0.0)
    assert (groq.name, groq.requests, groq.served, groq.failures) == ("groq", 4, 4, 0)
    assert (groq.tokens_in, groq.tokens_out, groq.tokens_cached, groq.tokens_wasted) == (4800, 340, 200, 0)
    assert (groq.cost, groq.list_cost, groq.saved, groq.unpriced) == (1.0, 4.0, 3.0, 0)
    assert (groq.latency_p50, groq.latency_p95, groq.first_token) == (2.0, 4.0, 0.25)
    assert (cerebras.name, cerebras.requests, cerebras.served, cerebras.failures) == ("cerebras", 2, 1, 2)
    assert (cerebras.tokens_wasted, cerebras.unpriced, cerebras.saved) == (1285, 1, 0)
    assert (nobody.name, nobody.requests, nobody.served, nobody.latency_p50) == ("", 1, 0, None)


def test_what_was_used_by_day_chain_and_from_an_hour_on(log: Queries) -> None:
    assert [(day.name, day.requests) for day in log.usage("day", 0.0)] == [("2025-06-15", 6), ("2025-06-16", 1)]
    assert [(chain.name, chain.requests) for chain in log.usage("chain", 0.0)] == [("default", 6), ("fast", 1)]
    assert [chain.name for chain in log.usage("chain", HOUR + 3600)] == ["default", "fast"]
    assert [chain.requests for chain in log.usage("chain", HOUR, HOUR + 3600)] == [5]


def test_a_timeline_has_a_slot_for_each_span(log: Queries) -> None:
    slots = log.timeline(HOUR, HOUR + 7200, 3600)
    assert [(slot.at, slot.sums.name, slot.sums.requests) for slot in slots] == [
        (HOUR, "", 1), (HOUR, "cerebras", 2), (HOUR, "groq", 2), (HOUR + 3600, "groq", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), "6543210"),
        (Filter(chain="fast"), "5"),
        (Filter(provider="cerebras"), "432"),
        (Filter(outcome="broken"), "3"),
        (Filter(status=429), "4"),
        (Filter(text="THEIR limits"), "4"),
        (Filter(text="req_1"), "1"),
        (Filter(text="100%"), ""),
        (Filter(since=HOUR + 3600), "65"),
        (Filter(until=HOUR + 3600), "43210"),
    ],
)
def test_requests_are_found_by_what_is_asked(log: Queries, wanted: Filter, found: str) -> None:
    assert "".join(row.request.id[-1] for row in log.search(wanted).requests) == found


def test_pages_of_requests_follow_each_other(log: Queries) -> None:
    first = log.search(Filter(), 3).requests
    assert [row.request.id for row in log.search(Filter(), 9, first[-1].number).requests] == [
        "req_3", "req_2", "req_1", "req_0",
    ]  # fmt: skip


def test_one_request_has_its_trail_and_its_costs(log: Queries) -> None:
    found = log.request("req_1")
    assert found
    assert [attempt.outcome for attempt in found.request.attempts] == ["skipped", "served"]
    assert found.costs == Costs(0.25, "usd", 1.0, "openai/gpt-4o-mini", "usd", "2026-09-30")
    assert log.request("req_none") is None


def test_what_is_too_old_goes_and_its_sums_stay(new_store: NewStore, records: Any, path: Path, clock: Any) -> None:
    store = new_store()
    store.retention = Retention(seconds=86400.0)
    store.open()
    now = clock.now()
    for number in range(3):
        store.record(records(f"old_{number}", at=now - 90_000))
    store.record(records("new", at=now))
    store.close()
    log = Queries(path)
    assert [row.request.id for row in log.search(Filter()).requests] == ["new"]
    assert sum(sums.requests for sums in log.usage("chain", 0.0)) == 4
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM attempt").fetchone() == (2,)


def test_the_oldest_go_where_the_file_is_too_large(new_store: NewStore, records: Any, path: Path) -> None:
    store = new_store()
    store.retention = Retention(size=1)
    store.open()
    store.record(records())
    store.close()
    assert Queries(path).search(Filter()).requests == []


def test_an_older_log_is_summed_up_when_it_is_brought_up_to_date(path: Path, new_store: NewStore, records: Any) -> None:
    store = new_store()
    store.open()
    store.record(records("req_0"))
    store.record(records("req_1", outcome="exhausted", provider=None, attempts=(records.failed(),)))
    store.close()
    before = Queries(path).usage("provider", 0.0)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE hour")
        for column in ("tokens_cached", "cost", "currency", "list_cost", "list_model", "list_currency", "priced"):
            connection.execute(f"ALTER TABLE request DROP COLUMN {column}")
        connection.execute("DELETE FROM migration WHERE name = 'm0003_costs_and_hours'")
        connection.commit()
    new_store().open()
    assert Queries(path).usage("provider", HOUR, HOUR + 3600) == before
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE day")
        connection.execute("DELETE FROM migration WHERE name = 'm0004_days'")
        connection.commit()
    new_store().open()
    assert Queries(path).usage("provider", 0.0) == before


@given(st.lists(st.sampled_from([0.1, 0.25, 0.3, 1.0, 5.0, 40.0]), min_size=1), st.sampled_from([50, 95]))
def test_a_bound_is_no_less_than_the_percentile_and_in_its_step(latencies: list[float], percent: int) -> None:
    edges = (*STEPS, math.inf)
    counts = [0] * len(edges)
    for latency in latencies:
        counts[next(at for at, edge in enumerate(edges) if latency <= edge)] += 1
    true = sorted(latencies)[-(-len(latencies) * percent // 100) - 1]
    assert bound(counts, percent) == next(edge for edge in edges if true <= edge)


def test_nothing_has_no_bound() -> None:
    assert bound([0] * 9, 50) is None


def test_a_page_goes_on_where_the_one_before_ended(new_store: NewStore, records: Any, path: Path) -> None:
    # The first to come is the last to end, and is written last.
    store = new_store()
    store.open()
    for id, at in (("third", HOUR + 3), ("second", HOUR + 2), ("first", HOUR + 1), ("last", HOUR + 2)):
        store.record(records(id, at=at))
    store.close()
    log = Queries(path)
    page = log.search(Filter(), 1)
    listed = [page.requests[0].request.id]
    while page.older is not None:
        page = log.search(Filter(), 1, page.older)
        listed += [row.request.id for row in page.requests]
    assert listed == ["third", "last", "second", "first"]


def test_a_request_is_found_by_its_row(log: Queries) -> None:
    assert log.newest() == 7
    found = log.numbered(3)
    assert found
    assert (found.number, found.request.id, len(found.request.attempts)) == (3, "req_2", 1)
    assert log.numbered(8) is None
    assert log.numbered(2**63 - 1) is None


def test_a_log_that_is_not_there_has_no_newest_request(tmp_path: Path) -> None:
    assert Queries(tmp_path / "none.db").newest() == 0
