"""What is told of each target and its limits."""

from __future__ import annotations

import zoneinfo
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.breaker import BreakerPolicy
from chain429.routing.chain import Chain, Credential, Entry, Limit, Provider
from chain429.routing.headers import Reading
from chain429.routing.ledger import Ledger
from chain429.routing.limits import Need
from chain429.routing.outcome import SERVED, Hit, Kind, Outcome, Provision
from chain429.routing.status import LimitStatus, TargetState, TargetStatus
from chain429.routing.window import DayReset, Refill, Window

NOW = 1_800_000_000.0  # 2027-01-15 08:00 UTC
MIDNIGHT = NOW + 16 * 3600
POLICY = BreakerPolicy(failures=1, seconds=30)


def refused(kind: Kind, until: float | None = None) -> Outcome:
    return Outcome.of(kind, f"{kind}!", until=until)


class One:
    """A ledger of one target."""

    def __init__(self, *limits: Limit, provision: Provision | None = None) -> None:
        provider = Provider("p", (Credential("p/k", "p:k", limits=limits),), provision=provision or Provision())
        self.entry = Entry.of(provider, "m")
        (self.target,) = self.entry.targets
        self.ledger = Ledger(POLICY)
        self.ledger.configure(POLICY, [provider])

    def call(
        self, outcome: Outcome = SERVED, tokens: tuple[int, int] = (60, 40), at: float = NOW, *readings: Reading
    ) -> None:
        """One call, over at once."""
        lease = self.ledger.take(self.entry.provider, self.target, Need(size=240), at)
        self.ledger.observe(lease, readings, at)
        self.ledger.learn(lease, outcome, tokens, at)

    def status(self, at: float = NOW) -> TargetStatus:
        ((status,),) = self.ledger.status(Chain("default", ((self.entry,),)), at).tiers
        return status

    def limit(self, metric: str, window: Window | None, at: float = NOW) -> LimitStatus:
        (found,) = [limit for limit in self.status(at).limits if (limit.metric, limit.window) == (metric, window)]
        return found


def test_of_what_was_never_called_nothing_is_told() -> None:
    assert One().status() == TargetStatus("p", "m", "p/k", "available", "", None, ())


def test_what_is_configured_is_counted_from_the_first_call_on() -> None:
    one = One(Limit("requests", Window.MINUTE, 20))
    for second in range(3):
        one.call(at=NOW + second)
    # A request may count at the provider a second later than it was sent, so it is counted for so much longer.
    assert one.limit("requests", Window.MINUTE, NOW + 5) == LimitStatus(
        "requests", Window.MINUTE, 20, 3, 17, NOW + 61, NOW + 63, "configured"
    )
    # Of a day, what was used within less than half a minute leaves together.
    assert one.limit("tokens", Window.DAY, NOW + 5) == LimitStatus(
        "tokens", Window.DAY, None, 300, None, NOW + 86403, NOW + 86403, "counted"
    )
    assert one.status(NOW + 5).state == "tracking"


def test_what_is_under_way_is_used() -> None:
    one = One(Limit("requests", Window.MINUTE, 20), Limit("requests", None, 2))
    lease = one.ledger.take(one.entry.provider, one.target, Need(), NOW)
    assert one.limit("requests", Window.MINUTE).left == 19
    assert one.limit("requests", None) == LimitStatus("requests", None, 2, 1, 1, None, None, "configured")
    one.ledger.give_back(lease, NOW)
    assert one.limit("requests", Window.MINUTE) == LimitStatus(
        "requests", Window.MINUTE, 20, 0, 20, None, None, "configured"
    )


def test_what_the_provider_reports_goes_before_what_was_counted() -> None:
    one = One(Limit("requests", Window.MINUTE, 20))
    one.call(SERVED, (60, 40), NOW, Reading("requests", Window.MINUTE, 30, 12, NOW + 41))
    assert one.limit("requests", Window.MINUTE) == LimitStatus(
        "requests", Window.MINUTE, 30, 18, 12, NOW + 41, NOW + 41, "reported"
    )


def test_a_report_without_a_size() -> None:
    one = One()
    one.call(SERVED, (60, 40), NOW, Reading("requests", Window.MINUTE, None, 12, NOW + 41))
    assert one.limit("requests", Window.MINUTE) == LimitStatus(
        "requests", Window.MINUTE, None, 1, 12, NOW + 41, NOW + 41, "reported"
    )


def test_a_size_that_a_refusal_implies_is_said_to_be_concluded() -> None:
    one = One()
    for _ in range(7):
        one.call()
    one.call(replace(refused(Kind.RATE_LIMITED, NOW + 9), hit=Hit("requests", Window.MINUTE)))
    found = one.limit("requests", Window.MINUTE)
    assert (found.limit, found.used, found.left, found.layer) == (7, 7, 0, "concluded")


