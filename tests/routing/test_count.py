from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.count import Count
from chain429.routing.outcome import Provision
from chain429.routing.window import DayReset, Refill, Window

NOW = 1_800_000_000.0
MINUTE, DAY = Window.MINUTE, Window.DAY
STEADY = Provision(refill=Refill.STEADY)
ZONE = datetime.timezone(datetime.timedelta(hours=-7))
MIDNIGHT = datetime.datetime(2027, 1, 16, tzinfo=ZONE).timestamp()


def count(window: Window = MINUTE, provision: Provision | None = None) -> Count:
    return Count(window, provision)


def add(made: Count, amount: float, now: float, limit: float | None = 60) -> None:
    made.used(limit, now)
    made.add(amount, now)


def test_an_amount_leaves_a_rolling_window_a_little_late() -> None:
    made = count()
    made.add(3, NOW)
    made.add(4, NOW + 20)
    assert [made.used(10, NOW + after) for after in (20, 60.9, 61, 80.9, 81)] == [7, 7, 4, 4, 0]


def test_what_was_not_used_is_taken_back_where_it_was_added() -> None:
    made = count()
    made.add(5, NOW)
    made.add(5, NOW + 30)
    made.take_back(4, NOW)
    assert [made.used(10, NOW + after) for after in (30, 61, 91)] == [6, 5, 0]
    made.take_back(5, NOW + 30)
    assert made.used(10, NOW + 91) == 0, "it has left already"


def test_what_is_dropped_is_the_oldest() -> None:
    made = count()
    made.add(5, NOW)
    made.add(5, NOW + 30)
    made.drop(7)
    assert [made.used(10, NOW + after) for after in (30, 61)] == [3, 3]


def test_what_was_added_after_a_moment() -> None:
    made = count()
    for after in (0, 10, 20):
        made.add(1, NOW + after)
    assert [made.after(NOW + after) for after in (-1, 0, 10, 20)] == [3, 2, 1, 0]


def test_a_steady_limit_drains_at_the_pace_that_its_size_tells() -> None:
    made = count(MINUTE, STEADY)
    add(made, 60, NOW)
    assert [made.used(60, NOW + after) for after in (0, 1, 30)] == [60, 59, 30]
    assert made.used(120, NOW + 31) == 28
    made.set_level(50)
    assert made.frees(20, 60) == NOW + 31 + 20
    made.shift(-70)
    assert made.used(60, NOW + 31) == 0


def test_until_its_size_is_known_a_steady_limit_rolls() -> None:
    made = count(MINUTE, STEADY)
    add(made, 60, NOW)
    assert made.used(None, NOW + 59) == 60
    assert made.used(60, NOW + 60) == 59
    assert made.used(None, NOW + 61) == 0


def test_a_calendars_day_ends_at_midnight_of_its_zone_and_is_exact() -> None:
    made = count(DAY, Provision(day=DayReset(ZONE)))
    add(made, 5, MIDNIGHT - 10)
    assert made.used(10, MIDNIGHT - 0.001) == 5
    assert (made.frees(1, 10), made.margin) == (MIDNIGHT, 0)
    assert made.used(10, MIDNIGHT) == 0
    assert count(DAY).margin == 1


@pytest.mark.parametrize(
    ("provision", "window", "parts"),
    [
        (None, MINUTE, (61, 91)),
        (STEADY, MINUTE, (31, 70)),  # 10 have drained by then
        (Provision(day=DayReset(ZONE)), DAY, (MIDNIGHT - NOW, MIDNIGHT - NOW)),
    ],
)
def test_when_the_next_part_is_back_and_the_whole(
    provision: Provision | None, window: Window, parts: tuple[float, float]
) -> None:
    made = count(window, provision)
    assert made.returns(60, NOW, whole=False) is None
    add(made, 10, NOW)
    add(made, 40, NOW + 30)
    returns = [made.returns(60, NOW + 30, whole=whole) for whole in (False, True)]
    assert returns == pytest.approx([NOW + part for part in parts])


adds = st.lists(st.tuples(st.integers(1, 50), st.floats(0, 0.1)), max_size=300)


@given(st.sampled_from(list(Window)), adds)
def test_a_rolling_window_never_counts_less_than_there_is_nor_keeps_it_for_long(
    window: Window, script: list[tuple[int, float]]
) -> None:
    made, now = count(window), NOW
    seen: list[tuple[float, int]] = []
    for amount, wait in script:
        now += wait * window.seconds
        add(made, amount, now, None)
        seen.append((now, amount))
        assert made.used(None, now) >= sum(there for at, there in seen if at > now - window.seconds)
    assert made.used(None, now + window.seconds * 1.1 + 1) == 0


@given(adds, st.data())
def test_what_is_taken_back_leaves_what_others_added(script: list[tuple[int, float]], data: st.DataObject) -> None:
    made, now = count(DAY), NOW
    under_way: list[tuple[float, int]] = []
    kept = 0
    for amount, wait in script:
        now += wait * 60
        add(made, amount, now, None)
        under_way.append((now, amount))
        if data.draw(st.booleans()):
            since, there = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            back = data.draw(st.integers(0, there))
            made.take_back(back, since)
            kept += there - back
    assert made.used(None, now) == kept + sum(amount for _, amount in under_way)


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(-1e6, 1e6)), max_size=40), st.sampled_from(list(Window)))
def test_no_jump_of_the_clock_keeps_an_amount_for_longer_than_its_window(
    script: list[tuple[int, float]], window: Window
) -> None:
    made, now = count(window), NOW
    for amount, jump in script:
        now += jump
        add(made, amount, now, None)
    made.used(None, now)
    assert made.used(None, now + window.seconds * 1.1 + 1 + window.seconds / 1000) == 0
