from __future__ import annotations

import datetime
import math
import zoneinfo
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import RequestError
from chain429.simulator.limits import (
    Calendar,
    Draining,
    Exceeded,
    Limits,
    Metric,
    Pace,
    Period,
    Quota,
    Rolling,
    State,
    Window,
)
from tests.simulator.fakes import NOON

CALIFORNIA = zoneinfo.ZoneInfo("America/Los_Angeles")

# Seconds since the last request, and how much it asks for. Quarters of a second are exact, so the laws can be too.
ASKED = st.lists(st.tuples(st.integers(0, 400).map(lambda quarters: quarters / 4), st.integers(1, 12)), max_size=60)
MAKERS: dict[str, Callable[[int], Window]] = {
    "rolling": lambda limit: Rolling(limit, 60.0),
    "draining": lambda limit: Draining(limit, 60.0),
    "calendar": lambda limit: Calendar(limit, datetime.UTC),
}


def admitted(window: Window, asked: list[tuple[float, int]], start: float = NOON) -> list[tuple[float, int]]:
    """Ask as a provider does, and give what was let in, and when."""
    now, let_in = start, []
    for passed, amount in asked:
        now += passed
        if window.wait(now, amount) == 0:
            window.add(now, amount)
            let_in.append((now, amount))
    return let_in


@given(ASKED, st.integers(0, 20))
def test_a_rolling_window_never_admits_more_than_its_limit_in_any_minute(
    asked: list[tuple[float, int]], limit: int
) -> None:
    let_in = admitted(Rolling(limit, 60.0), asked)
    for start, _ in let_in:
        assert sum(amount for at, amount in let_in if start <= at < start + 60) <= limit


@given(ASKED, st.integers(0, 20))
def test_a_draining_window_admits_its_limit_and_what_has_drained(asked: list[tuple[float, int]], limit: int) -> None:
    let_in = admitted(Draining(limit, 60.0), asked)
    for index, (start, _) in enumerate(let_in):
        total = 0
        for end, amount in let_in[index:]:
            total += amount
            assert total <= limit * (1 + (end - start) / 60) + 1e-4


@given(st.lists(st.tuples(st.integers(0, 9 * 3600).map(float), st.integers(1, 12)), max_size=60), st.integers(0, 20))
def test_a_calendar_window_never_admits_more_than_its_limit_in_any_day(
    asked: list[tuple[float, int]], limit: int
) -> None:
    let_in = admitted(Calendar(limit, CALIFORNIA), asked)
    days: dict[datetime.date, int] = {}
    for at, amount in let_in:
        day = datetime.datetime.fromtimestamp(at, CALIFORNIA).date()
        days[day] = days.get(day, 0) + amount
    assert all(total <= limit for total in days.values())


@pytest.mark.parametrize("kind", MAKERS)
@given(asked=ASKED, limit=st.integers(1, 20), amount=st.integers(1, 12))
def test_the_wait_that_is_told_is_enough_and_no_more(
    kind: str, asked: list[tuple[float, int]], limit: int, amount: int
) -> None:
    window = MAKERS[kind](limit)
    let_in = admitted(window, asked)
    now = NOON + sum(passed for passed, _ in asked)
    wait = window.wait(now, amount)
    if amount > limit:
        assert wait == math.inf
        return
    if wait > 0.01:
        assert let_in
        assert window.wait(now + wait - 0.01, amount) > 0
    assert window.wait(now + wait, amount) == 0


@pytest.mark.parametrize("kind", MAKERS)
def test_a_window_is_clear_when_it_says_so(kind: str) -> None:
    window = MAKERS[kind](10)
    assert window.clears(NOON) == 0
    window.add(NOON, 3)
    window.add(NOON + 2, 4)
    clears = window.clears(NOON + 2)
    assert window.used(NOON + 2 + clears - 0.01) > 0
    assert window.used(NOON + 2 + clears) == pytest.approx(0, abs=1e-6)


def test_an_amount_leaves_a_rolling_window_when_it_is_a_minute_old() -> None:
    window = Rolling(2, 60.0)
    window.add(0.0, 1)
    window.add(10.0, 1)
    assert window.wait(59.0, 1) == 1.0
    assert window.wait(59.0, 2) == 11.0
    assert window.wait(60.0, 1) == 0
    assert window.used(60.0) == 1


