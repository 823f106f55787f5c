from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain429.routing.bucket import Shortage
from chain429.routing.chain import Credential, Limit, Target
from chain429.routing.headers import Metric, Reading
from chain429.routing.limits import Lease, Limits, Need
from chain429.routing.outcome import Hit, Provision
from chain429.routing.window import DayReset, Refill, Window

NOW = 1_800_000_000.0
MINUTE, DAY = Window.MINUTE, Window.DAY
# What is counted in one slice leaves its window together, when the last of it does.
SLICE = {window: window.seconds / 3600 for window in Window}
# A request counts at the provider a little later than it was sent, so it leaves the window that much later.
LATE = {window: min(1.0, window.seconds / 10) for window in Window}
TARGET = Target("groq", "m1", "groq/k1", "groq:k1", "m1")
ONE = Need()


def configured(*limits: Limit, account: str = TARGET.account) -> Limits:
    limits_ = Limits()
    limits_.configure([Credential("groq/k1", account, limits=limits)])
    return limits_


def requests(amount: float, window: Window | None = MINUTE) -> Limit:
    return Limit("requests", window, amount)


def send(limits: Limits, count: int, now: float, need: Need = ONE, target: Target = TARGET) -> int:
    """Send ``count`` requests that are served at once, as far as there is room. Returns how many went."""
    for sent in range(count):
        if limits.shortage(target, need, now):
            return sent
        limits.settle(limits.take(target, need, now), None, None, now)
    return count


def leased(limits: Limits) -> float:
    return sum(limits.in_flight())


def held(limits: Limits, count: int) -> bool:
    """Whether every bucket of requests holds ``count``, of those that are counted in any case as of those set up."""
    return {amount for amount in limits.in_flight() if amount} <= {float(count)}


# What is configured and counted.


def test_a_limit_holds_over_every_window_of_its_length() -> None:
    limits = configured(requests(3))
    assert send(limits, 2, NOW) == 2
    assert send(limits, 5, NOW + 40) == 1
    assert send(limits, 5, NOW + 60.9) == 0
    assert send(limits, 5, NOW + 61) == 2
    assert send(limits, 5, NOW + 100.9) == 0
    assert send(limits, 5, NOW + 101) == 1


def test_a_shortage_is_said_in_plain_words() -> None:
    limits = configured(requests(2), Limit("input_tokens", DAY, 1000))
    send(limits, 2, NOW, Need(tokens=500))
    assert limits.shortage(TARGET, Need(tokens=500), NOW) == Shortage(
        "input tokens per day used up (limit 1000)", NOW + 86401, spent=True, known_until=NOW + 86400
    )
    limits = configured(requests(2))
    send(limits, 2, NOW)
    assert limits.shortage(TARGET, ONE, NOW) == Shortage(
        "requests per minute used up (limit 2)", NOW + 61, known_until=NOW + 60, for_all=True
    )


def test_two_requests_never_take_the_last_slot() -> None:
    limits = configured(requests(1))
    lease = limits.take(TARGET, ONE, NOW)
    assert limits.shortage(TARGET, ONE, NOW)
    limits.release(lease, NOW)
    assert not limits.shortage(TARGET, ONE, NOW)


def test_a_lease_is_settled_with_what_was_really_used() -> None:
    limits = configured(Limit("tokens", MINUTE, 1000))
    limits.settle(limits.take(TARGET, Need(tokens=900), NOW), 20, 30, NOW + 5)
    assert not limits.shortage(TARGET, Need(tokens=950), NOW + 5)
    assert limits.shortage(TARGET, Need(tokens=951), NOW + 5)
    limits.settle(limits.take(TARGET, Need(tokens=100), NOW + 10), 500, 450, NOW + 10)
    assert limits.shortage(TARGET, Need(tokens=1), NOW + 10)


