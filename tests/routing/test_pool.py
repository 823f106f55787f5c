from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.chain import Credential, Entry, Provider, Strategy, Target
from chain429.routing.pool import Pool


def entry(strategy: Strategy, *credentials: Credential) -> Entry:
    return Entry.of(Provider("groq", credentials, strategy), "m1")


def keys(count: int) -> list[Credential]:
    return [Credential(f"k{number}", f"a{number}") for number in range(1, count + 1)]


def pick(pool: Pool, at: Entry, *without: str, keep: bool = False) -> str:
    """The credential whose turn it is, taken, and given back at once unless told to ``keep`` it."""
    target = pool.first(at.provider, [target for target in at.targets if target.credential not in without])
    pool.taken(at.provider, target)
    if not keep:
        pool.done(target)
    return target.credential


def picks(pool: Pool, at: Entry, count: int, *without: str, keep: bool = False) -> list[str]:
    return [pick(pool, at, *without, keep=keep) for _ in range(count)]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_choosing_changes_nothing_and_one_key_is_always_first(strategy: Strategy) -> None:
    pool, at = Pool(), entry(strategy, *keys(3))
    assert len({pool.first(at.provider, at.targets) for _ in range(5)}) == 1
    for target in at.targets:
        assert pool.first(at.provider, [target]) == target


def test_least_loaded_takes_whoever_has_the_least_under_way() -> None:
    pool, at = Pool(), entry(Strategy.LEAST_LOADED, *keys(3))
    assert picks(pool, at, 4, keep=True) == ["k1", "k2", "k3", "k1"]
    pool.done(at.targets[1])
    assert pick(pool, at) == "k2"


def test_least_loaded_takes_turns_among_equals() -> None:
    pool, at = Pool(), entry(Strategy.LEAST_LOADED, *keys(3))
    assert picks(pool, at, 6) == ["k1", "k2", "k3"] * 2


def test_least_loaded_counts_by_weight() -> None:
    pool, at = Pool(), entry(Strategy.LEAST_LOADED, Credential("big", "a", weight=3), Credential("small", "b"))
    assert Counter(picks(pool, at, 40, keep=True)) == {"big": 30, "small": 10}


def test_round_robin_takes_turns_whatever_is_under_way() -> None:
    pool, at = Pool(), entry(Strategy.ROUND_ROBIN, *keys(3))
    assert picks(pool, at, 7, keep=True) == ["k1", "k2", "k3"] * 2 + ["k1"]
    assert picks(pool, at, 2, "k2") == ["k3", "k1"]
    assert picks(pool, at, 3) == ["k2", "k3", "k1"]


def test_priority_takes_the_lowest_number_while_it_can() -> None:
    pool, at = Pool(), entry(
        Strategy.PRIORITY,
        Credential("last", "a", priority=9),
        Credential("first", "b", priority=1),
        Credential("equal", "c", priority=1),
    )  # fmt: skip
    assert picks(pool, at, 4, keep=True) == ["first", "equal"] * 2
    assert picks(pool, at, 2, "first") == ["equal"] * 2
    assert picks(pool, at, 2, "first", "equal") == ["last"] * 2


def test_weighted_takes_by_weight() -> None:
    pool, at = Pool(), entry(Strategy.WEIGHTED, Credential("big", "a", weight=3), Credential("small", "b"))
    assert Counter(picks(pool, at, 40)) == {"big": 30, "small": 10}


@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=6),
    st.integers(1, 200),
)
def test_weighted_approaches_the_weights(weights: list[float], count: int) -> None:
    credentials = [Credential(f"k{number}", f"a{number}", weight=weight) for number, weight in enumerate(weights)]
    pool, at = Pool(), entry(Strategy.WEIGHTED, *credentials)
    taken = Counter(picks(pool, at, count))
    for credential in credentials:
        due = count * credential.weight / math.fsum(weights)
        # Start-time fair queueing: a key leads by its own next turn at the most, and lags by one turn of each other.
        assert due - len(weights) <= taken[credential.id] <= due + len(weights), credential


def test_weighted_does_not_make_up_for_a_key_that_was_away() -> None:
    pool, at = Pool(), entry(Strategy.WEIGHTED, *keys(2))
    picks(pool, at, 100, "k1")
    assert Counter(picks(pool, at, 20)) == {"k1": 10, "k2": 10}


def test_weighted_counts_all_models_of_a_key_together() -> None:
    provider = Provider("groq", tuple(keys(2)), Strategy.WEIGHTED)
    pool, one, two = Pool(), Entry.of(provider, "m1"), Entry.of(provider, "m2")
    assert [pick(pool, one), pick(pool, two), pick(pool, one), pick(pool, two)] == ["k1", "k2"] * 2


@given(
    st.sampled_from(list(Strategy)),
    st.lists(st.tuples(st.booleans(), st.integers(0, 10), st.sets(st.sampled_from(["k1", "k2"]))), max_size=40),
)
def test_no_key_is_chosen_that_is_not_offered(strategy: Strategy, script: list[tuple[bool, int, set[str]]]) -> None:
    pool, at = Pool(), entry(strategy, *keys(3))
    under_way: list[Target] = []
    for take, number, without in script:
        if take:
            offered = [target for target in at.targets if target.credential not in without]
            chosen = pool.first(at.provider, offered)
            assert chosen in offered
            pool.taken(at.provider, chosen)
            under_way.append(chosen)
        elif under_way:
            pool.done(under_way.pop(number % len(under_way)))


def test_in_a_tier_the_least_busy_comes_first_and_equals_take_turns() -> None:
    tier = [Entry.of(Provider(name, (Credential(name, name),)), "m1") for name in ("a", "b", "c")]
    pool = Pool()
    order = []
    for _ in range(4):
        first = min(tier, key=pool.busy)
        order.append(first.name)
        pool.taken(first.provider, first.targets[0])
    assert order == ["a/m1", "b/m1", "c/m1", "a/m1"]
    assert [at.name for at in sorted(tier, key=pool.busy)] == ["b/m1", "c/m1", "a/m1"]
    pool.done(tier[2].targets[0])
    assert min(tier, key=pool.busy).name == "c/m1"


def test_names_without_end_are_forgotten_but_not_what_is_under_way() -> None:
    provider = Provider("groq", tuple(keys(1)))
    pool, busy = Pool(), Entry.of(provider, "busy")
    pool.taken(provider, busy.targets[0])
    for number in range(10_001):
        made_up = Entry.of(provider, f"made-up-{number}")
        pool.taken(provider, made_up.targets[0])
        pool.done(made_up.targets[0])
    # Of those that are forgotten none is known to have been taken before the other.
    tier = [busy, *(Entry.of(provider, name) for name in ("made-up-9998", "made-up-0"))]
    assert [at.model for at in sorted(tier, key=pool.busy)] == ["made-up-9998", "made-up-0", "busy"]
    pool.done(busy.targets[0])
