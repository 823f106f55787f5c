from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.affinity import Affinity
from chain429.routing.breaker import BreakerPolicy
from chain429.routing.chain import Chain, Cost, Credential, Entry, Provider, Strategy, Target
from chain429.routing.ledger import Ledger
from chain429.routing.limits import Need
from chain429.routing.outcome import CONSEQUENCES, Kind, Outcome, Step
from chain429.routing.walk import Walk

NOW = 1_800_000_000.0
MINUTE, HOUR = 60.0, 3600.0
NEED = Need(tokens=100, size=400)
KEY = -1


def provider(name: str, cost: Cost, strategy: Strategy = Strategy.LEAST_LOADED) -> Provider:
    keys = (Credential(f"{name}{number}", f"{name}:{number}", number) for number in (1, 2))
    return Provider(name, tuple(keys), strategy, cost=cost)


# Two free providers, one whose keys stand in an order, one with credit, one that costs.
PROVIDERS = {
    one.id: one
    for one in (
        provider("a", Cost.FREE),
        provider("b", Cost.FREE),
        provider("o", Cost.FREE, Strategy.PRIORITY),
        provider("t", Cost.TRIAL),
        provider("p", Cost.PAID),
    )
}


def chain(*tiers: str, name: str = "test") -> Chain:
    """Tiers of providers: ``ab`` are of equal rank."""
    return Chain(name, tuple(tuple(Entry.of(PROVIDERS[one], "m") for one in tier) for tier in tiers))


def target(credential: str) -> Target:
    entry = Entry.of(PROVIDERS[credential[0]], "m")
    return next(one for one in entry.targets if one.credential == credential)


def ledger(*, benched: str = "") -> Ledger:
    """With these credentials benched for a day."""
    at = Ledger(BreakerPolicy())
    at.configure(BreakerPolicy(), PROVIDERS.values())
    for credential in benched.split():
        bench(at, target(credential), Outcome.of(Kind.QUOTA_SPENT, "spent", until=NOW + 24 * HOUR))
    return at


def bench(at: Ledger, one: Target, outcome: Outcome) -> None:
    at.learn(at.take(PROVIDERS[one.provider], one, NEED, NOW), outcome, (None, None), NOW)


def served(on: Chain, credential: str, *, idle: float = 0.0, there: float | None = None) -> Affinity:
    """A conversation whose last turn was so many seconds ago at ``credential``, where it has been since ``there``."""
    affinity = Affinity()
    moments = [] if there is None else [NOW - there, *(NOW - there + 200 * step for step in range(1, 100))]
    for moment in (*(one for one in moments if one < NOW - idle), NOW - idle):
        affinity.remember(on, KEY, target(credential), moment, begun=True)
    return affinity


def chosen(on: Chain, affinity: Affinity, at: Ledger | None = None) -> str:
    choice = Walk(on, NEED, at or ledger(), affinity.home(on, KEY, NOW)).next(NOW)
    assert choice
    assert choice[0].id == choice[1].provider
    return choice[1].credential


# Where a conversation goes on.


@pytest.mark.parametrize(
    ("tiers", "last", "idle", "goes"),
    [
        # Among the keys of one model, and within a tier.
        ("a", "a2", 0, "a2"),
        ("ab", "b2", 0, "b2"),
        ("ab", "b2", HOUR - 1, "b2"),
        ("ab", "b2", HOUR, "a1"),
        ("b a", "a2", -1, "b1"),
        # From a lower tier, for five minutes.
        ("b a", "a2", 299, "a2"),
        ("b a", "a2", 300, "b1"),
        # What costs nothing goes first, but among what costs the same it is the cache that counts.
        ("a p", "p2", 0, "a1"),
        ("a t", "t2", 0, "a1"),
        ("t p", "p2", 0, "t1"),
        ("p t", "t2", 0, "t2"),
        ("p a", "a2", 0, "a2"),
        ("p p", "p2", 0, "p2"),
        ("p a t", "t2", 0, "p1"),
        # What the user has put into one tier is of equal rank.
        ("pa", "p2", 0, "p2"),
        # Keys in an order keep it.
        ("o", "o2", 0, "o1"),
        ("a o", "o1", 0, "o1"),
        # What is not in the chain is as good as not known.
        ("a", "b1", 0, "a1"),
    ],
)
def test_where_a_conversation_goes_on(tiers: str, last: str, idle: float, goes: str) -> None:
    on = chain(*tiers.split())
    assert chosen(on, served(on, last, idle=idle)) == goes