@pytest.mark.parametrize(
    ("metric", "tokens", "used"),
    [
        ("tokens", (20, 30), 50),
        ("tokens", (20, None), 100),
        ("tokens", (None, None), 100),
        ("input_tokens", (20, 30), 20),
        ("input_tokens", (None, 30), 100),
        ("output_tokens", (20, 30), 30),
        ("output_tokens", (20, None), 100),
        ("output_tokens", (20, 1), 1),
    ],
)
def test_what_a_provider_does_not_count_stays_as_estimated(
    metric: Metric, tokens: tuple[int | None, int | None], used: int
) -> None:
    limits = configured(Limit(metric, MINUTE, 1000))
    limits.settle(limits.take(TARGET, Need(tokens=100), NOW), *tokens, NOW)
    assert not limits.shortage(TARGET, Need(tokens=1000 - used), NOW)
    assert limits.shortage(TARGET, Need(tokens=1001 - used), NOW)


def test_what_is_larger_than_the_whole_limit_never_fits_but_that_is_only_estimated() -> None:
    limits = configured(Limit("tokens", MINUTE, 1000))
    send(limits, 1, NOW)
    words = "it needs about 5000 tokens per minute, more than the limit of 1000"
    assert limits.shortage(TARGET, Need(tokens=5000), NOW) == Shortage(words, math.inf, estimated=True, known_until=0.0)


def test_what_is_left_but_not_enough_is_a_shortage_by_estimate() -> None:
    limits = configured(Limit("tokens", DAY, 1000))
    send(limits, 1, NOW, Need(tokens=700))
    words = "300 of its tokens per day are left, and it needs about 301"
    assert limits.shortage(TARGET, Need(tokens=301), NOW + 5) == Shortage(
        words, NOW + 86401, True, True, known_until=0.0
    )
    assert not limits.shortage(TARGET, Need(tokens=300), NOW + 5)


def test_what_is_known_goes_before_what_is_estimated() -> None:
    limits = configured(Limit("tokens", DAY, 1000), requests(1))
    send(limits, 1, NOW, Need(tokens=700))
    shortage = limits.shortage(TARGET, Need(tokens=700), NOW)
    assert shortage
    assert (shortage.reason, shortage.estimated) == ("requests per minute used up (limit 1)", False)


def test_half_a_request_a_second_is_one_in_two_seconds() -> None:
    limits = configured(requests(0.5, Window.SECOND))
    assert send(limits, 2, NOW) == 1
    assert send(limits, 2, NOW + 1.9) == 0
    assert send(limits, 2, NOW + 2.1) == 1


def test_requests_at_a_time() -> None:
    limits = configured(requests(2, None))
    leases = [limits.take(TARGET, ONE, NOW) for _ in range(2)]
    assert limits.shortage(TARGET, ONE, NOW) == Shortage("2 requests at a time are under way", NOW + 1)
    assert limits.shortage(TARGET, ONE, NOW + 3600)
    limits.settle(leases[0], None, None, NOW)
    assert not limits.shortage(TARGET, ONE, NOW)


def test_of_several_shortages_the_longest_counts() -> None:
    limits = configured(requests(1, DAY), requests(1), requests(1, Window.HOUR))
    send(limits, 1, NOW)
    shortage = limits.shortage(TARGET, ONE, NOW)
    assert shortage
    assert shortage.reason == "requests per day used up (limit 1)"


def test_models_and_accounts_are_counted_apart_and_shared_buckets_together() -> None:
    limits = Limits()
    limits.configure(
        [Credential("groq/k1", "groq:a", limits=(requests(1),)), Credential("groq/k2", "groq:b", limits=(requests(1),))]
    )
    first = Target("groq", "m1", "groq/k1", "groq:a", "m1")
    send(limits, 1, NOW, target=first)
    for other, refused in (
        (Target("groq", "m2", "groq/k1", "groq:a", "m2"), False),
        (Target("groq", "m1", "groq/k2", "groq:b", "m1"), False),
        (Target("groq", "m1", "groq/k3", "groq:a", "m1"), True),  # another key of the same account
        (Target("groq", "m3", "groq/k1", "groq:a", "m1"), True),  # another model in the same bucket
    ):
        assert bool(limits.shortage(other, ONE, NOW)) == refused, other


