from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.breaker import BreakerPolicy
from chain429.routing.chain import Chain, Credential, Entry, Limit, Provider, Strategy, Target
from chain429.routing.fit import Capabilities, Models
from chain429.routing.headers import Reading
from chain429.routing.ledger import Ledger, Refusal
from chain429.routing.limits import Lease, Need
from chain429.routing.outcome import CONSEQUENCES, SERVED, Hit, Kind, Outcome, Scope
from chain429.routing.status import ChainStatus, TargetStatus
from chain429.routing.window import Window

NOW = 1_800_000_000.0
POLICY = BreakerPolicy(failures=3, seconds=30)
ONE = Need(tokens=100, size=400)
NO_TOKENS = (None, None)

GROQ = Provider("groq", (Credential("groq/k1", "groq:k1"), Credential("groq/k2", "groq:k2")))
OTHER = Provider("other", (Credential("other/k1", "other:k1"),))
BIG, SMALL = Entry.of(GROQ, "big"), Entry.of(GROQ, "small")
ELSEWHERE = Entry.of(OTHER, "big")
ENTRIES = {entry.name: entry for entry in (BIG, SMALL, ELSEWHERE)}
TARGETS = {str(target): target for entry in ENTRIES.values() for target in entry.targets}
TARGET = BIG.targets[0]
PROVIDERS = {provider.id: provider for provider in (GROQ, OTHER)}


def ledger(*limits: Limit) -> Ledger:
    made = Ledger(POLICY)
    limited = Provider("groq", (Credential("groq/k1", "groq:k1", limits=limits), *GROQ.credentials[1:]))
    made.configure(POLICY, [limited, OTHER])
    return made


def outcome(kind: Kind, until: float | None = None) -> Outcome:
    return Outcome.of(kind, f"{kind}!", until=until)


def call(at: Ledger, result: Outcome, now: float = NOW, target: Target = TARGET, need: Need = ONE) -> float | None:
    """One call to ``target``, over at once."""
    return at.learn(at.take(PROVIDERS[target.provider], target, need, now), result, NO_TOKENS, now)


def refused(at: Ledger, now: float = NOW) -> set[str]:
    return {name for name, target in TARGETS.items() if at.refusal(target, ONE, now)}


@pytest.mark.parametrize(
    ("kind", "benched"),
    [
        (Kind.SERVED, set()),
        (Kind.RATE_LIMITED, {"groq/big (groq/k1)"}),
        (Kind.BUSY, {"groq/big (groq/k1)", "groq/big (groq/k2)"}),
        (Kind.QUOTA_SPENT, {"groq/big (groq/k1)"}),
        (Kind.UNAUTHORIZED, {"groq/big (groq/k1)", "groq/small (groq/k1)"}),
        (Kind.GONE, {"groq/big (groq/k1)", "groq/big (groq/k2)"}),
        (Kind.TOO_LARGE, {"groq/big (groq/k1)", "groq/big (groq/k2)"}),
        (Kind.REJECTED, set()),
        (Kind.FAILED, set()),
        (Kind.BROKEN, set()),
        (Kind.CANCELLED, set()),
    ],
)
def test_what_one_call_of_each_kind_benches(kind: Kind, benched: set[str]) -> None:
    at = ledger()
    call(at, outcome(kind))
    assert refused(at) == benched
    assert at.leased() == 0


@pytest.mark.parametrize("kind", list(Kind))
def test_only_failures_in_a_row_open_a_providers_breaker(kind: Kind) -> None:
    at = ledger()
    for _ in range(3):
        call(at, outcome(kind))
    tripped = kind in (Kind.FAILED, Kind.BROKEN)
    assert CONSEQUENCES[kind].trips == tripped
    assert (at.breaker("groq").state(NOW) == "open") == tripped
    assert at.breaker("other").state(NOW) == "closed"