def test_what_refills_steadily_is_back_bit_by_bit() -> None:
    one = One(Limit("requests", Window.MINUTE, 30), provision=Provision(refill=Refill.STEADY))
    for _ in range(6):
        one.call()
    assert one.limit("requests", Window.MINUTE) == LimitStatus(
        "requests", Window.MINUTE, 30, 6, 24, NOW + 2, NOW + 12, "configured"
    )
    assert one.limit("requests", Window.MINUTE, NOW + 3) == LimitStatus(
        "requests", Window.MINUTE, 30, 5, 25, NOW + 5, NOW + 12, "configured"
    )


def test_a_day_of_the_calendar_is_back_at_its_midnight() -> None:
    day = Provision(day=DayReset(zoneinfo.ZoneInfo("UTC")))
    one = One(Limit("requests", Window.DAY, 50), provision=day)
    one.call()
    assert one.limit("requests", Window.DAY) == LimitStatus(
        "requests", Window.DAY, 50, 1, 49, MIDNIGHT, MIDNIGHT, "configured"
    )


def test_less_than_one_in_a_window_is_one_in_a_longer_one() -> None:
    one = One(Limit("requests", Window.SECOND, 0.5))
    lease = one.ledger.take(one.entry.provider, one.target, Need(), NOW - 10)
    one.ledger.give_back(lease, NOW - 10)
    assert one.limit("requests", Window.SECOND).left == 1
    one.call()
    found = one.limit("requests", Window.SECOND)
    assert (found.limit, found.used, found.left, found.frees_at) == (0.5, 1, 0, NOW + 2.1)


@pytest.mark.parametrize(
    ("outcome", "seconds", "state", "until", "ready"),
    [
        (SERVED, 0, "available", None, True),
        (refused(Kind.RATE_LIMITED, NOW + 9), 0, "cooling", NOW + 9, False),
        (refused(Kind.QUOTA_SPENT, NOW + 9000), 0, "exhausted", NOW + 9000, False),
        (refused(Kind.UNAUTHORIZED), 0, "refused", NOW + 600, False),
        (refused(Kind.GONE), 0, "gone", NOW + 3600, False),
        (refused(Kind.FAILED), 0, "open", NOW + 30, False),
        (refused(Kind.FAILED), 30, "half-open", None, True),
    ],
)
def test_the_state_of_a_target(
    outcome: Outcome, seconds: float, state: TargetState, until: float | None, ready: bool
) -> None:
    one = One()
    one.call(outcome, at=NOW)
    status = one.status(NOW + seconds)
    assert (status.state, status.until, status.ready) == (state, until, ready)
    assert bool(status.reason) == (outcome is not SERVED)


def test_while_a_probe_is_under_way_the_target_is_not_ready() -> None:
    one = One()
    one.call(refused(Kind.FAILED))
    one.ledger.take(one.entry.provider, one.target, Need(), NOW + 30)
    status = one.status(NOW + 30)
    assert (status.state, status.ready) == ("half-open", False)


LIMITS = st.lists(
    st.builds(
        Limit,
        st.sampled_from(["requests", "tokens"]),
        st.sampled_from([Window.MINUTE, Window.HOUR, Window.DAY]),
        st.integers(1, 5000).map(float),
    ),
    max_size=4,
    unique_by=lambda limit: (limit.metric, limit.window),
)
PROVISIONS = st.sampled_from(
    [Provision(), Provision(refill=Refill.STEADY), Provision(day=DayReset(zoneinfo.ZoneInfo("America/Los_Angeles")))]
)
CALLS = st.lists(st.tuples(st.floats(0, 4000), st.integers(0, 900)), min_size=1, max_size=12)


def used(one: One, limit: LimitStatus, at: float) -> int:
    """How much of the same limit is used then; of one that is not told, nothing is."""
    same = [found for found in one.status(at).limits if (found.metric, found.window) == (limit.metric, limit.window)]
    return sum(found.used for found in same)


@given(LIMITS, PROVISIONS, CALLS)
def test_what_is_said_to_be_back_then_is_back(
    limits: list[Limit], provision: Provision, calls: list[tuple[float, int]]
) -> None:
    one = One(*limits, provision=provision)
    now = NOW
    for seconds, tokens in calls:
        now += seconds
        one.call(tokens=(tokens, 0), at=now)
    moment = 0.001
    for limit in one.status(now).limits:
        assert limit.used >= 0
        assert limit.left is None or limit.left >= 0
        if limit.frees_at is None or limit.resets_at is None:
            assert limit.used == 0
            continue
        assert now < limit.frees_at <= limit.resets_at
        assert used(one, limit, limit.frees_at + moment) < limit.used
        assert used(one, limit, limit.resets_at + moment) == 0