def test_asking_remembers_nothing_and_names_without_end_are_forgotten() -> None:
    limits = configured(requests(5), requests(100, DAY))
    busy = limits.take(TARGET, ONE, NOW)
    served = Target("groq", "m2", "groq/k1", "groq:k1", "m2")
    send(limits, 100, NOW, target=served)
    for number in range(10_100):
        name = f"made-up-{number}"
        made_up = Target("groq", name, "groq/k1", "groq:k1", name)
        assert not limits.shortage(made_up, ONE, NOW)
        limits.release(limits.take(made_up, ONE, NOW), NOW)
    assert sum(1 for _ in limits.in_flight()) <= 5 * 10_000
    assert limits.shortage(served, ONE, NOW)
    assert held(limits, 1)
    limits.release(busy, NOW)
    assert leased(limits) == 0


def test_a_new_configuration_keeps_what_was_counted() -> None:
    limits = configured(requests(5))
    send(limits, 3, NOW)
    lease = limits.take(TARGET, ONE, NOW)
    limits.configure([Credential("groq/k1", TARGET.account, limits=(requests(4), requests(9, DAY)))])
    assert limits.shortage(TARGET, ONE, NOW)
    limits.configure([Credential("groq/k1", TARGET.account)])
    assert not limits.shortage(TARGET, ONE, NOW)
    limits.settle(lease, None, None, NOW)
    assert leased(limits) == 0


def test_of_an_accounts_keys_the_first_with_limits_speaks() -> None:
    limits = Limits()
    limits.configure(Credential(f"groq/k{n}", "groq:k1", limits=own) for n, own in enumerate([(), (requests(1),), ()]))
    assert send(limits, 3, NOW) == 1


# What providers report.


def reading(remaining: float | None, reset: float | None = None, **known: float) -> Reading:
    return Reading("requests", MINUTE, known.get("limit"), remaining, None if reset is None else NOW + reset)


def test_a_fresh_report_wins_over_our_own_count() -> None:
    limits = configured(requests(2))
    send(limits, 2, NOW)
    limits.observe(TARGET, [reading(3, 30)], None, NOW)
    assert send(limits, 9, NOW) == 3
    assert limits.shortage(TARGET, ONE, NOW + 29)
    assert limits.shortage(TARGET, ONE, NOW + 31), "once it is stale, our own count is all there is"
    assert not limits.shortage(TARGET, ONE, NOW + 61)


def test_a_bucket_that_is_reported_empty_names_the_reported_limit() -> None:
    limits = Limits()
    limits.observe(TARGET, [reading(0, 12.5, limit=30)], None, NOW)
    words = "requests per minute used up (limit 30)"
    assert limits.shortage(TARGET, ONE, NOW) == Shortage(words, NOW + 12.5, known_until=NOW + 12.5, for_all=True)
    assert not limits.shortage(TARGET, ONE, NOW + 12.5)


@pytest.mark.parametrize(
    ("window", "told", "benched"),
    [
        (Window.MINUTE, 20.0, 20.0),
        (Window.MINUTE, 86400.0, 60.0),  # a per-minute limit never benches for a day
        (None, 86400.0, 60.0),
        (Window.MINUTE, None, 60.0),
        (Window.DAY, 7200.0, 7200.0),
        (Window.DAY, 1e9, 86400.0),
        (Window.DAY, None, 3600.0),  # nobody knows when: look again
        (Window.MONTH, None, 3600.0),
        (Window.MINUTE, -5.0, 0.0),
        (Window.MINUTE, 0.0, 0.0),
    ],
)
def test_a_reports_reset_is_believed_for_one_window(window: Window | None, told: float | None, benched: float) -> None:
    limits = Limits()
    reset_at = None if told is None else NOW + told
    limits.observe(TARGET, [Reading("requests", window, 30, 0, reset_at)], None, NOW)
    shortage = limits.shortage(TARGET, ONE, NOW)
    assert (shortage.until - NOW if shortage else 0.0) == benched


@pytest.mark.parametrize("reported", [1, 5])
def test_a_report_of_the_limit_alone_tells_its_size_and_no_more(reported: int) -> None:
    limits = configured(requests(3))
    send(limits, 1, NOW)
    limits.observe(TARGET, [reading(None, 30, limit=reported)], None, NOW)
    assert send(limits, 9, NOW) == reported - 1


