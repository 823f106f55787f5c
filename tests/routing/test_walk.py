from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.breaker import BreakerPolicy
from chain429.routing.chain import Chain, Credential, Entry, Limit, Provider, Strategy, Target
from chain429.routing.ledger import Ledger, Refusal
from chain429.routing.limits import Need
from chain429.routing.outcome import CONSEQUENCES, SERVED, Hit, Kind, Outcome, Step
from chain429.routing.walk import Walk
from chain429.routing.window import Window

NOW = 1_800_000_000.0
POLICY = BreakerPolicy()
NEED = Need(tokens=100, size=400)
NO_TOKENS = (None, None)


def provider(name: str, keys: int = 1, limits: tuple[Limit, ...] = ()) -> Provider:
    made = (Credential(f"{name}{number}", f"{name}:{number}", number, limits=limits) for number in range(1, keys + 1))
    return Provider(name, tuple(made), Strategy.PRIORITY)


A, B, C = provider("a", keys=2), provider("b"), provider("c", keys=2)
PROVIDERS = {one.id: one for one in (A, B, C)}


def chain(*tiers: str) -> Chain:
    """Tiers of entries: ``a/m1 b/m1`` are of equal rank."""
    named = [[name.split("/") for name in tier.split()] for tier in tiers]
    return Chain("test", tuple(tuple(Entry.of(PROVIDERS[one], model) for one, model in tier) for tier in named))


def ledger() -> Ledger:
    made = Ledger(POLICY)
    made.configure(POLICY, PROVIDERS.values())
    return made


def attempt(walk: Walk, at: Ledger, outcome: Outcome, now: float = NOW) -> Target | None:
    """Call the next target, if there is one, with that outcome."""
    choice = walk.next(now)
    if choice is None:
        return None
    one, target = choice
    assert one.id == target.provider
    at.learn(at.take(one, target, NEED, now), outcome, NO_TOKENS, now)
    walk.after(target, outcome)
    return target


def tried(on: Chain, outcome: Outcome, at: Ledger | None = None) -> list[str]:
    """Every target that a request tries if each ends so."""
    at = at or ledger()
    walk = Walk(on, NEED, at)
    order = []
    while target := attempt(walk, at, outcome):
        order.append(f"{target.provider}/{target.model}:{target.credential}")
    return order


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        # Another key of the same model may do.
        (Kind.RATE_LIMITED, ["a/m1:a1", "a/m1:a2", "a/m2:a1", "a/m2:a2", "b/m1:b1"]),
        (Kind.QUOTA_SPENT, ["a/m1:a1", "a/m1:a2", "a/m2:a1", "a/m2:a2", "b/m1:b1"]),
        # A refused key is refused for every model.
        (Kind.UNAUTHORIZED, ["a/m1:a1", "a/m1:a2", "b/m1:b1"]),
        # Another key would meet the same wall.
        (Kind.BUSY, ["a/m1:a1", "a/m2:a1", "b/m1:b1"]),
        (Kind.GONE, ["a/m1:a1", "a/m2:a1", "b/m1:b1"]),
        (Kind.FAILED, ["a/m1:a1", "a/m2:a1", "b/m1:b1"]),
        (Kind.TOO_LARGE, ["a/m1:a1", "a/m2:a1", "b/m1:b1"]),
        (Kind.REJECTED, ["a/m1:a1", "b/m1:b1"]),
    ],
)
def test_where_each_outcome_goes_next(kind: Kind, order: list[str]) -> None:
    assert tried(chain("a/m1", "a/m2", "b/m1"), Outcome.of(kind, "!")) == order


def test_every_outcome_that_goes_on_is_in_that_table() -> None:
    covered = {kind for kind in Kind if CONSEQUENCES[kind].step is not Step.END}
    assert covered == set(Kind) - {Kind.SERVED, Kind.BROKEN, Kind.CANCELLED}


def test_a_wider_step_than_the_tables_is_taken() -> None:
    unreachable = Outcome.of(Kind.FAILED, "connection refused", step=Step.PROVIDER)
    assert tried(chain("a/m1", "a/m2", "b/m1"), unreachable) == ["a/m1:a1", "b/m1:b1"]


