from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.chain import Target
from chain429.routing.cooldown import GROWTH, Cooldown, Cooldowns, Growth
from chain429.routing.outcome import CONSEQUENCES, Kind, Outcome, Scope

NOW = 1_800_000_000.0
MONTH = 31 * 86400.0
# Two keys of one account, a third of another; two models that share a bucket, a third that does not.
KEYS = {"k1": "acme", "k2": "acme", "k3": "own"}
MODELS = {"big-1": "big-*", "big-2": "big-*", "small": "small"}
TARGETS = {
    f"groq {model} {key}": Target("groq", model, f"groq/{key}", f"groq:{account}", bucket)
    for model, bucket in MODELS.items()
    for key, account in KEYS.items()
} | {"other small k1": Target("other", "small", "other/k1", "other:acme", "small")}
TARGET = TARGETS["groq big-1 k1"]
BENCHING = sorted(GROWTH)


def outcome(kind: Kind, until: float | None = None, scope: Scope | None = None) -> Outcome:
    return Outcome.of(kind, f"{kind}!", until=until, scope=scope)


@pytest.mark.parametrize(
    ("scope", "benched"),
    [
        (Scope.MODEL, {"groq big-1 k1", "groq big-1 k2", "groq big-2 k1", "groq big-2 k2"}),
        (Scope.ACCOUNT, {name for name in TARGETS if name.startswith("groq") and name[-2:] in ("k1", "k2")}),
        (Scope.CREDENTIAL, {"groq big-1 k1", "groq big-2 k1", "groq small k1"}),
        (Scope.ENTRY, {"groq big-1 k1", "groq big-1 k2", "groq big-1 k3"}),
        (Scope.PROVIDER, {name for name in TARGETS if name.startswith("groq")}),
    ],
)
def test_a_scope_benches_as_wide_as_it_says(scope: Scope, benched: set[str]) -> None:
    cooldowns = Cooldowns()
    cooldowns.bench(TARGET, outcome(Kind.RATE_LIMITED, NOW + 60, scope), NOW)
    assert {name for name, target in TARGETS.items() if cooldowns.of(target, NOW)} == benched
    assert not any(cooldowns.of(target, NOW + 60) for target in TARGETS.values())


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in GROWTH])
def test_what_benches_nothing(kind: Kind) -> None:
    cooldowns = Cooldowns()
    assert cooldowns.bench(TARGET, outcome(kind, NOW + 60, Scope.PROVIDER), NOW) is None
    assert cooldowns.of(TARGET, NOW) is None


def test_every_kind_that_has_a_scope_grows_from_something() -> None:
    assert set(GROWTH) == {kind for kind in Kind if CONSEQUENCES[kind].scope is not None}


def test_it_holds_for_as_long_as_the_provider_said() -> None:
    cooldowns = Cooldowns()
    cooldowns.bench(TARGET, outcome(Kind.QUOTA_SPENT, NOW + 7200), NOW)
    assert cooldowns.of(TARGET, NOW + 7199) == Cooldown(
        Kind.QUOTA_SPENT, "quota_spent!", NOW, NOW + 7200, 0, NOW + 7200
    )
    assert cooldowns.of(TARGET, NOW + 7200) is None


def test_no_provider_is_believed_for_longer_than_a_month() -> None:
    cooldowns = Cooldowns()
    cooldowns.bench(TARGET, outcome(Kind.QUOTA_SPENT, NOW + 1e9), NOW)
    assert cooldowns.of(TARGET, NOW + MONTH - 1)
    assert not cooldowns.of(TARGET, NOW + MONTH)


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        (Kind.RATE_LIMITED, [5, 10, 20, 40, 60, 60]),
        (Kind.BUSY, [2, 4, 8, 16, 32, 60, 60]),
        (Kind.QUOTA_SPENT, [900, 1800, 3600, 7200, 14400, 14400]),
        (Kind.UNAUTHORIZED, [600, 1200, 2400, 4800, 9600, 19200, 21600, 21600]),
        (Kind.GONE, [3600, 7200, 14400, 28800, 57600, 86400, 86400]),
    ],
)
def test_where_the_provider_says_nothing_it_grows_from_seconds(kind: Kind, seconds: list[float]) -> None:
    cooldowns, now = Cooldowns(), NOW
    grown = []
    for _ in seconds:
        cooldown = cooldowns.bench(TARGET, outcome(kind), now)
        assert cooldown
        grown.append(cooldown.until - now)
        now = cooldown.until
    assert grown == seconds