def test_tokens_are_short_when_none_remain_whatever_is_needed() -> None:
    limits = Limits()
    limits.observe(TARGET, [Reading("tokens", MINUTE, 6000, 50, NOW + 30)], None, NOW)
    assert not limits.shortage(TARGET, Need(tokens=50), NOW)
    words = "50 of its tokens per minute are left, and it needs about 500"
    assert limits.shortage(TARGET, Need(tokens=500), NOW) == Shortage(words, NOW + 30, estimated=True, known_until=0.0)
    limits.observe(TARGET, [Reading("tokens", MINUTE, 6000, 0, NOW + 30)], None, NOW)
    for tokens in (0, 0.25, 500):
        assert limits.shortage(TARGET, Need(tokens=tokens), NOW)


def test_what_is_under_way_is_not_in_a_report() -> None:
    limits = Limits()
    limits.observe(TARGET, [reading(9, 30)], None, NOW)
    asked, answered = (limits.take(TARGET, ONE, NOW) for _ in range(2))
    limits.observe(TARGET, [reading(1, 30)], answered, NOW)
    assert limits.shortage(TARGET, ONE, NOW)
    limits.release(answered, NOW)
    assert limits.shortage(TARGET, ONE, NOW), "the report knew of it already"
    limits.release(asked, NOW)
    assert not limits.shortage(TARGET, ONE, NOW)


def test_streams_that_go_on_after_their_report_are_not_counted_twice() -> None:
    limits = Limits()
    limits.observe(TARGET, [reading(60, 30)], None, NOW)
    streams = []
    for number in range(50):
        streams.append(limits.take(TARGET, ONE, NOW))
        limits.observe(TARGET, [reading(59 - number, 30)], streams[-1], NOW)
    assert send(limits, 99, NOW) == 10
    for stream in streams:
        limits.settle(stream, 10, 10, NOW)
    assert limits.shortage(TARGET, ONE, NOW)


def test_clearing_forgets_the_report() -> None:
    limits = Limits()
    limits.clear(TARGET)
    limits.observe(TARGET, [reading(0, 30)], None, NOW)
    limits.clear(TARGET)
    assert not limits.shortage(TARGET, ONE, NOW)


# What refusals teach.


def test_a_refusal_teaches_the_size_that_it_names() -> None:
    limits = Limits()
    assert send(limits, 5, NOW) == 5
    limits.refused(TARGET, Hit("requests", MINUTE, 7), ONE, None, NOW)
    assert send(limits, 9, NOW + 9.9) == 0, "it has just been refused"
    assert send(limits, 9, NOW + 10) == 2
    assert send(limits, 9, NOW + 71) == 7
    assert send(limits, 99, NOW + 86401) == 99, "after a day it is tested anew"


def test_a_refusal_without_a_size_teaches_what_went_through_until_then() -> None:
    limits = Limits()
    assert send(limits, 5, NOW) == 5
    limits.refused(TARGET, Hit("requests", MINUTE), ONE, None, NOW + 10)
    words = "requests per minute used up (limit 5)"
    assert limits.shortage(TARGET, ONE, NOW + 10) == Shortage(words, NOW + 61, known_until=NOW + 20, for_all=True)
    assert send(limits, 9, NOW + 61) == 5
    assert send(limits, 99, NOW + 131) == 99, "others may have used the same key, so it is not believed for long"


def test_a_refusal_of_the_first_request_concludes_nothing() -> None:
    limits = Limits()
    limits.refused(TARGET, Hit("requests", DAY), ONE, None, NOW)
    assert send(limits, 9, NOW + 9.9) == 0, "it has just been refused"
    assert send(limits, 9, NOW + 10) == 9


def test_what_a_refusal_teaches_is_of_tokens_too() -> None:
    limits = Limits()
    send(limits, 3, NOW, Need(tokens=400))
    limits.refused(TARGET, Hit("tokens", DAY), Need(tokens=400), None, NOW)
    assert limits.shortage(TARGET, Need(tokens=1), NOW)
    limits.refused(TARGET, Hit("tokens", DAY, 1500), Need(tokens=400), None, NOW)
    assert limits.shortage(TARGET, Need(tokens=301), NOW)
    assert not limits.shortage(TARGET, Need(tokens=300), NOW)