def test_tiers_are_taken_in_strict_order_however_busy() -> None:
    at, on = ledger(), chain("a/m1", "b/m1")
    for _ in range(10):
        choice = Walk(on, NEED, at).next(NOW)
        assert choice
        assert choice[0].id == "a"
        at.take(*choice, NEED, NOW)


def test_entries_of_one_tier_take_turns() -> None:
    at, on = ledger(), chain("b/m1 c/m1", "a/m1")
    firsts = [attempt(Walk(on, NEED, at), at, SERVED) for _ in range(4)]
    assert [target and target.provider for target in firsts] == ["b", "c", "b", "c"]


def test_a_busy_tier_is_left_only_when_it_is_used_up() -> None:
    assert tried(chain("b/m1 c/m1", "a/m1"), Outcome.of(Kind.RATE_LIMITED, "!")) == [
        "b/m1:b1", "c/m1:c1", "c/m1:c2", "a/m1:a1", "a/m1:a2",
    ]  # fmt: skip


def test_what_is_benched_is_passed_over_with_its_reason() -> None:
    at, on = ledger(), chain("a/m1", "b/m1")
    tried(on, Outcome.of(Kind.QUOTA_SPENT, "spent", until=NOW + 7200), at)
    walk = Walk(on, NEED, at)
    assert walk.next(NOW) is None
    assert [(target.credential, why.reason, why.until) for target, why in walk.skipped.items()] == [
        ("a1", "spent", NOW + 7200), ("a2", "spent", NOW + 7200), ("b1", "spent", NOW + 7200),
    ]  # fmt: skip


def test_a_refused_key_is_passed_over_and_its_sibling_serves() -> None:
    at, on = ledger(), chain("a/m1", "b/m1")
    attempt(Walk(on, NEED, at), at, Outcome.of(Kind.UNAUTHORIZED, "key refused"))
    walk = Walk(on, NEED, at)
    target = attempt(walk, at, SERVED)
    assert target
    assert target.credential == "a2"
    assert [target.credential for target in walk.skipped] == ["a1"]


def test_what_was_tried_is_not_among_what_was_passed_over() -> None:
    at, on = ledger(), chain("a/m1", "b/m1")
    walk = Walk(on, NEED, at)
    while attempt(walk, at, Outcome.of(Kind.RATE_LIMITED, "!", until=NOW + 60)):
        pass
    assert walk.skipped == {}


def test_what_comes_back_during_the_walk_is_tried() -> None:
    at, on = ledger(), chain("a/m1", "b/m1")
    for number in (0, 1):
        target = on.targets[number]
        at.learn(at.take(A, target, NEED, NOW), Outcome.of(Kind.BUSY, "!", until=NOW + 5), NO_TOKENS, NOW)
    walk = Walk(on, NEED, at)
    first = attempt(walk, at, Outcome.of(Kind.FAILED, "!"))
    assert first
    assert first.provider == "b"
    choice = walk.next(NOW + 5)
    assert choice
    assert choice[0].id == "a"
    assert choice[1] not in walk.skipped


def test_a_target_is_given_again_until_it_is_said_what_became_of_it() -> None:
    walk = Walk(chain("a/m1"), NEED, ledger())
    assert walk.next(NOW) == walk.next(NOW)


def test_an_entry_that_stands_in_a_chain_twice_is_tried_once() -> None:
    assert tried(chain("b/m1", "c/m1", "b/m1"), Outcome.of(Kind.FAILED, "!")) == ["b/m1:b1", "c/m1:c1"]


def test_requests_at_once_never_take_the_last_slot() -> None:
    limited = provider("a", limits=(Limit("requests", Window.MINUTE, 1),))
    on = Chain("test", ((Entry.of(limited, "m1"),), (Entry.of(B, "m1"),)))
    at = Ledger(POLICY)
    at.configure(POLICY, [limited, B])
    walks = [Walk(on, NEED, at) for _ in range(3)]
    chosen = []
    for walk in walks:
        choice = walk.next(NOW)
        assert choice
        at.take(*choice, NEED, NOW)
        chosen.append(choice[0].id)
    assert chosen == ["a", "b", "b"]