def test_a_draining_window_frees_one_by_one() -> None:
    window = Draining(30, 60.0)
    for _ in range(30):
        window.add(NOON, 1)
    assert window.wait(NOON, 1) == 2.0
    assert window.wait(NOON + 2.0, 1) == 0
    assert window.wait(NOON + 2.0, 2) == 2.0


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        pytest.param(datetime.UTC, "2026-03-08", 24, id="UTC has no summer time"),
        pytest.param(CALIFORNIA, "2026-03-08", 23, id="spring in California"),
        pytest.param(CALIFORNIA, "2026-11-01", 25, id="autumn in California"),
    ],
)
def test_a_day_lasts_from_midnight_to_midnight(zone: datetime.tzinfo, day: str, hours: int) -> None:
    midnight = datetime.datetime.fromisoformat(day).replace(tzinfo=zone).timestamp()
    window = Calendar(1, zone)
    window.add(midnight, 1)
    assert window.wait(midnight, 1) == hours * 3600
    assert window.wait(midnight + hours * 3600 - 1, 1) == 1
    assert window.wait(midnight + hours * 3600, 1) == 0


def quota(limits: Limits, scale: float = 1.0) -> Quota:
    return Quota(limits, lambda period, limit: Rolling(limit, period.seconds), Pace(NOON, scale))


def test_a_quota_counts_in_every_window_or_in_none() -> None:
    limited = quota(Limits(rpm=5, tpm=100))
    assert limited.admit(NOON, 80) is None
    assert limited.admit(NOON + 1, 30) == Exceeded(Metric.TOKENS, Period.MINUTE, 100, 80, 30, 59.0)
    assert limited.state(Metric.REQUESTS, Period.MINUTE, NOON + 1) == State(5, 4, 59.0)
    assert limited.state(Metric.TOKENS, Period.MINUTE, NOON + 1) == State(100, 20, 59.0)
    assert limited.state(Metric.TOKENS, Period.DAY, NOON + 1) is None


def test_a_quota_names_the_limit_that_takes_longest() -> None:
    limited = quota(Limits(rpm=1, rpd=1))
    limited.admit(NOON, 1)
    assert limited.admit(NOON + 10, 1) == Exceeded(Metric.REQUESTS, Period.DAY, 1, 1, 1, 86390.0)


def test_what_is_larger_than_the_limit_never_fits() -> None:
    assert quota(Limits(tpm=100)).admit(NOON, 101) == Exceeded(Metric.TOKENS, Period.MINUTE, 100, 0, 101, math.inf)
    assert quota(Limits(rpm=0)).admit(NOON, 1) == Exceeded(Metric.REQUESTS, Period.MINUTE, 0, 0, 1, math.inf)


def test_without_limits_everything_fits() -> None:
    free = quota(Limits())
    assert all(free.admit(NOON, 10**9) is None for _ in range(100))


def test_at_time_scale_60_a_minute_lasts_a_second() -> None:
    limited = quota(Limits(rpm=1), scale=60.0)
    assert limited.admit(NOON, 1) is None
    assert limited.admit(NOON + 0.25, 1) == Exceeded(Metric.REQUESTS, Period.MINUTE, 1, 1, 1, 0.75)
    assert limited.admit(NOON + 1, 1) is None


def test_at_time_scale_60_midnight_comes_sixty_times_sooner() -> None:
    limited = Quota(Limits(rpd=1), lambda period, limit: Calendar(limit, datetime.UTC), Pace(NOON, 60.0))
    limited.admit(NOON, 1)
    exceeded = limited.admit(NOON, 1)
    assert exceeded is not None
    assert exceeded.wait == 12 * 3600 / 60
    assert limited.admit(NOON + 720, 1) is None


def test_some_limits_can_be_changed() -> None:
    assert Limits(rpm=30, tpm=8000).changed({"rpm": 5, "tpm": None}) == Limits(rpm=5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"rps": 1}, "no limit named 'rps'; there are: rpm, rph, rpd, tpm, tph, tpd", id="unknown"),
        pytest.param({"rpm": -1}, "rpm must be a whole number of at least 0, or null for no limit", id="negative"),
        pytest.param({"rpm": "5"}, "rpm must be a whole number", id="text"),
        pytest.param({"rpm": True}, "rpm must be a whole number", id="bool"),
    ],
)
def test_limits_that_cannot_be(changes: dict[str, object], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        Limits().changed(changes)
