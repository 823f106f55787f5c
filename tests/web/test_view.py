from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from chain429.routing.status import ChainStatus, LimitStatus, ProviderStatus, Status, TargetState, TargetStatus
from chain429.routing.window import Window
from chain429.store.queries import Logged, ProviderTotals, Queries, Summary
from chain429.store.records import AttemptRecord, Costs, RequestRecord
from chain429.web.view import (
    ChainView,
    LimitView,
    ProviderView,
    RequestView,
    TargetView,
    Views,
    headline,
    iso,
    money,
    percent,
    seconds,
    utc,
)
from tests.fakes import FakeClock

NOON = 1_750_000_000.0
STATUS = Status(True, (), (), (ProviderStatus("groq", "Groq", "free", "closed", ""),), NOON, "0.1.0", False)


def target(state: TargetState, until: float | None = None) -> TargetStatus:
    return TargetStatus("groq", "m", "k", state, "", until)


@pytest.mark.parametrize(
    ("tiers", "available", "next_tier", "back"),
    [
        ((), 0, None, None),
        (((target("available"),), (target("available"),)), 2, 0, None),
        (((target("cooling", 9.0),), (target("refused"), target("half-open")), (target("available"),)), 2, 1, 9.0),
        (((target("exhausted", 9.0), target("open", 5.0)), (target("gone"),)), 0, None, 5.0),
    ],
)
def test_the_next_request_goes_to_the_first_tier_that_is_ready(
    tiers: tuple[tuple[TargetStatus, ...], ...], available: int, next_tier: int | None, back: float | None
) -> None:
    view = ChainView.of(ChainStatus("default", tiers))
    assert (view.available, view.next, view.back) == (available, next_tier, back)


@pytest.mark.parametrize(
    ("limit", "left", "view"),
    [
        (30, 18, ("requests per minute", 12, 30, 18, "ok")),
        (15, 3, ("requests per minute", 12, 15, 3, "low")),
        (12, 0, ("requests per minute", 12, 12, 0, "out")),
        # The provider says what is left, but not of how much.
        (None, 18, ("requests per minute", 12, 30, 18, "ok")),
        (0.5, 0, ("requests per minute", 12, 12, 0, "out")),
        (0, 0, ("requests per minute", 12, 12, 0, "out")),
    ],
)
def test_a_limit_is_a_bar_that_fills(limit: float | None, left: int, view: tuple[str, int, int, int, str]) -> None:
    known = LimitView.of(LimitStatus("requests", Window.MINUTE, limit, 12, left, 9.0, 41.0, "configured"), left)
    assert (known.name, known.used, known.size, known.left, known.level) == view
    assert (known.back, known.source) == (41.0, "configured")


def test_what_is_counted_without_a_limit_is_told_in_a_line() -> None:
    limits = (
        LimitStatus("requests", Window.MINUTE, None, 3, None, 9.0, 41.0, "counted"),
        LimitStatus("requests", None, 4, 1, 3, None, None, "configured"),
        LimitStatus("input_tokens", Window.DAY, None, 54_000, None, 9.0, 41.0, "counted"),
        LimitStatus("requests", Window.HOUR, None, 1, None, 9.0, 41.0, "counted"),
    )
    view = TargetView.of(dataclasses.replace(target("tracking"), limits=limits))
    assert [limit.name for limit in view.limits] == ["requests at a time"]
    assert view.counted == "3 requests in a minute, 54,000 input tokens in a day, 1 request in an hour"


@pytest.mark.parametrize(
    ("outcomes", "trail"),
    [
        ((), "0 attempts"),
        (("served",), "1 attempt"),
        (("skipped", "busy", "served"), "2 attempts, 1 passed over"),
    ],
)
def test_a_trail_in_a_few_words(outcomes: tuple[str, ...], trail: str) -> None:
    attempts = tuple(AttemptRecord("groq", "m", "k", outcome, None, "", 0.0) for outcome in outcomes)
    record = RequestRecord(
        *("r", NOON, "chat", "default", "m", None, None, None, 200, "served", False, None, None, 1.0, None, "sdk", ""),
        attempts,
    )
    assert RequestView.of(Logged(1, record, Costs())).trail == trail


