from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chain429.routing.bucket import Bucket, Concurrency, Hold, Lesson, Shortage
from chain429.routing.headers import Metric, Reading
from chain429.routing.outcome import Hit, Provision
from chain429.routing.window import Refill, Window

NOW = 1_800_000_000.0
MINUTE, HOUR, DAY = Window.MINUTE, Window.HOUR, Window.DAY
STEADY = Provision(refill=Refill.STEADY)


def bucket(
    metric: Metric = "requests", window: Window = MINUTE, configured: float | None = None, steady: bool = False
) -> Bucket:
    made = Bucket(metric, window, STEADY if steady else None)
    made.configure(configured)
    return made


def known_until(made: Bucket, amount: float = 1.0, now: float = NOW, least: float = 1.0) -> float | None:
    """Until when there is known to be no room, in seconds from now: 0 where that is only believed, None where there is
    room as far as is known."""
    shortage = made.shortage(amount, least, now)
    return None if shortage is None else max(round(shortage.known_until - now, 3), 0.0)


def serve(made: Bucket, amount: float = 1.0, now: float = NOW, used: float | None = None) -> None:
    made.settle(made.take(amount, amount, now), amount if used is None else used, now)


def refuse(made: Bucket, need: float = 1.0, now: float = NOW, until: float | None = None, **hit: float) -> Lesson:
    return made.refused(Hit(made.metric, made._window, **hit), need, until, now)


def report(made: Bucket, remaining: float, hold: Hold | None = None, now: float = NOW, limit: float = 10) -> None:
    made.report(Reading(made.metric, made._window, limit, remaining), hold, now)


# What is known, and what is only believed.


def test_a_limit_that_is_configured_is_known_but_for_the_margin() -> None:
    made = bucket(configured=1)
    serve(made)
    shortage = made.shortage(1, 1, NOW + 10)
    assert shortage == Shortage("requests per minute used up (limit 1)", NOW + 61, known_until=NOW + 60, for_all=True)


def test_a_count_against_a_limit_that_the_provider_named_is_known_while_it_is_fresh() -> None:
    made = bucket(window=HOUR)
    for _ in range(10):
        serve(made)
    report(made, 0, now=NOW + 1)
    assert known_until(made, now=NOW + 1) == 300, "a twelfth of the hour"
    assert known_until(made, now=NOW + 302) == 0


def test_what_was_concluded_is_never_known() -> None:
    made = bucket(window=HOUR)
    serve(made)
    refuse(made)
    assert made.limit(NOW) == 1
    assert known_until(made, now=NOW + 11) == 0


def test_that_tokens_are_short_is_known_by_the_least_that_a_request_takes() -> None:
    made = bucket("tokens", configured=1000)
    serve(made, 900)
    assert known_until(made, 500, least=100) == 0
    assert known_until(made, 500, least=101) == 60
    assert known_until(made, 100, least=100) is None


def test_what_is_under_way_may_take_less_than_was_estimated_or_be_refused() -> None:
    made = bucket("tokens", configured=1000)
    made.take(800, 300, NOW)
    assert known_until(made, 400, least=200) == 0, "500 are sure to be used at most"
    assert known_until(made, 750, least=750) == 1, "it may be refused, and then there is room"
    made.take(800, 800, NOW)
    assert known_until(made, 400, least=200) == 1


def test_an_estimate_above_the_whole_limit_is_only_believed() -> None:
    made = bucket("tokens", configured=1000)
    assert made.shortage(5000, 2000, NOW) == Shortage(
        "it needs about 5000 tokens per minute, more than the limit of 1000", math.inf, estimated=True, known_until=0
    )


# Refusals.


def test_a_refusal_that_tells_how_much_is_used_is_the_truth() -> None:
    made = bucket("tokens", DAY, steady=True)
    for _ in range(10):
        serve(made, 5000)
    # Somebody else has used the rest.
    refuse(made, 900, amount=200_000, used=199_800, until=NOW + 300)
    assert made.remaining(NOW) == 200
    assert made.shortage(200, 200, NOW) is None
    assert known_until(made, 900, least=100) == 0, "it is a moment later that the test of as much is another one"
    assert made.shortage(900, 100, NOW + 302.5) is None


def test_what_was_under_way_is_in_what_a_refusal_tells() -> None:
    made = bucket("tokens", DAY, steady=True, configured=10_000)
    stream = made.take(4000, 1000, NOW)
    refuse(made, 9000, amount=10_000, used=3000)
    made.settle(stream, 500, NOW)
    assert made.remaining(NOW) == 7000
    assert made.in_flight == 0