@pytest.mark.parametrize(
    ("between", "opens"),
    [
        (Kind.SERVED, False),
        (Kind.RATE_LIMITED, False),
        (Kind.UNAUTHORIZED, False),
        (Kind.REJECTED, False),
        (Kind.BUSY, True),  # a 503 is no success
        (Kind.CANCELLED, True),
    ],
)
def test_what_breaks_a_row_of_failures(between: Kind, opens: bool) -> None:
    at = ledger()
    for kind in (Kind.FAILED, Kind.FAILED, between, Kind.FAILED):
        call(at, outcome(kind))
    assert (at.breaker("groq").state(NOW) == "open") == opens


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [
        (Kind.RATE_LIMITED, Refusal("cooling", "rate_limited!", NOW + 9, limited=True)),
        (Kind.BUSY, Refusal("cooling", "busy!", NOW + 9)),
        (Kind.QUOTA_SPENT, Refusal("exhausted", "quota_spent!", NOW + 9, limited=True)),
        (Kind.UNAUTHORIZED, Refusal("refused", "unauthorized!", NOW + 9)),
        (Kind.GONE, Refusal("gone", "gone!", NOW + 9)),
    ],
)
def test_a_bench_says_why_and_until_when(kind: Kind, refusal: Refusal) -> None:
    at = ledger()
    assert call(at, outcome(kind, NOW + 9)) == NOW + 9
    assert at.refusal(TARGET, ONE, NOW) == replace(refusal, known_until=NOW + 9)
    assert at.refusal(TARGET, ONE, NOW + 9) is None


def test_learning_of_what_benches_nothing_tells_no_time() -> None:
    at = ledger()
    assert [call(at, outcome(kind)) for kind in (Kind.SERVED, Kind.REJECTED, Kind.TOO_LARGE, Kind.FAILED)] == [None] * 4


def test_an_open_breaker_says_why_and_lets_one_probe_through() -> None:
    at = ledger()
    assert [call(at, outcome(Kind.FAILED)) for _ in range(3)] == [None, None, NOW + 30]
    words = "not called while its circuit is open: failed!"
    assert at.refusal(TARGET, ONE, NOW) == Refusal("open", words, NOW + 30)
    assert at.refusals(SMALL, ONE, NOW).keys() == set(SMALL.targets)
    later = NOW + 30
    assert refused(at, later) == set()
    probe = at.take(GROQ, TARGET, ONE, later)
    assert at.refusal(SMALL.targets[0], ONE, later) == Refusal("half-open", "a probe is under way: failed!", later + 1)
    assert at.refusals(SMALL, ONE, later).keys() == set(SMALL.targets)
    at.learn(probe, SERVED, NO_TOKENS, later)
    assert not at.refusals(SMALL, ONE, later)
    assert at.breaker("groq").state(later) == "closed"


def test_a_breaker_that_is_reset_by_hand_lets_everybody_in() -> None:
    at = ledger()
    for _ in range(3):
        call(at, outcome(Kind.FAILED))
    assert at.refusals(SMALL, ONE, NOW).keys() == set(SMALL.targets)
    at.changed = False
    at.reset_breaker("groq")
    assert (at.refusals(SMALL, ONE, NOW), at.breaker("groq").state(NOW), at.changed) == ({}, "closed", True)


def test_a_probe_that_is_answering_keeps_nobody_away() -> None:
    at, later = ledger(), NOW + 30
    for _ in range(3):
        call(at, outcome(Kind.FAILED))
    probe = at.take(GROQ, TARGET, ONE, later)
    assert at.refusals(SMALL, ONE, later)
    at.answering(probe)
    assert not at.refusals(SMALL, ONE, later)
    at.learn(probe, outcome(Kind.BROKEN), NO_TOKENS, later)
    assert at.refusals(SMALL, ONE, later)


def test_a_probe_whose_client_leaves_makes_room_for_the_next() -> None:
    at, later = ledger(), NOW + 30
    for _ in range(3):
        call(at, outcome(Kind.FAILED))
    probe = at.take(GROQ, TARGET, ONE, later)
    assert at.refusals(BIG, ONE, later)
    at.learn(probe, outcome(Kind.CANCELLED), NO_TOKENS, later)
    assert at.breaker("groq").state(later) == "half-open"
    assert not at.refusals(BIG, ONE, later)


def test_the_failures_of_old_calls_do_not_hold_the_provider_off() -> None:
    at = ledger()
    old = [at.take(GROQ, TARGET, ONE, NOW) for _ in range(5)]
    for lease in old[:3]:
        at.learn(lease, outcome(Kind.FAILED), NO_TOKENS, NOW)
    at.learn(old[3], outcome(Kind.FAILED), NO_TOKENS, NOW + 29)
    assert refused(at, NOW + 30) == set()
    probe = at.take(GROQ, TARGET, ONE, NOW + 30)
    at.learn(old[4], outcome(Kind.CANCELLED), NO_TOKENS, NOW + 31)
    assert at.refusal(TARGET, ONE, NOW + 31), "the probe is still under way"
    at.learn(probe, SERVED, NO_TOKENS, NOW + 32)


