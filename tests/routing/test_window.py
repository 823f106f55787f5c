from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.window import DayReset, Window

PACIFIC = ZoneInfo("America/Los_Angeles")
# Days of 23 and 25 hours, without a midnight, and with a half-hour's offset.
ZONES = [
    ZoneInfo(name)
    for name in ("UTC", "America/Los_Angeles", "America/Santiago", "America/Havana", "Africa/Cairo", "Asia/Kolkata")
]
zones = st.sampled_from(ZONES)
moments = st.integers(1_700_000_000, 2_100_000_000)


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def test_windows_are_of_growing_length() -> None:
    assert [window.seconds for window in Window] == [1, 60, 3600, 86400, 604800, 2678400]


def test_a_rolling_day_has_no_reset() -> None:
    assert DayReset().after(at("2026-09-21T20:00:00+00:00")) is None


@pytest.mark.parametrize(
    ("now", "reset"),
    [
        ("2026-09-21T20:00:00+00:00", "2026-09-22T07:00:00+00:00"),
        ("2026-09-22T06:59:59+00:00", "2026-09-22T07:00:00+00:00"),
        ("2026-09-22T07:00:00+00:00", "2026-09-23T07:00:00+00:00"),
        ("2026-12-31T12:00:00+00:00", "2027-01-01T08:00:00+00:00"),
        ("2026-03-08T08:00:00+00:00", "2026-03-09T07:00:00+00:00"),  # a day of 23 hours
        ("2026-11-01T07:00:00+00:00", "2026-11-02T08:00:00+00:00"),  # a day of 25 hours
    ],
)
def test_a_day_begins_anew_at_its_zones_midnight(now: str, reset: str) -> None:
    assert DayReset(PACIFIC).after(at(now)) == at(reset)


@given(zones, moments)
def test_the_next_day_is_the_first_there_is(zone: ZoneInfo, now: int) -> None:
    reset = DayReset(zone).after(now)
    assert reset is not None
    today, last, first = (datetime.datetime.fromtimestamp(moment, zone).date() for moment in (now, reset - 1, reset))
    assert now < reset
    assert last == today
    assert first == today + datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("reset", "now", "expected"),
    [
        (DayReset(), "2026-09-21T20:00:00+00:00", "2026-10-01T00:00:00+00:00"),
        (DayReset(), "2026-12-31T23:59:59+00:00", "2027-01-01T00:00:00+00:00"),
        (DayReset(), "2027-01-01T00:00:00+00:00", "2027-02-01T00:00:00+00:00"),
        (DayReset(PACIFIC), "2026-11-01T06:00:00+00:00", "2026-11-01T07:00:00+00:00"),
        (DayReset(PACIFIC), "2026-11-01T07:00:00+00:00", "2026-12-01T08:00:00+00:00"),
    ],
)
def test_a_month_begins_anew_on_its_first(reset: DayReset, now: str, expected: str) -> None:
    assert reset.month_after(at(now)) == at(expected)


@given(zones, moments)
def test_the_next_month_is_the_first_there_is(zone: ZoneInfo, now: int) -> None:
    reset = DayReset(zone).month_after(now)
    today, last, first = (datetime.datetime.fromtimestamp(moment, zone).date() for moment in (now, reset - 1, reset))
    assert now < reset
    assert (last.year, last.month) == (today.year, today.month)
    assert first.day == 1