def test_a_refusal_for_tokens_denies_what_is_as_much_of_what_is_left() -> None:
    made = bucket("tokens", configured=1000)
    serve(made, 600)
    refuse(made, 600, until=NOW + 60)  # 1.5 times what is left
    assert [known_until(made, amount) for amount in (700, 600, 599, 401, 400)] == [10, 10, 0, 0, None]
    made.settle(made.take(100, 100, NOW), 100, NOW)
    assert [known_until(made, amount) for amount in (450, 449)] == [10, 0], "300 are left now"


def test_an_estimate_that_was_too_low_denies_nothing() -> None:
    made = bucket("tokens", DAY, steady=True)
    lesson = refuse(made, 500, amount=10_000, used=9400, until=NOW + 99)
    assert lesson == Lesson(NOW + 99, foreseen=False, fitted=True)
    assert made.shortage(500, 1, NOW) is None


def test_a_refusal_that_our_count_foresaw_tells_nothing_new_but_confirms_it() -> None:
    made = bucket(window=HOUR)
    made.report(Reading("requests", HOUR, 5), None, NOW)
    for _ in range(5):
        serve(made)
    later = NOW + 3600.5
    assert known_until(made, now=later) == 0
    lesson = refuse(made, now=later, until=later + 60)  # a wait that has nothing to do with it
    assert lesson == Lesson(NOW + 3601, foreseen=True)
    assert made.shortage(1, 1, NOW + 3601) is None


def test_a_refusal_of_nobody_knows_what_is_taken_for_what_our_count_says_to_be_full() -> None:
    full, free = bucket(configured=1), bucket(configured=5)
    for made in (full, free):
        serve(made)
    assert full.refused(None, 1, None, NOW + 60.5) == Lesson(NOW + 61, foreseen=True)
    assert free.refused(None, 1, None, NOW) == Lesson()


def test_what_is_tested_in_vain_is_tested_ever_more_rarely_and_one_at_a_time() -> None:
    made, now, waits = bucket(window=HOUR), NOW, []
    made.report(Reading("requests", HOUR, 3), None, NOW)
    for _ in range(3):
        serve(made)
    now += 400  # what the provider said is no longer fresh
    for _ in range(9):
        assert known_until(made, now=now) == 0
        test = made.take(1, 1, now)
        wait = known_until(made, now=now + 0.1)
        assert wait, "another one is under way"
        made.settle(test, 0, now + 0.2)
        refuse(made, now=now + 0.2)
        found = known_until(made, now=now + 0.2)
        assert found is not None
        waits.append(round(found))
        now += 0.2 + found
        if now > NOW + 3000:
            break
    assert waits[0] == 300, "it has confirmed our count"
    assert waits == sorted(waits)


def test_tests_of_what_nothing_confirms_double_their_distance() -> None:
    made, now, waits = bucket("tokens", HOUR), NOW, []
    for _ in range(8):
        refuse(made, 500, now)
        shortage = made.shortage(500, 500, now)
        assert shortage
        waits.append(shortage.known_until - now)
        now = shortage.known_until
    assert waits == [10, 20, 40, 80, 160, 320, 640, 1280]


def test_a_success_ends_what_was_denied() -> None:
    made = bucket("tokens", HOUR)
    refuse(made, 500, until=NOW + 600)
    serve(made, 400, NOW + 1)
    assert made.shortage(500, 500, NOW + 1)
    serve(made, 500, NOW + 2)
    assert made.shortage(500, 500, NOW + 2) is None


def test_an_end_that_has_proved_wrong_is_believed_for_longer() -> None:
    made, now, waits = bucket(window=HOUR), NOW, []
    for _ in range(6):
        lesson = refuse(made, now=now, until=now + 60)
        assert lesson.until
        waits.append(lesson.until - now)
        now = lesson.until
    assert waits == [60, 60, 60, 80, 160, 320]


def test_a_concluded_limit_that_is_hit_again_is_lowered_faster_than_one_by_one() -> None:
    made, now = bucket(window=HOUR, configured=60), NOW
    for number in range(53):
        serve(made, now=NOW + number)
    limits = []
    for _ in range(4):
        now += 3600 / 53
        refuse(made, now=NOW + 100)
        limits.append(made.limit(NOW + 100))
        made._denied = None
        made._count.drop(10)
    assert limits[0] == 53
    assert limits[1] is not None
    assert limits[1] <= 53 * 0.9


# Reports.


def test_a_report_brings_our_count_down_to_what_the_provider_counts() -> None:
    made = bucket()
    for _ in range(8):
        serve(made)
    hold = made.take(1, 1, NOW + 20)
    report(made, 9, hold, NOW + 21)  # its minute has begun anew
    assert made.remaining(NOW + 21) == 9