def test_the_end_of_an_older_call_does_not_bring_a_spent_target_back() -> None:
    at = ledger()
    stream = at.take(GROQ, TARGET, ONE, NOW)
    call(at, outcome(Kind.QUOTA_SPENT, NOW + 7200), NOW + 1)
    at.learn(stream, SERVED, (10, 10), NOW + 60)
    assert at.refusal(TARGET, ONE, NOW + 60)


def test_a_success_after_a_bench_ends_its_growth() -> None:
    at = ledger()
    call(at, outcome(Kind.BUSY))
    call(at, SERVED, NOW + 2)
    assert call(at, outcome(Kind.BUSY), NOW + 3) == NOW + 5


@pytest.mark.parametrize(
    ("limit", "refusal"),
    [
        (
            Limit("requests", Window.MINUTE, 1),
            Refusal("cooling", "requests per minute used up (limit 1)", NOW + 61, limited=True, known_until=NOW + 60),
        ),
        (
            Limit("tokens", Window.DAY, 420),  # 400 bytes are about 100 tokens, and 320 will be made
            Refusal("exhausted", "tokens per day used up (limit 420)", NOW + 86401, True, NOW + 86400, for_all=False),
        ),
    ],
)
def test_a_limit_says_why_and_until_when(limit: Limit, refusal: Refusal) -> None:
    at = ledger(limit)
    call(at, SERVED)
    assert at.refusal(TARGET, ONE, NOW) == refusal
    assert refused(at) == {str(TARGET)}


@pytest.mark.parametrize("kind", list(Kind))
def test_a_slot_is_kept_by_what_was_sent_to_the_end_only(kind: Kind) -> None:
    at = ledger(Limit("requests", Window.DAY, 1))
    lease = at.take(GROQ, TARGET, ONE, NOW)
    assert at.refusal(TARGET, ONE, NOW)
    assert at.leased() > 0
    at.learn(lease, outcome(kind), NO_TOKENS, NOW)
    assert at.leased() == 0
    # A day later than any bench of the kind, and with nothing that would be too large.
    call(at, SERVED, NOW + 10, SMALL.targets[0])
    at.clear(TARGET)
    assert bool(at.refusal(TARGET, Need(), NOW + 10)) == (kind in (Kind.SERVED, Kind.BROKEN, Kind.CANCELLED))


def test_a_report_counts_for_the_lease_that_it_came_with() -> None:
    at = ledger()
    lease = at.take(GROQ, TARGET, ONE, NOW)
    at.observe(lease, [Reading("requests", Window.MINUTE, 30, 1, NOW + 20)], NOW)
    assert refused(at) == set()
    call(at, SERVED)
    assert refused(at) == {str(TARGET)}
    at.learn(lease, SERVED, NO_TOKENS, NOW)
    assert refused(at) == {str(TARGET)}


def test_what_was_too_large_is_remembered_for_an_hour_and_the_smallest_counts() -> None:
    at = ledger()
    large, larger = (at.take(GROQ, TARGET, Need(size=size), NOW) for size in (1000, 9000))
    at.learn(large, outcome(Kind.TOO_LARGE), NO_TOKENS, NOW)
    at.learn(larger, outcome(Kind.TOO_LARGE), NO_TOKENS, NOW)
    assert at.refusal(TARGET, Need(size=999), NOW) is None
    assert at.refusal(BIG.targets[1], Need(size=1000), NOW) == Refusal(
        None, "a request of 1000 bytes was too large for it", for_all=False, unfit="size"
    )
    assert at.refusal(SMALL.targets[0], Need(size=1000), NOW) is None
    assert at.refusal(TARGET, Need(size=1000), NOW + 3600) is None
    call(at, outcome(Kind.TOO_LARGE), NOW + 3600, need=Need(size=5000))
    assert at.refusal(TARGET, Need(size=1000), NOW + 3600) is None
    assert at.refusal(TARGET, Need(size=5000), NOW + 3600)


def able(known: Capabilities, provider: Provider = GROQ) -> Entry:
    """The model ``big``, of which so much is known."""
    return Entry.of(replace(provider, models=Models(usual=(("big", known),))), "big")