def test_growth_is_endless_in_strikes_only() -> None:
    assert Growth(5, 60).seconds(10**9) == 60


def test_calls_that_fail_together_are_one_strike() -> None:
    cooldowns = Cooldowns()
    for late in range(5):
        cooldowns.bench(TARGET, outcome(Kind.BUSY), NOW + late / 10)
    cooldown = cooldowns.of(TARGET, NOW + 1)
    assert cooldown
    assert cooldown.strikes == 0
    assert cooldown.until == pytest.approx(NOW + 2.4)


def test_a_long_peace_ends_the_growth() -> None:
    cooldowns = Cooldowns()
    cooldowns.bench(TARGET, outcome(Kind.BUSY), NOW)
    cooldown = cooldowns.bench(TARGET, outcome(Kind.BUSY), NOW + 2 + 60)
    assert cooldown
    assert cooldown.strikes == 0


def test_a_success_ends_the_growth() -> None:
    cooldowns = Cooldowns()
    cooldowns.bench(TARGET, outcome(Kind.BUSY), NOW)
    assert cooldowns.clear(TARGET, before=NOW + 2)
    cooldown = cooldowns.bench(TARGET, outcome(Kind.BUSY), NOW + 3)
    assert cooldown
    assert cooldown.strikes == 0


def test_a_success_of_an_older_call_ends_nothing_newer() -> None:
    cooldowns = Cooldowns()
    cooldowns.bench(TARGET, outcome(Kind.QUOTA_SPENT, NOW + 7200), NOW)
    assert not cooldowns.clear(TARGET, before=NOW - 30)
    assert not cooldowns.clear(TARGET, before=NOW)
    assert cooldowns.of(TARGET, NOW + 1)


@pytest.mark.parametrize("scope", list(Scope))
def test_a_user_ends_every_cooldown_of_a_target(scope: Scope) -> None:
    cooldowns = Cooldowns()
    assert not cooldowns.clear(TARGET)
    cooldowns.bench(TARGET, outcome(Kind.QUOTA_SPENT, NOW + 7200, scope), NOW)
    assert cooldowns.clear(TARGET)
    assert cooldowns.of(TARGET, NOW) is None


@pytest.mark.parametrize("kind", [Kind.BUSY, Kind.RATE_LIMITED, Kind.QUOTA_SPENT])
@pytest.mark.parametrize("until", [None, NOW + 30])
def test_a_shorter_refusal_never_ends_a_longer_one(kind: Kind, until: float | None) -> None:
    cooldowns = Cooldowns()
    long = cooldowns.bench(TARGET, outcome(Kind.QUOTA_SPENT, NOW + 7200, Scope.ENTRY), NOW)
    assert cooldowns.bench(TARGET, outcome(kind, until, Scope.ENTRY), NOW + 1) is long
    assert cooldowns.of(TARGET, NOW + 1) is long


def test_the_longest_of_several_is_told() -> None:
    cooldowns = Cooldowns()
    for scope, seconds in ((Scope.CREDENTIAL, 20), (Scope.MODEL, 60), (Scope.PROVIDER, 40)):
        cooldowns.bench(TARGET, outcome(Kind.RATE_LIMITED, NOW + seconds, scope), NOW)
    found = [cooldowns.of(TARGET, NOW + after) for after in (0, 59, 60)]
    assert [cooldown and cooldown.until for cooldown in found] == [NOW + 60, NOW + 60, None]