@pytest.mark.parametrize(
    ("tiers", "last", "benched", "goes"),
    [
        ("a b", "a2", "a2", "a1"),
        ("a b", "a2", "a1 a2", "b1"),
        ("a b", "b2", "a1 a2", "b2"),
        ("a p", "p2", "a1 a2", "p2"),
        ("p a t", "t2", "a1 a2", "t2"),
        ("pa", "p2", "a1 a2", "p2"),
        ("o", "o2", "o1", "o2"),
    ],
)
def test_only_what_is_available_is_kept_to_and_only_what_is_available_goes_before_it(
    tiers: str, last: str, benched: str, goes: str
) -> None:
    on = chain(*tiers.split())
    assert chosen(on, served(on, last), ledger(benched=benched)) == goes


@pytest.mark.parametrize(("there", "goes"), [(HOUR - 1, "a1"), (HOUR, "b1"), (3 * HOUR, "b1")])
def test_no_conversation_stays_below_for_longer_than_an_hour(there: float, goes: str) -> None:
    on = chain("b", "a")
    affinity = served(on, "a1", there=there)
    assert chosen(on, affinity) == goes
    assert chosen(on, affinity, ledger(benched="b1 b2")) == "a1"


def test_a_conversation_that_moves_has_its_hour_there_anew() -> None:
    on = chain("b", "a")
    affinity = served(on, "b1", there=2 * HOUR)
    affinity.remember(on, KEY, target("a2"), NOW, begun=True)
    assert chosen(on, affinity) == "a2"


def test_one_that_was_away_for_an_hour_begins_anew() -> None:
    on = chain("b", "a")
    affinity = Affinity()
    affinity.remember(on, KEY, target("a2"), NOW - HOUR, begun=True)
    affinity.remember(on, KEY, target("a2"), NOW, begun=True)
    assert chosen(on, affinity) == "a2"


def test_a_failure_at_home_goes_down_the_chain_and_a_wait_brings_it_back() -> None:
    on, at = chain("b", "a"), ledger()
    walk = Walk(on, NEED, at, served(on, "a2").home(on, KEY, NOW))
    order = []
    while choice := walk.next(NOW):
        outcome = Outcome.of(Kind.RATE_LIMITED, "!", until=NOW + 5)
        bench(at, choice[1], outcome)
        walk.after(choice[1], outcome)
        order.append(choice[1].credential)
    assert order == ["a2", "b1", "b2", "a1"]
    walk.again()
    assert walk.next(NOW) is None
    choice = walk.next(NOW + 5)
    assert choice
    assert choice[1].credential == "a2"


def test_a_home_that_comes_back_during_the_walk_is_gone_to_and_is_not_among_what_was_passed_over() -> None:
    on, at = chain("b", "a"), ledger()
    bench(at, target("a2"), Outcome.of(Kind.RATE_LIMITED, "!", until=NOW + 5))
    walk = Walk(on, NEED, at, served(on, "a2").home(on, KEY, NOW))
    choice = walk.next(NOW)
    assert choice
    assert choice[1].credential == "b1"
    assert list(walk.skipped) == [target("a2")]
    walk.after(choice[1], Outcome.of(Kind.RATE_LIMITED, "!"))
    choice = walk.next(NOW + 5)
    assert choice
    assert choice[1].credential == "a2"
    assert not walk.skipped


def test_a_failure_of_the_whole_provider_leaves_no_home() -> None:
    on, at = chain("b", "a"), ledger()
    walk = Walk(on, NEED, at, served(on, "a2").home(on, KEY, NOW))
    choice = walk.next(NOW)
    assert choice
    walk.after(choice[1], Outcome.of(Kind.FAILED, "!", step=Step.PROVIDER))
    choice = walk.next(NOW)
    assert choice
    assert choice[1].credential == "b1"


# What is remembered.


def test_the_last_one_that_served_counts() -> None:
    on, affinity = chain("ab"), Affinity()
    for credential in ("a1", "b2", "a2"):
        affinity.remember(on, KEY, target(credential), NOW, begun=True)
    assert chosen(on, affinity) == "a2"


@pytest.mark.parametrize(("idle", "goes"), [(299, "a2"), (300, "b2")])
def test_a_request_without_history_does_not_move_a_conversation_that_is_under_way(idle: float, goes: str) -> None:
    on = chain("ab")
    affinity = served(on, "a2", idle=idle)
    affinity.remember(on, KEY, target("b2"), NOW, begun=False)
    assert chosen(on, affinity) == goes


def test_chains_and_conversations_do_not_share() -> None:
    on, other = chain("ab"), chain("ab", name="other")
    affinity = served(on, "b2")
    assert affinity.home(other, KEY, NOW) is None
    assert affinity.home(on, -2, NOW) is None