def test_a_model_that_lacks_what_is_wanted_is_refused_with_every_key_for_good() -> None:
    at, entry = ledger(), able(Capabilities(tools=True, images=False))
    refusal = Refusal(None, "it takes no images", for_all=False, unfit="ability")
    found = at.refusals(entry, Need(wants=("tools", "images")), NOW)
    assert found == dict.fromkeys(entry.targets, refusal)
    # Not even as a last resort, and it is nothing to wait for.
    assert (refusal.known_until, refusal.until) == (math.inf, None)
    assert at.refusals(entry, Need(wants=("tools",)), NOW) == {}
    assert at.refusals(entry, Need(), NOW) == {}
    assert at.refusals(able(Capabilities()), Need(wants=("tools", "images", "schema")), NOW) == {}


def test_what_one_request_lacks_is_not_held_against_the_next() -> None:
    at, entry = ledger(), able(Capabilities(images=False))
    for target in entry.targets:
        call(at, outcome(Kind.RATE_LIMITED, NOW + 60), target=target)
    limited = at.refusals(entry, Need(), NOW)
    assert {refusal.reason for refusal in limited.values()} == {"rate_limited!"}
    assert {refusal.unfit for refusal in at.refusals(entry, Need(wants=("images",)), NOW).values()} == {"ability"}
    assert at.refusals(entry, Need(), NOW) == limited


def test_what_is_too_long_by_estimate_is_only_believed_to_be() -> None:
    at, entry = ledger(), able(Capabilities(context=1000))
    long = Need(size=1_000_000)
    found = at.refusals(entry, long, NOW)
    assert set(found) == set(entry.targets)
    for refusal in found.values():
        assert refusal.reason.startswith("it takes 1000 tokens, and this request has about ")
        assert (refusal.unfit, refusal.known_until, refusal.until, refusal.for_all) == ("size", 0.0, None, False)
    assert at.refusals(entry, Need(size=1000), NOW) == {}
    # What it allows to be made needs room as well, but not more than the model makes.
    assert at.refusals(entry, Need(size=400, most=100_000), NOW)
    assert at.refusals(able(Capabilities(context=1000, output=200)), Need(size=400, most=100_000), NOW) == {}


def test_what_is_too_long_and_benched_is_known_as_long_as_the_bench_is() -> None:
    at, entry = ledger(), able(Capabilities(context=1000))
    first, second = entry.targets
    call(at, outcome(Kind.RATE_LIMITED, NOW + 60), target=first)
    found = at.refusals(entry, Need(size=1_000_000), NOW)
    assert (found[first].known_until, found[second].known_until) == (NOW + 60, 0.0)
    # The bench ends, but then it is still too long: there is nothing to wait for.
    assert (found[first].until, found[first].unfit) == (None, "size")


def test_sizes_of_names_without_end_are_forgotten() -> None:
    at = ledger()
    made_up = [Entry.of(GROQ, f"made-up-{number}").targets[0] for number in range(10_001)]
    for target in made_up:
        call(at, outcome(Kind.TOO_LARGE), target=target)
    assert at.refusal(made_up[-1], ONE, NOW)
    assert not at.refusal(made_up[0], ONE, NOW)


def test_refused_parameters_are_remembered_by_model_and_always_the_last() -> None:
    at = ledger()
    at.refuses_param(TARGET, "seed")
    at.refuses_param(BIG.targets[1], "logprobs")
    assert at.refused_params(TARGET) == {"seed", "logprobs"}
    assert at.refused_params(SMALL.targets[0]) == frozenset()
    # Whoever asks again without a parameter relies on it: what is not remembered is asked for again and again.
    for number in range(10_001):
        made_up = Entry.of(GROQ, f"made-up-{number}").targets[0]
        at.refuses_param(made_up, "seed")
        assert at.refused_params(made_up) == {"seed"}