# After a wait.


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        (Kind.RATE_LIMITED, True),
        (Kind.BUSY, True),
        (Kind.QUOTA_SPENT, True),
        (Kind.UNAUTHORIZED, False),
        (Kind.GONE, False),
        (Kind.TOO_LARGE, False),
        (Kind.REJECTED, False),
        (Kind.FAILED, False),
    ],
)
def test_only_what_was_limited_or_busy_is_tried_again_after_a_wait(kind: Kind, again: bool) -> None:
    at = ledger()
    walk = Walk(chain("b/m1"), NEED, at)
    attempt(walk, at, Outcome.of(kind, "!", until=NOW + 5))
    walk.again()
    assert walk.next(NOW) is None or kind in (Kind.REJECTED, Kind.FAILED, Kind.TOO_LARGE)
    assert walk.soonest(NOW) == (NOW + 5 if again else None)
    assert (attempt(walk, at, SERVED, NOW + 5) is not None) == again


def test_a_wait_is_for_whatever_frees_first_of_what_may_be_tried() -> None:
    at, on = ledger(), chain("a/m1", "b/m1", "c/m1")
    walk = Walk(on, NEED, at)
    for outcome in (
        Outcome.of(Kind.UNAUTHORIZED, "!", until=NOW + 1),
        Outcome.of(Kind.QUOTA_SPENT, "!", until=NOW + 9),
        Outcome.of(Kind.RATE_LIMITED, "!", until=NOW + 7),
        Outcome.of(Kind.BUSY, "!", until=NOW + 8),
    ):
        attempt(walk, at, outcome)
    walk.again()
    assert walk.soonest(NOW) == NOW + 7
    target = attempt(walk, at, SERVED, NOW + 7)
    assert target
    assert target.provider == "b"


def test_after_a_wait_the_first_tier_comes_first_again() -> None:
    at = ledger()
    walk = Walk(chain("b/m1", "c/m1"), NEED, at)
    for _ in range(2):
        attempt(walk, at, Outcome.of(Kind.BUSY, "!", until=NOW + 5))
    walk.again()
    target = attempt(walk, at, SERVED, NOW + 5)
    assert target
    assert target.provider == "b"


def test_what_only_an_estimate_forbids_is_for_the_bold() -> None:
    limits = (Limit("tokens", Window.MINUTE, 500), Limit("requests", Window.DAY, 2))
    limited = provider("a", limits=limits)
    at = Ledger(POLICY)
    at.configure(POLICY, [limited])
    on = Chain("test", ((Entry.of(limited, "m1"),),))
    attempt_on(at, limited, on)
    walk = Walk(on, NEED, at)
    assert walk.next(NOW) is None
    assert walk.skipped[on.targets[0]].known_until <= NOW
    choice = walk.next(NOW, bold=True)
    assert choice == (limited, on.targets[0])
    assert not walk.skipped
    attempt_on(at, limited, on)
    assert Walk(on, NEED, at).next(NOW, bold=True) is None, "a day's requests are counted, not estimated"


def attempt_on(at: Ledger, one: Provider, on: Chain) -> None:
    at.learn(at.take(one, on.targets[0], NEED, NOW), SERVED, (100, 300), NOW)


def of_tokens(until: float) -> Outcome:
    """A refusal for want of tokens, which benches no smaller request."""
    named = Outcome.of(Kind.QUOTA_SPENT, "!", until=until, limit="tokens per day")
    return replace(named, hit=Hit("tokens", Window.DAY, 10_000, 9700))


def test_a_request_that_was_refused_for_its_tokens_comes_back_when_it_was_told_to() -> None:
    at = ledger()
    walk = Walk(chain("b/m1"), NEED, at)
    attempt(walk, at, of_tokens(NOW + 8))
    walk.again()
    assert walk.next(NOW + 7, bold=True) is None
    assert walk.doubtful(NOW) == NOW + 8
    choice = walk.next(NOW + 8, bold=True)
    assert choice
    assert choice[0].id == "b"


def test_meanwhile_others_are_let_in() -> None:
    at = ledger()
    walk = Walk(chain("b/m1"), NEED, at)
    attempt(walk, at, of_tokens(NOW + 8))
    assert Walk(chain("b/m1"), Need(size=4, most=5), at).next(NOW)