def test_names_without_end_are_forgotten_and_the_longest_benches_kept() -> None:
    cooldowns = Cooldowns()
    cooldowns.bench(TARGET, outcome(Kind.QUOTA_SPENT, NOW + 7200), NOW)
    benched = 0
    for number in range(25_000):
        made_up = Target("groq", f"made-up-{number}", "groq/k1", "groq:acme", f"made-up-{number}")
        cooldowns.bench(made_up, outcome(Kind.GONE), NOW)
    for number in range(25_000):
        made_up = Target("groq", f"made-up-{number}", "groq/k1", "groq:acme", f"made-up-{number}")
        benched += cooldowns.of(made_up, NOW) is not None
    assert 5_000 <= benched <= 10_000
    assert cooldowns.of(TARGET, NOW)


benches = st.lists(
    st.tuples(
        st.sampled_from(BENCHING),
        st.none() | st.floats(-100, 1e7),
        st.sampled_from(list(Scope)),
        st.sampled_from(sorted(TARGETS)),
        st.floats(0, 300),
    ),
    max_size=40,
)


@given(benches)
def test_what_holds_is_only_ever_lengthened_and_never_beyond_a_month(
    script: list[tuple[Kind, float | None, Scope, str, float]],
) -> None:
    cooldowns, now = Cooldowns(), NOW
    for kind, seconds, scope, name, wait in script:
        now += wait
        before = {name: cooldowns.of(target, now) for name, target in TARGETS.items()}
        until = None if seconds is None else now + seconds
        found = cooldowns.bench(TARGETS[name], outcome(kind, until, scope), now)
        assert found
        assert found.until <= now + MONTH
        told = now + GROWTH[kind].first if until is None else min(until, now + MONTH)
        if kind is Kind.RATE_LIMITED:
            told = min(told, now + 60)  # nothing tells over what it counts
        assert found.until >= told
        for name, target in TARGETS.items():
            held, holds = before[name], cooldowns.of(target, now)
            if held:
                assert holds
                assert holds.until >= held.until


def test_a_long_wait_without_a_named_limit_is_tested_after_a_minute_and_then_ever_more_rarely() -> None:
    cooldowns, now, waits = Cooldowns(), NOW, []
    for _ in range(8):
        found = cooldowns.bench(TARGET, outcome(Kind.RATE_LIMITED, now + 86400), now)
        assert found
        waits.append(found.until - now)
        now = found.until
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_a_wait_for_a_limit_that_is_named_is_believed() -> None:
    refusal = Outcome.of(Kind.RATE_LIMITED, "!", until=NOW + 1800, limit="requests per hour")
    found = Cooldowns().bench(TARGET, refusal, NOW)
    assert found
    assert found.until == NOW + 1800


@given(benches)
def test_without_a_time_from_the_provider_nothing_is_benched_for_longer_than_its_kind_grows(
    script: list[tuple[Kind, float | None, Scope, str, float]],
) -> None:
    cooldowns, now = Cooldowns(), NOW
    for _, _, scope, name, wait in script:
        now += wait
        cooldowns.bench(TARGETS[name], outcome(Kind.RATE_LIMITED, None, scope), now)
    assert not any(cooldowns.of(target, now + 60) for target in TARGETS.values())


@given(st.floats(-1e8, 1e8), st.sampled_from(BENCHING), st.none() | st.floats(0, 1e7))
def test_no_jump_of_the_clock_makes_a_bench_longer(jump: float, kind: Kind, seconds: float | None) -> None:
    cooldowns = Cooldowns()
    cooldown = cooldowns.bench(TARGET, outcome(kind, None if seconds is None else NOW + seconds), NOW)
    assert cooldown
    now = NOW + jump
    found = cooldowns.of(TARGET, now)
    if found:
        assert found.until - now <= cooldown.until - NOW


def claimed(until: float, claim: float, kind: Kind = Kind.RATE_LIMITED) -> Outcome:
    return replace(Outcome.of(kind, "!", until=until, limit="requests per minute"), claim=claim)