def test_a_reload_keeps_what_was_learned() -> None:
    at = ledger()
    for _ in range(3):
        call(at, outcome(Kind.FAILED))
    call(at, outcome(Kind.QUOTA_SPENT, NOW + 7200), target=ELSEWHERE.targets[0])
    call(at, SERVED, target=SMALL.targets[1])
    assert at.refusals(BIG, ONE, NOW)
    limited = Provider("groq", tuple(Credential(key.id, key.account, limits=(Limit("requests", Window.DAY, 1),))
                                     for key in GROQ.credentials))  # fmt: skip
    at.configure(BreakerPolicy(failures=3, seconds=10), [limited, OTHER])
    assert refused(at) == set(TARGETS)
    assert not at.refusals(BIG, ONE, NOW + 10)
    # What was counted before there was a limit counts against it.
    assert refused(at, NOW + 10) == {"groq/small (groq/k2)", "other/big (other/k1)"}


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.SERVED])
def test_a_user_clears_whatever_speaks_against_a_target(kind: Kind) -> None:
    at = ledger()
    for _ in range(3):
        call(at, outcome(kind, NOW + 7200))
    lease = at.take(GROQ, TARGET, ONE, NOW)
    at.observe(lease, [Reading("requests", Window.MINUTE, 30, 0, NOW + 50)], NOW)
    at.learn(lease, outcome(Kind.CANCELLED), NO_TOKENS, NOW)
    assert str(TARGET) in refused(at)
    at.refusals(BIG, ONE, NOW)
    at.clear(TARGET)
    assert str(TARGET) not in refused(at)
    assert TARGET not in at.refusals(BIG, ONE, NOW)


def test_the_status_tells_how_each_target_stands() -> None:
    at = ledger()
    call(at, outcome(Kind.UNAUTHORIZED, NOW + 600))
    call(at, outcome(Kind.TOO_LARGE), target=ELSEWHERE.targets[0], need=Need())
    chain = Chain("default", ((BIG,), (ELSEWHERE, SMALL)))
    assert at.status(chain, NOW) == ChainStatus(
        "default",
        (
            (
                TargetStatus("groq", "big", "groq/k1", "refused", "unauthorized!", NOW + 600),
                TargetStatus("groq", "big", "groq/k2", "available", "", None),
            ),
            (
                TargetStatus("other", "big", "other/k1", "available", "", None),
                TargetStatus("groq", "small", "groq/k1", "refused", "unauthorized!", NOW + 600),
                TargetStatus("groq", "small", "groq/k2", "available", "", None),
            ),
        ),
    )


def test_that_an_entry_is_benched_is_believed_for_as_long_as_it_is() -> None:
    at = ledger()
    late = at.take(GROQ, TARGET, ONE, NOW)
    call(at, outcome(Kind.BUSY, NOW + 60))
    assert [len(at.refusals(BIG, ONE, now)) for now in (NOW, NOW + 59, NOW + 60, NOW, NOW - 1)] == [2, 2, 0, 2, 0]
    at.learn(late, outcome(Kind.QUOTA_SPENT, NOW + 7200), NO_TOKENS, NOW + 1)
    assert at.refusals(BIG, ONE, NOW + 1)[TARGET].reason == "quota_spent!"
    assert at.refusals(BIG, ONE, NOW + 60).keys() == {TARGET}


def test_a_refusal_that_names_its_limit_teaches_it() -> None:
    at = ledger()
    for _ in range(3):
        call(at, SERVED)
    until = NOW + 20
    hit = Hit("requests", Window.MINUTE)
    call(at, replace(outcome(Kind.RATE_LIMITED, until), limit="requests per minute", hit=hit))
    assert at.refusal(TARGET, ONE, until) == Refusal(
        "cooling", "requests per minute used up (limit 3)", NOW + 61, limited=True, known_until=0.0
    )
    assert at.refusal(BIG.targets[1], ONE, until) is None
    assert at.leased() == 0


def test_what_a_model_took_is_expected_of_its_next_request() -> None:
    at = ledger(Limit("tokens", Window.MINUTE, 5000))
    for _ in range(30):
        at.learn(at.take(GROQ, TARGET, ONE, NOW - 300), SERVED, (100, 3000), NOW - 300)
    assert not at.refusals(BIG, ONE, NOW)
    at.learn(at.take(GROQ, TARGET, ONE, NOW), SERVED, (100, 3000), NOW)
    refusal = at.refusals(BIG, ONE, NOW)[TARGET]
    assert (refusal.state, refusal.limited, refusal.known_until, refusal.until) == (None, True, 0.0, NOW + 61)