def test_what_is_only_believed_may_turn_out_otherwise_from_a_moment_on() -> None:
    limited = provider("a", limits=(Limit("requests", Window.MINUTE, 1),))
    at = Ledger(POLICY)
    at.configure(POLICY, [limited])
    on = Chain("test", ((Entry.of(limited, "m1"),),))
    attempt_on(at, limited, on)
    walk = Walk(on, NEED, at)
    assert walk.next(NOW + 59.9, bold=True) is None
    assert (walk.doubtful(NOW + 10), walk.doubtful(NOW + 60.5)) == (NOW + 60, NOW + 60.5)
    assert walk.next(NOW + 60.5) is None
    assert walk.next(NOW + 60.5, bold=True)


def test_what_the_provider_told_is_not_doubtful_before_its_end_and_what_is_final_never() -> None:
    at = ledger()
    walk = Walk(chain("b/m1", "c/m1"), NEED, at)
    attempt(walk, at, Outcome.of(Kind.GONE, "!"))
    assert walk.doubtful(NOW) is None
    attempt(walk, at, Outcome.of(Kind.RATE_LIMITED, "!", until=NOW + 5))
    assert walk.doubtful(NOW) == NOW + 5


entries = st.builds(lambda one, model: f"{one}/{model}", st.sampled_from("abc"), st.sampled_from(["m1", "m2", "m3"]))
chains = st.lists(st.lists(entries, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=5).map(
    lambda tiers: chain(*tiers)
)
outcomes = st.builds(
    lambda kind, seconds: Outcome.of(kind, "!", until=None if seconds is None else NOW + seconds),
    st.sampled_from([kind for kind in Kind if CONSEQUENCES[kind].step is not Step.END]),
    st.none() | st.floats(0, 100),
)


def open_tiers(on: Chain, done: dict[Target, Outcome], at: Ledger, now: float) -> list[set[Target]]:
    """What may be tried by the letter: each tier's targets that are free and not closed by what was met before."""

    def is_open(target: Target) -> bool:
        for other, outcome in done.items():
            same_entry = (other.provider, other.model) == (target.provider, target.model)
            if other == target or (outcome.step is Step.ENTRY and same_entry):
                return False
            if outcome.step is Step.PROVIDER and other.provider == target.provider:
                return False
        return at.refusal(target, NEED, now) is None

    return [{target for entry in tier for target in entry.targets if is_open(target)} for tier in on.tiers]


@given(chains, st.lists(st.lists(st.tuples(outcomes, st.floats(0, 30)), max_size=20), min_size=1, max_size=3))
def test_a_walk_ends_and_tries_each_target_once_in_the_order_of_tiers(
    on: Chain, requests: list[list[tuple[Outcome, float]]]
) -> None:
    at, now = ledger(), NOW
    for script in requests:
        walk = Walk(on, NEED, at)
        done: dict[Target, Outcome] = {}
        for outcome, wait in script:
            now += wait
            choice = walk.next(now)
            first = next((tier for tier in open_tiers(on, done, at, now) if tier), set())
            assert not walk.skipped.keys() & done.keys()
            if choice is None:
                assert not first
                continue
            target = choice[1]
            assert target in first
            assert target not in walk.skipped
            at.learn(at.take(*choice, NEED, now), outcome, NO_TOKENS, now)
            walk.after(target, outcome)
            done[target] = outcome
    assert at.leased() == 0


def test_a_barred_target_is_passed_over_and_never_waited_for() -> None:
    on, at = chain("a/m1", "b/m1"), ledger()
    first, second, last = on.targets
    no_key = Refusal(None, "no key", for_all=False, unfit="key")
    for _ in range(POLICY.failures):  # a breaker tells when it closes
        outcome = Outcome.of(Kind.FAILED, "down")
        at.learn(at.take(A, first, NEED, NOW), outcome, NO_TOKENS, NOW)
    walk = Walk(on, NEED, at, barred={first: no_key, second: no_key})
    assert attempt(walk, at, Outcome.of(Kind.REJECTED, "no")) == last
    assert walk.skipped == {first: no_key, second: no_key}
    assert walk.next(NOW) is None
    assert walk.next(NOW, bold=True) is None
    assert walk.soonest(NOW) is None
    assert walk.doubtful(NOW) is None
    assert Walk(on, NEED, at).soonest(NOW) == NOW + POLICY.seconds