@pytest.mark.parametrize("named", [None, 3.0])
def test_a_limit_that_was_lowered_is_noticed_by_its_next_refusal(named: float | None) -> None:
    limits = configured(requests(10))
    assert send(limits, 3, NOW) == 3
    limits.refused(TARGET, Hit("requests", MINUTE, named), ONE, None, NOW)
    assert send(limits, 9, NOW) == 0
    assert send(limits, 9, NOW + 61) == 3


def test_a_refusal_teaches_its_own_account_and_model_only() -> None:
    limits = Limits()
    limits.refused(TARGET, Hit("requests", MINUTE, 1), ONE, None, NOW)
    assert send(limits, 9, NOW, target=Target("groq", "m2", "groq/k1", "groq:k1", "m2")) == 9
    assert send(limits, 9, NOW, target=Target("groq", "m1", "groq/k2", "groq:k2", "m1")) == 9


# Limits that refill bit by bit.


def provided(provision: Provision, *limits: Limit) -> Limits:
    made = Limits()
    made.configure([Credential("groq/k1", TARGET.account, limits=limits)], {TARGET.account: provision})
    return made


STEADY = Provision(refill=Refill.STEADY)


def test_a_steady_limit_frees_one_by_one() -> None:
    limits = provided(STEADY, requests(30))
    assert send(limits, 99, NOW) == 30
    words = "requests per minute used up (limit 30)"
    assert limits.shortage(TARGET, ONE, NOW) == Shortage(words, NOW + 2, known_until=NOW + 2, for_all=True)
    assert send(limits, 99, NOW + 2) == 1
    assert send(limits, 99, NOW + 12) == 5
    assert send(limits, 99, NOW + 500) == 30


def test_a_steady_half_a_request_a_second_is_one_in_two_seconds() -> None:
    limits = provided(STEADY, requests(0.5, Window.SECOND))
    assert [send(limits, 9, NOW + after) for after in (0, 1.9, 2, 4)] == [1, 0, 1, 1]


def test_what_is_taken_after_a_pause_is_not_drained_for_the_pause() -> None:
    limits = provided(STEADY, requests(2))
    send(limits, 1, NOW)
    for _ in range(2):
        limits.take(TARGET, ONE, NOW + 3600)
    assert limits.shortage(TARGET, ONE, NOW + 3600)


@pytest.mark.parametrize("named", [None, 5.0])
def test_what_went_through_before_a_steady_limit_was_known_counts(named: float | None) -> None:
    limits = provided(STEADY)
    send(limits, 5, NOW)
    limits.refused(TARGET, Hit("requests", MINUTE, named), ONE, None, NOW + 1)
    shortage = limits.shortage(TARGET, ONE, NOW + 1)
    assert shortage
    assert not shortage.estimated
    assert NOW + 1 < shortage.until <= NOW + 13


def test_a_steady_limit_that_was_refused_with_a_size_has_no_room_now() -> None:
    limits = provided(STEADY)
    limits.refused(TARGET, Hit("tokens", MINUTE, 6000), Need(tokens=900), None, NOW)
    assert limits.shortage(TARGET, Need(tokens=901), NOW)
    assert not limits.shortage(TARGET, Need(tokens=901), NOW + 1)


def test_a_steady_limit_is_brought_up_to_what_is_reported() -> None:
    limits = provided(STEADY, requests(30))
    send(limits, 3, NOW)
    under_way, answered = (limits.take(TARGET, ONE, NOW) for _ in range(2))
    # Somebody else has used 10 as well. Its reset tells when one is back, not when all are.
    limits.observe(TARGET, [reading(16, 2, limit=30)], answered, NOW)
    assert send(limits, 99, NOW) == 15
    limits.release(under_way, NOW)
    assert send(limits, 99, NOW) == 1