def test_a_claim_beyond_what_is_sensible_is_tested_and_believed_a_little_longer_each_time() -> None:
    cooldowns, now, waits = Cooldowns(), NOW, []
    for _ in range(9):
        found = cooldowns.bench(TARGET, claimed(now + 120, NOW + 3 * 3600), now)
        assert found
        waits.append(found.until - now)
        now = found.until + 30  # nobody asks at once
    assert waits[:6] == [120, 240, 480, 960, 1920, 3840]
    assert now <= NOW + 3 * 3600 + 3 * 120, "the claim itself is the end"
    cooldowns.clear(TARGET)
    found = cooldowns.bench(TARGET, claimed(now + 120, now + 9999), now)
    assert found
    assert found.until == now + 120


@given(
    st.lists(
        st.tuples(st.sampled_from(BENCHING), st.none() | st.floats(0, 1e9), st.floats(-1e7, 1e7), st.booleans()),
        max_size=30,
    )
)
def test_no_jump_of_the_clock_strands_a_target_beyond_a_month(
    script: list[tuple[Kind, float | None, float, bool]],
) -> None:
    cooldowns, now = Cooldowns(), NOW
    for kind, seconds, jump, served in script:
        now += jump
        until = None if seconds is None else now + seconds
        cooldowns.bench(TARGET, replace(outcome(kind, until), claim=None if until is None else until + 1e6), now)
        if served:
            cooldowns.clear(TARGET, before=now)
        found = cooldowns.of(TARGET, now)
        assert found is None or found.until <= now + MONTH
    assert cooldowns.of(TARGET, now + MONTH + 60) is None


def test_what_the_provider_told_is_known_and_what_it_did_not_is_tested_at_growing_intervals() -> None:
    cooldowns = Cooldowns()
    told = cooldowns.bench(TARGET, Outcome.of(Kind.RATE_LIMITED, "!", until=NOW + 50, limit="requests"), NOW)
    assert told
    assert told.known_until == NOW + 50
    now, waits = NOW + 100, []
    guess = Outcome.of(Kind.RATE_LIMITED, "!", limit="requests")
    for _ in range(5):
        guess = replace(guess, until=now + 3600, guessed=True)
        cooldowns.tested(TARGET, now)
        found = cooldowns.bench(TARGET, guess, now + 0.5)
        assert found
        waits.append(found.known_until - now - 0.5)
        now = found.known_until
    assert waits == [20, 40, 80, 160, 320]


def test_while_a_test_is_under_way_others_wait_for_what_becomes_of_it() -> None:
    cooldowns = Cooldowns()
    cooldowns.bench(TARGET, claimed(NOW + 120, NOW + 1e6), NOW)
    cooldowns.tested(TARGET, NOW + 5)
    held = cooldowns.of(TARGET, NOW + 5)
    assert held
    assert held.known_until == NOW + 10, "that was no test yet"
    cooldowns.tested(TARGET, NOW + 15)
    held = cooldowns.of(TARGET, NOW + 15)
    assert held
    assert (held.known_until, held.until) == (NOW + 16, NOW + 120)
    cooldowns.clear(TARGET, before=NOW + 15)
    assert cooldowns.of(TARGET, NOW + 16) is None


def test_a_key_that_is_refused_and_a_model_that_is_gone_are_known() -> None:
    cooldowns = Cooldowns()
    for kind in (Kind.UNAUTHORIZED, Kind.GONE):
        found = cooldowns.bench(TARGET, outcome(kind), NOW)
        assert found
        assert found.known_until == found.until


def test_a_bench_of_a_clock_that_was_set_back_is_forgotten() -> None:
    cooldowns = Cooldowns()
    cooldowns.bench(TARGET, outcome(Kind.GONE), NOW)
    assert cooldowns.of(TARGET, NOW - 30) is None
    assert cooldowns.of(TARGET, NOW)
    assert cooldowns.of(TARGET, NOW - 3600) is None
    assert cooldowns.of(TARGET, NOW) is None