@pytest.mark.parametrize(
    ("healthy", "problems", "words"),
    [
        (True, (), "All good"),
        (True, ("a note",), "All good"),
        (False, (), "Something is wrong"),
        (False, ("one",), "One thing is wrong"),
        (False, ("one", "two"), "2 things are wrong"),
    ],
)
def test_one_line_says_whether_anything_is_wrong(healthy: bool, problems: tuple[str, ...], words: str) -> None:
    assert headline(dataclasses.replace(STATUS, healthy=healthy, problems=problems)) == words


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (0.0, "0 ms"),
        (0.0804, "80 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (99.94, "99.9 s"),
        (99.95, "1 min 40 s"),
        (125.2, "2 min 5 s"),
        (3600.0, "60 min 0 s"),
    ],
)
def test_durations_in_words(duration: float, words: str) -> None:
    assert seconds(duration) == words


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (NOON, "2025-06-15T15:06:40Z"),
        (-1.0, "1970-01-01T00:00:00Z"),
        (float("inf"), "9999-12-31T23:59:59Z"),
        (1e18, "9999-12-31T23:59:59Z"),
    ],
)
def test_times_that_no_calendar_has_do_not_break_the_page(at: float, written: str) -> None:
    assert iso(at) == written
    assert utc(at) == written.replace("T", " ").replace("Z", " UTC")


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [
        (0.0, "usd", "$0.00"),
        (1234.567, "usd", "$1,234.57"),
        (0.5, "usd", "$0.50"),
        (0.00042, "usd", "$0.00042"),
        (0.000123456, "usd", "$0.0001235"),
        (-0.25, "usd", "-$0.25"),
        (12.5, "sats", "12.50 sats"),
    ],
)
def test_money_in_words(amount: float, currency: str, words: str) -> None:
    assert money(amount, currency) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0 %"), (0.00001, "0.1 %"), (0.034, "3.4 %"), (0.5, "50 %"), (0.997, "99.7 %"), (1.0, "100 %")],
)
def test_shares_in_words(share: float, words: str) -> None:
    assert percent(share) == words


@pytest.mark.parametrize(
    ("costs", "saved"),
    [
        (Costs(0.25, "usd", 1.0, "openai/gpt-4o-mini"), 0.75),
        (Costs(None, "usd", 1.0, "openai/gpt-4o-mini"), None),
        (Costs(0.25), None),
        (Costs(2.0, "sats", 1.0, "openai/gpt-4o-mini", "usd"), None),
    ],
)
def test_what_a_request_saved_is_known_when_both_prices_are(costs: Costs, saved: float | None) -> None:
    record = RequestRecord(
        *("r", NOON, "chat", "default", "m", None, None, None, 200, "served", False, None, None, 1.0, None, "sdk", ""),
        (),
    )
    assert RequestView.of(Logged(1, record, costs)).saved == saved


class CountingQueries(Queries):
    """An empty log whose counts take as long as a test says."""

    def __init__(self, clock: FakeClock, takes: float) -> None:
        super().__init__(Path("/nonexistent/log.db"))
        self.counted: list[float] = []
        self._clock = clock
        self._takes = takes

    def totals(self, since: float) -> dict[str, ProviderTotals]:
        self.counted.append(since)
        self._clock.time += self._takes
        return {"old": ProviderTotals("old", len(self.counted), 0, 0, 0)}

    def summary(self, since: float) -> Summary:
        return Summary(requests=len(self.counted))


def test_counts_are_of_a_day_and_taken_less_often_the_longer_they_take() -> None:
    clock = FakeClock(NOON)
    queries = CountingQueries(clock, takes=0.5)
    views = Views(queries, clock, "http://127.0.0.1:4290/v1")
    views.of(STATUS, 0, clock.now())
    assert queries.counted == [NOON - 86_400]
    clock.time += 9.9
    assert views.of(STATUS, 0, clock.now())["summary"] == Summary(requests=1)
    clock.time += 0.1
    assert views.of(STATUS, 0, clock.now())["summary"] == Summary(requests=2)


def test_counts_that_take_no_time_are_always_fresh() -> None:
    clock = FakeClock(NOON)
    queries = CountingQueries(clock, takes=0.0)
    views = Views(queries, clock, "")
    for _ in range(3):
        views.of(STATUS, 0, clock.now())
    assert len(queries.counted) == 3


def test_a_provider_that_only_the_log_knows_is_shown_last() -> None:
    clock = FakeClock(NOON)
    views = Views(CountingQueries(clock, takes=0.0), clock, "")
    assert views.of(STATUS, 0, NOON)["providers"] == [
        ProviderView("Groq", STATUS.providers[0], ProviderTotals("groq", 0, 0, 0, 0)),
        ProviderView("old", None, ProviderTotals("old", 1, 0, 0, 0)),
    ]
