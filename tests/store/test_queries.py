from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.store.queries import ProviderTotals, Queries, Summary, percentile
from chain429.store.writer import Store

NOON = 1_750_000_000.0


@pytest.fixture
def store(new_store: Callable[..., Store]) -> Store:
    store = new_store()
    store.open()
    return store


def test_a_log_that_is_not_there_is_an_empty_one(tmp_path: Path) -> None:
    queries = Queries(tmp_path / "nothing" / "log.db")
    assert queries.recent() == []
    assert queries.totals(0) == {}
    assert queries.summary(0) == Summary()
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be looked at" * 50])
def test_a_file_that_is_no_log_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(content)
    queries = Queries(path)
    assert queries.recent() == []
    assert queries.totals(0) == {}
    assert queries.summary(0) == Summary()


def test_a_path_may_hold_what_means_something_in_an_address(
    tmp_path: Path, store: Store, path: Path, records: Any
) -> None:
    store.record(records())
    store.close()
    odd = tmp_path / "what?mode=rwc#100%.db"
    path.rename(odd)
    assert [record.id for record in Queries(odd).recent()] == ["req_1"]


def test_recent_is_newest_first_and_pages_back(store: Store, path: Path, records: Any) -> None:
    for number in range(5):
        store.record(records(f"req_{number}", at=NOON + number))
    assert store.flush()
    queries = Queries(path)
    first = queries.recent(limit=2)
    assert [record.id for record in first] == ["req_4", "req_3"]
    assert [record.id for record in queries.recent(limit=2, before=first[-1].at)] == ["req_2", "req_1"]
    assert queries.recent(before=NOON) == []


def test_attempts_stay_with_their_request_and_in_order(store: Store, path: Path, records: Any) -> None:
    trail = (records.failed("first"), records.failed("second"), records.skipped(), records.served())
    store.record(records("req_1", at=NOON, attempts=trail))
    store.record(records("req_2", at=NOON + 1, attempts=()))
    assert store.flush()
    assert [record.attempts for record in Queries(path).recent()] == [(), trail]


def test_totals_count_what_each_provider_did(store: Store, path: Path, records: Any) -> None:
    store.record(records("too old", at=NOON - 3600))
    store.record(records("served", at=NOON, tokens_in=100, tokens_out=10))
    store.record(
        records("uncounted", at=NOON, tokens_in=None, tokens_out=None, attempts=(records.failed(), records.served()))
    )
    store.record(records("broke off", at=NOON, outcome="broken", tokens_in=7, tokens_out=1))
    store.record(
        records(
            "exhausted", at=NOON, outcome="exhausted", provider=None, tokens_in=None, tokens_out=None,
            attempts=(records.skipped(), records.failed()),
        )
    )  # fmt: skip
    assert store.flush()
    assert Queries(path).totals(NOON) == {
        "groq": ProviderTotals("groq", served=2, failed_attempts=0, tokens_in=107, tokens_out=11),
        "cerebras": ProviderTotals("cerebras", served=0, failed_attempts=2, tokens_in=0, tokens_out=0),
    }


def test_sums_of_absurd_claims_do_not_overflow(store: Store, path: Path, records: Any) -> None:
    for number in range(3):
        store.record(records(f"req_{number}", tokens_in=2**63 - 1))
    assert store.flush()
    assert Queries(path).totals(0)["groq"].tokens_in == 3 * 10**12


def test_summary_is_of_all_providers(store: Store, path: Path, records: Any) -> None:
    store.record(records("too old", at=NOON - 3600, latency=99.0))
    for number in range(1, 21):
        first = 0.1 if number % 2 else None
        store.record(records(f"req_{number}", at=NOON, latency=float(number), first_token=first))
    for outcome in ("exhausted", "broken", "refused", "cancelled"):
        store.record(records(outcome, at=NOON, outcome=outcome, latency=1000.0, first_token=1000.0))
    assert store.flush()
    assert Queries(path).summary(NOON) == Summary(
        requests=24, served=20, failed=2, latency_p50=10.0, latency_p95=19.0, first_token_p50=0.1
    )


def test_reading_goes_on_while_another_writes(store: Store, path: Path, records: Any) -> None:
    store.record(records())
    assert store.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM request")
        assert [record.id for record in Queries(path).recent()] == ["req_1"]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


def test_there_is_no_percentile_of_nothing() -> None:
    assert percentile([], 50) is None