@given(
    st.sampled_from(list(Window)),
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1.5), st.booleans()), max_size=10),
)
def test_a_steady_limit_is_never_overdrawn_and_drains_at_its_own_pace(
    window: Window, limit: int, script: list[tuple[int, float, bool]]
) -> None:
    limits = provided(STEADY, requests(limit, window))
    level, at, now = 0.0, NOW, NOW
    for count, wait, spread in script:
        now += wait * window.seconds
        for _ in range(count):
            now += window.seconds / 500 if spread else 0.0
            level, at = max(level - (now - at) * limit / window.seconds, 0.0), now
            shortage = limits.shortage(TARGET, ONE, now)
            if shortage:
                assert level > limit - 1 - 1e-6, "it refuses what would fit"
                assert shortage.until == pytest.approx(now + (level + 1 - limit) * window.seconds / limit, abs=1e-3)
                continue
            level += 1
            assert level <= limit + 1e-6
            limits.settle(limits.take(TARGET, ONE, now), None, None, now)
    assert leased(limits) == 0


# Days of the calendar.

ZONE = datetime.timezone(datetime.timedelta(hours=-7))
MIDNIGHT = datetime.datetime(2027, 1, 16, tzinfo=ZONE).timestamp()
CALENDAR = Provision(day=DayReset(ZONE))


def test_a_day_of_the_calendar_begins_anew_at_midnight_of_its_zone() -> None:
    limits = provided(CALENDAR, requests(3, DAY))
    assert send(limits, 9, MIDNIGHT - 60) == 3
    words = "requests per day used up (limit 3)"
    assert limits.shortage(TARGET, ONE, MIDNIGHT - 1) == Shortage(
        words, MIDNIGHT, True, known_until=MIDNIGHT, for_all=True
    )
    assert send(limits, 9, MIDNIGHT) == 3
    shortage = limits.shortage(TARGET, ONE, MIDNIGHT)
    assert shortage
    assert shortage.until == MIDNIGHT + 86400


def test_of_a_calendar_day_what_went_through_today_teaches_its_size() -> None:
    limits = provided(CALENDAR)
    send(limits, 7, MIDNIGHT - 60)
    send(limits, 4, MIDNIGHT + 60)
    limits.refused(TARGET, Hit("requests", DAY), ONE, None, MIDNIGHT + 90)
    assert limits.shortage(TARGET, ONE, MIDNIGHT + 90) == Shortage(
        "requests per day used up (limit 4)", MIDNIGHT + 86400, True, known_until=MIDNIGHT + 100, for_all=True
    )


def test_what_was_taken_before_midnight_and_settled_after_it_is_of_the_day_before() -> None:
    limits = provided(CALENDAR, Limit("tokens", DAY, 1000))
    lease = limits.take(TARGET, Need(tokens=900), MIDNIGHT - 60)
    assert not limits.shortage(TARGET, Need(tokens=1000), MIDNIGHT + 1)
    limits.settle(lease, 100, 100, MIDNIGHT + 2)
    assert not limits.shortage(TARGET, Need(tokens=1000), MIDNIGHT + 2)
    assert leased(limits) == 0


def test_a_month_begins_anew_with_the_calendars() -> None:
    limits = provided(Provision(), requests(2, Window.MONTH))
    february = datetime.datetime(2027, 2, 1, tzinfo=datetime.UTC).timestamp()
    assert send(limits, 9, february - 86400) == 2
    assert send(limits, 9, february - 1) == 0
    assert send(limits, 9, february) == 2


# Reports that tell no reset.


def test_a_report_without_a_reset_brings_our_own_count_up_and_never_down() -> None:
    limits = Limits()
    send(limits, 2, NOW)
    limits.observe(TARGET, [reading(4, limit=10)], None, NOW + 30)  # somebody else has used 4
    assert send(limits, 1, NOW + 30) == 1
    limits.observe(TARGET, [reading(9, limit=10)], None, NOW + 30)
    assert send(limits, 99, NOW + 30) == 3
    assert send(limits, 99, NOW + 61) == 2, "ours have left the window, the others' not yet"
    assert send(limits, 99, NOW + 91) == 8