def test_of_equal_entries_and_keys_the_one_with_most_headroom_is_taken() -> None:
    at = ledger(Limit("requests", Window.DAY, 10))
    for _ in range(3):
        call(at, SERVED)
    assert at.first(BIG, BIG.targets, ONE, NOW) == BIG.targets[1]
    alone = Entry(BIG.provider, BIG.model, BIG.targets[:1])
    assert at.order_tier((alone, ELSEWHERE), ONE, NOW) == [ELSEWHERE, alone]


def test_a_lease_that_is_given_back_leaves_nothing() -> None:
    at = ledger(Limit("requests", None, 1))
    lease = at.take(GROQ, TARGET, ONE, NOW)
    assert at.refusal(TARGET, ONE, NOW)
    at.give_back(lease, NOW)
    assert at.leased() == 0
    assert refused(at) == set()


def test_a_probe_that_is_given_back_makes_room_for_the_next() -> None:
    at, later = ledger(), NOW + 30
    for _ in range(3):
        call(at, outcome(Kind.FAILED))
    probe = at.take(GROQ, TARGET, ONE, later)
    assert at.refusals(BIG, ONE, later)
    at.give_back(probe, later)
    assert not at.refusals(BIG, ONE, later)


# Laws.

scripts = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "learn", "observe", "answering", "clear", "wait", "reload"]),
        st.sampled_from(sorted(TARGETS)),
        st.sampled_from(list(Kind)),
        st.sampled_from([None, *Scope]),
        st.integers(-90, 300),
    ),
    max_size=60,
)


@given(scripts)
def test_an_entry_is_refused_as_its_targets_are_and_leases_return_to_zero(
    script: list[tuple[str, str, Kind, Scope | None, int]],
) -> None:
    at, now = ledger(Limit("requests", Window.MINUTE, 5), Limit("requests", None, 3)), NOW
    under_way: list[Lease] = []
    for what, name, kind, scope, number in script:
        target = TARGETS[name]
        if what == "wait":
            now += number
        elif what == "clear":
            at.clear(target)
        elif what == "reload":
            at.configure(BreakerPolicy(1 + abs(number) % 4, 1 + abs(number)), [GROQ, OTHER])
        elif what == "take" and at.refusal(target, ONE, now) is None:
            under_way.append(at.take(PROVIDERS[target.provider], target, ONE, now))
        elif under_way and what == "observe":
            readings = [Reading("requests", None, None, abs(number) % 3, now + number)]
            at.observe(under_way[number % len(under_way)], readings, now)
        elif under_way and what == "answering":
            at.answering(under_way[number % len(under_way)])
        elif under_way and what == "learn":
            result = Outcome.of(kind, "!", until=now + number if number % 2 else None, scope=scope)
            at.learn(under_way.pop(number % len(under_way)), result, (number, 1), now)
        for entry in ENTRIES.values():
            one_by_one = {target: at.refusal(target, ONE, now) for target in entry.targets}
            assert at.refusals(entry, ONE, now) == {target: why for target, why in one_by_one.items() if why}
    for lease in under_way:
        at.learn(lease, outcome(Kind.CANCELLED), NO_TOKENS, now)
    assert at.leased() == 0
    # Nothing that one provider said or did keeps anything of another away.
    if not any(TARGETS[name].provider == "other" for what, name, *_ in script if what in ("take", "observe")):
        assert at.refusal(ELSEWHERE.targets[0], Need(), now) is None


@given(st.lists(st.sampled_from([Kind.RATE_LIMITED, Kind.BUSY, Kind.FAILED]), max_size=30), st.integers(0, 3))
def test_without_a_word_of_the_provider_nobody_is_away_for_more_than_a_minute(kinds: list[Kind], wait: int) -> None:
    at, now = ledger(), NOW
    for kind in kinds:
        now += wait
        call(at, outcome(kind), now)
    assert refused(at, now + 60) == set()


def test_equal_entries_and_keys_take_turns() -> None:
    provider = Provider("groq", GROQ.credentials, Strategy.ROUND_ROBIN)
    at, big, small = ledger(), Entry.of(provider, "big"), Entry.of(provider, "small")
    assert at.first(big, big.targets, ONE, NOW) == big.targets[0]
    assert [entry.model for entry in at.order_tier((big, small), ONE, NOW)] == ["big", "small"]
    call(at, SERVED, target=big.targets[0])
    assert at.first(big, big.targets, ONE, NOW) == big.targets[1]
    assert [entry.model for entry in at.order_tier((big, small), ONE, NOW)] == ["small", "big"]