def test_a_new_configuration_keeps_what_is_still_in_the_chain() -> None:
    affinity = served(chain("a", "b"), "b2")
    assert chosen(chain("b", "a"), affinity) == "b2"
    assert chosen(chain("a"), affinity) == "a1"


def test_what_was_used_longest_ago_makes_room() -> None:
    on, affinity = chain("a"), Affinity()
    affinity.remember(on, -3, target("a2"), NOW, begun=True)
    for number in range(9_999):
        affinity.remember(on, number, target("a1"), NOW, begun=True)
    affinity.remember(on, -3, target("a2"), NOW, begun=True)
    affinity.remember(on, -4, target("a1"), NOW, begun=True)
    assert len(affinity) == 10_000
    assert affinity.home(on, -3, NOW)
    assert affinity.home(on, 0, NOW) is None
    assert affinity.home(on, 1, NOW)


def test_what_is_cold_is_forgotten() -> None:
    on, affinity = chain("a"), Affinity()
    for number in range(100):
        affinity.remember(on, number, target("a1"), NOW + number, begun=True)
    affinity.remember(on, KEY, target("a1"), NOW + HOUR + 49, begun=True)
    assert len(affinity) == 51


# The laws.


tiers = st.lists(st.lists(st.sampled_from(sorted(PROVIDERS)), min_size=1, max_size=3).map("".join), max_size=4)
chains = tiers.filter(bool).map(lambda names: chain(*names))
targets = st.sampled_from([one for known in PROVIDERS.values() for one in Entry.of(known, "m").targets])
outcomes = st.builds(
    lambda kind, seconds: Outcome.of(kind, "!", until=NOW + seconds),
    st.sampled_from([kind for kind in Kind if CONSEQUENCES[kind].step is not Step.END]),
    st.floats(0, 100),
)


def ranked(on: Chain, one: Target) -> tuple[int, Cost]:
    """The tier in which a target stands first, and what it costs."""
    return next((number, entry.cost) for number, tier in enumerate(on.tiers) for entry in tier if one in entry.targets)


@given(
    chains,
    targets,
    st.floats(0, 2 * HOUR),
    st.floats(0, 3 * HOUR),
    st.lists(st.tuples(targets, outcomes), max_size=8),
    st.lists(outcomes, min_size=1, max_size=8),
)
def test_a_home_changes_the_order_of_what_is_available_and_nothing_else(
    on: Chain,
    last: Target,
    idle: float,
    there: float,
    past: list[tuple[Target, Outcome]],
    script: list[Outcome],
) -> None:
    at = ledger()
    for one, outcome in past:
        bench(at, one, outcome)
    affinity = served(on, last.credential, idle=idle, there=there)
    home = affinity.home(on, KEY, NOW)
    walk, usual = Walk(on, NEED, at, home), Walk(on, NEED, at)
    for outcome in script:
        choice, plain = walk.next(NOW), usual.next(NOW)
        assert (choice is None) == (plain is None), "whether a request is served does not depend on it"
        if choice is None or plain is None:
            return
        one, without = choice[1], plain[1]
        assert one in on.targets
        assert at.refusal(one, NEED, NOW) is None
        assert one not in walk.skipped
        if one != without:
            assert home
            assert one == home.target == last
            assert idle < HOUR
            (tier, cost), (first, least) = ranked(on, one), ranked(on, without)
            assert tier <= first or (cost <= least and idle < 5 * MINUTE and there < HOUR)
        bench(at, one, outcome)
        for each in (walk, usual):
            each.after(one, outcome)


@given(
    st.lists(st.tuples(st.integers(0, 30), targets, st.floats(-10, 2 * HOUR), st.booleans()), min_size=1, max_size=60)
)
def test_whatever_happens_memory_is_bounded_and_a_home_is_where_it_was_served(
    script: list[tuple[int, Target, float, bool]],
) -> None:
    on, affinity, now = chain("abotp"), Affinity(), NOW
    served_by: dict[int, set[Target]] = {}
    for key, one, wait, begun in script:
        now += wait
        affinity.remember(on, key, one, now, begun=begun)
        served_by.setdefault(key, set()).add(one)
        for known in served_by:
            home = affinity.home(on, known, now)
            assert home is None or home.target in served_by[known]
        assert affinity.home(on, key, now)
        assert len(affinity) <= len(served_by)


def test_nothing_is_held_beyond_the_bound() -> None:
    on, affinity = chain("a"), Affinity()
    for number in range(12_000):
        affinity.remember(on, number, target("a1"), NOW, begun=False)
    assert len(affinity) == 10_000