def test_a_calendar_day_that_is_reported_empty_frees_at_midnight() -> None:
    limits = provided(CALENDAR)
    limits.observe(TARGET, [Reading("requests", DAY, 50, 0, None)], None, MIDNIGHT - 7200)
    assert limits.shortage(TARGET, ONE, MIDNIGHT - 3000)
    assert not limits.shortage(TARGET, ONE, MIDNIGHT)


def test_headroom_is_what_the_scarcest_limit_would_have_left() -> None:
    limits = configured(requests(10), Limit("tokens", DAY, 1000))
    assert limits.headroom(TARGET, ONE, NOW) == 1
    send(limits, 1, NOW, Need(tokens=500))
    assert limits.headroom(TARGET, ONE, NOW) == pytest.approx(0.5)
    assert limits.headroom(TARGET, Need(tokens=300), NOW) == pytest.approx(0.2)
    send(limits, 8, NOW)
    assert limits.headroom(TARGET, ONE, NOW) == 0


# Laws.


@dataclass
class Provider:
    """What the far side has counted: each request's moment and amount, the latter once it is known."""

    seen: list[list[float]] = field(default_factory=list)

    def within(self, seconds: float, now: float) -> float:
        # A microsecond's grace: floats of this size are no finer.
        return sum(amount for at, amount in self.seen if at > now - seconds + 1e-6)


windows = st.sampled_from(list(Window))
steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "settle", "release", "wait", "wait"]),
        st.integers(0, 30),
        st.floats(0, 1.3),
    ),
    max_size=80,
)


@given(st.dictionaries(windows, st.integers(1, 12), min_size=1, max_size=3), st.integers(1, 3), steps)
def test_no_window_ever_exceeds_its_limit(
    amounts: dict[Window, int], at_once: int, script: list[tuple[str, int, float]]
) -> None:
    limits = configured(requests(at_once, None), *(requests(amount, window) for window, amount in amounts.items()))
    provider, now = Provider(), NOW
    under_way: list[tuple[Lease, list[float]]] = []
    for what, number, share in script:
        if what == "wait":
            now += share * list(amounts)[number % len(amounts)].seconds
        elif what == "take" and not limits.shortage(TARGET, ONE, now):
            counted = [now, 1.0]
            provider.seen.append(counted)
            under_way.append((limits.take(TARGET, ONE, now), counted))
            assert len(under_way) <= at_once
            for window, amount in amounts.items():
                assert provider.within(window.seconds, now) <= amount, window
        elif what in ("settle", "release") and under_way:
            lease, counted = under_way.pop(number % len(under_way))
            if what == "settle":
                limits.settle(lease, 1, 1, now)
            else:
                counted[1] = 0.0
                limits.release(lease, now)
        assert held(limits, len(under_way))
    for lease, _ in under_way:
        limits.release(lease, now)
    assert leased(limits) == 0


@given(windows, st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1), st.floats(0, 1.3)), max_size=50))
def test_no_window_of_tokens_exceeds_its_limit_where_estimates_are_not_too_low(
    window: Window, script: list[tuple[int, float, float]]
) -> None:
    limits = configured(Limit("tokens", window, 1000))
    provider, now = Provider(), NOW
    for tokens, used, wait in script:
        now += wait * window.seconds / 4
        if limits.shortage(TARGET, Need(tokens=tokens), now):
            continue
        sent = now
        lease = limits.take(TARGET, Need(tokens=tokens), now)
        now += wait * window.seconds / 4
        limits.settle(lease, 0, int(tokens * used), now)
        provider.seen.append([sent, int(tokens * used)])
        assert provider.within(window.seconds, now) <= 1000