def test_answers_that_overtake_each_other_do_not() -> None:
    made = bucket()
    first, second, third = (made.take(1, 1, NOW + number) for number in range(3))
    report(made, 7, third, NOW + 3)
    report(made, 9, first, NOW + 4)
    assert made.remaining(NOW + 4) == 7
    made.settle(second, 1, NOW + 5)


def test_what_has_left_our_window_since_is_not_taken_for_what_others_used() -> None:
    made = bucket()
    serve(made)
    hold = made.take(1, 1, NOW + 60.5)
    report(made, 8, hold, NOW + 61.5)  # when it decided, the first still counted
    assert made.remaining(NOW + 61.5) == 9


def test_what_a_report_knows_is_not_added_again() -> None:
    made = bucket("tokens")
    hold = made.take(100, 10, NOW)
    report(made, 700, hold, NOW + 1, limit=1000)
    made.settle(hold, 300, NOW + 2)
    assert made.remaining(NOW + 2) == 700


# Laws.

MOVES = ["take", "take", "serve", "refuse", "tell", "report", "fail", "wait", "wait"]


@example("requests", Window.SECOND, True, [("tell", 1, 0.0), ("refuse", 0, 0.0), ("take", 2, 0.0), ("serve", 0, 1.0)])
@given(
    st.sampled_from(get_args(Metric)),
    st.sampled_from(list(Window)),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 40), st.floats(0, 1)), max_size=60),
)
def test_what_is_under_way_always_comes_back_to_nothing_and_nothing_is_denied_for_ever(
    metric: Metric, window: Window, steady: bool, script: list[tuple[str, int, float]]
) -> None:
    made, now = Bucket(metric, window, STEADY if steady else None), NOW
    under_way: list[Hold] = []
    for what, number, share in script:
        if what == "wait":
            now += share * window.seconds / 3
        elif what == "take":
            under_way.append(made.take(number, number // 3, now))
        elif what == "tell":
            refuse(made, 1 + number, now, amount=100.0, used=float(number))
        elif what == "refuse":
            refuse(made, 1 + number, now, until=now + share * 1e7)
        elif what == "report":
            hold = under_way[number % len(under_way)] if under_way else None
            made.report(Reading(metric, window, 100, number, now + share * 1e7 if number % 2 else None), hold, now)
        elif under_way:
            hold = under_way.pop(number % len(under_way))
            made.settle(hold, hold.amount * share if what == "serve" else 0.0, now)
    for hold in under_way:
        made.settle(hold, 0.0, now)
    assert (made.in_flight, made._unanswered, made._unsure) == (0, 0, 0)
    shortage = made.shortage(1, 1, now)
    # What refills steadily frees when all has drained that was taken beyond the limit: a window for each time its size.
    windows = max(1.0, made.used(now) / max(made.limit(now) or 1.0, 1.0)) if steady else 1.0
    assert shortage is None or shortage.until <= now + window.seconds * 1.1 * windows + 1
    assert made.shortage(1, 1, now + 3 * window.seconds * windows + 2) is None


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900), st.floats(0, 90)), max_size=40))
def test_tests_in_vain_stay_few_whatever_the_requests_need(script: list[tuple[int, int, float]]) -> None:
    made, now = bucket("tokens", HOUR), NOW
    refused: list[float] = []
    for amount, least, wait in script:
        now += wait / 10
        shortage = made.shortage(amount, min(least, amount), now)
        if shortage is None or shortage.known_until <= now:
            made.settle(made.take(amount, min(least, amount), now), 0, now)
            refuse(made, amount, now)
            refused.append(amount)
    # Each is for less than all before it, or its time had come.
    falling = sum(amount < min(refused[:at], default=math.inf) for at, amount in enumerate(refused))
    assert len(refused) - falling <= 1 + math.log2(1 + (now - NOW) / 10)


def test_requests_at_a_time() -> None:
    made = Concurrency()
    assert made.shortage(1, 1, NOW) is None
    made.configure(2)
    holds = [made.take(1, 1, NOW) for _ in range(2)]
    assert made.shortage(1, 1, NOW) == Shortage("2 requests at a time are under way", NOW + 1)
    assert not made.idle(NOW)
    for hold in holds:
        made.settle(hold, 1, NOW)
    assert made.idle(NOW)


@pytest.mark.parametrize(("used", "share"), [(0, 0.9), (5, 0.4), (10, -0.1)])
def test_headroom_is_what_would_be_left_as_a_share(used: int, share: float) -> None:
    made = bucket(configured=10)
    for _ in range(used):
        serve(made)
    assert made.headroom(1, NOW) == pytest.approx(share)
    assert bucket().headroom(1, NOW) == 1