@given(
    windows,
    st.lists(st.tuples(st.integers(1, 900), st.floats(0, 0.5)), min_size=1, max_size=30),
    st.integers(1, 1000),
)
def test_a_shortage_ends_when_it_says_and_not_before(
    window: Window, script: list[tuple[int, float]], amount: int
) -> None:
    limits, now = configured(Limit("tokens", window, 1000)), NOW
    for tokens, wait in script:
        now += wait * window.seconds
        if not limits.shortage(TARGET, Need(tokens=tokens), now):
            limits.settle(limits.take(TARGET, Need(tokens=tokens), now), 0, tokens, now)
    shortage = limits.shortage(TARGET, Need(tokens=amount), now)
    if shortage:
        assert now < shortage.until <= now + window.seconds + LATE[window] + SLICE[window] * 1.001
        assert limits.shortage(TARGET, Need(tokens=amount), max(now, shortage.until - SLICE[window] / 2))
        assert not limits.shortage(TARGET, Need(tokens=amount), shortage.until + 1e-6)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.floats(0, 0.02)), min_size=300, max_size=600),
    st.floats(0, 1),
)
@settings(max_examples=8)
def test_counting_more_coarsely_never_counts_too_little(script: list[tuple[int, float]], later: float) -> None:
    limits, provider, now = configured(Limit("tokens", DAY, 1e9)), Provider(), NOW
    for tokens, wait in script:
        now += wait * DAY.seconds / 10
        limits.settle(limits.take(TARGET, Need(tokens=tokens), now), 0, tokens, now)
        provider.seen.append([now, tokens])
    now += later * DAY.seconds
    used = provider.within(DAY.seconds, now)
    # Only where there is no more room than the far side has.
    assert limits.shortage(TARGET, Need(tokens=1e9 - used + 1), now)
    assert used or not limits.shortage(TARGET, Need(tokens=1e9), now + DAY.seconds)


def test_what_is_settled_after_the_clock_was_set_back_is_not_kept_for_longer() -> None:
    limits = configured(Limit("tokens", MINUTE, 1000))
    lease = limits.take(TARGET, Need(tokens=10), NOW)
    limits.settle(lease, 0, 1000, NOW - 30)
    limits.shortage(TARGET, Need(tokens=1000), NOW - 30)
    assert not limits.shortage(TARGET, Need(tokens=1000), NOW - 30 + 62)


@given(windows, st.lists(st.floats(-3, 3), max_size=40), st.integers(0, 2))
def test_no_jump_of_the_clock_strands_a_bucket(window: Window, jumps: list[float], seed: int) -> None:
    limits, now = configured(requests(2, window), requests(1, None)), NOW
    under_way: list[Lease] = []
    for number, jump in enumerate(jumps):
        now += jump * window.seconds
        if not limits.shortage(TARGET, ONE, now):
            under_way.append(limits.take(TARGET, ONE, now))
        if under_way and (number + seed) % 3:
            if number % 2:
                limits.settle(under_way.pop(), 1, 1, now)
            else:
                limits.release(under_way.pop(), now)
    for lease in under_way:
        limits.release(lease, now)
    assert leased(limits) == 0
    limits.shortage(TARGET, ONE, now)
    later = now + window.seconds + LATE[window] + 3 * SLICE[window]
    assert send(limits, 3, later) == 2


@given(
    st.integers(0, 20),
    st.lists(st.tuples(st.sampled_from(["take", "answer", "settle", "lose"]), st.integers(0, 20)), max_size=80),
)
def test_a_provider_that_reports_is_never_asked_for_more_than_it_has(quota: int, script: list[tuple[str, int]]) -> None:
    limits = Limits()
    limits.observe(TARGET, [reading(quota, 30)], None, NOW)
    asked: list[Lease] = []
    streaming: list[Lease] = []
    served = 0
    for what, number in script:
        if what == "take" and not limits.shortage(TARGET, ONE, NOW):
            asked.append(limits.take(TARGET, ONE, NOW))
        elif what == "answer" and asked:
            lease = asked.pop(number % len(asked))
            served += 1
            limits.observe(TARGET, [reading(quota - served, 30)], lease, NOW)
            streaming.append(lease)
        elif what == "settle" and streaming:
            limits.settle(streaming.pop(number % len(streaming)), 5, 5, NOW)
        elif what == "lose" and asked:  # it never got there
            limits.release(asked.pop(number % len(asked)), NOW)
        assert served + len(asked) <= quota
    for lease in (*asked, *streaming):
        limits.release(lease, NOW)
        limits.settle(lease, 5, 5, NOW)
    assert leased(limits) == 0
    assert send(limits, 99, NOW) == quota - served
