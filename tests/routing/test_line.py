from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.breaker import BreakerPolicy
from chain429.routing.chain import Chain, Credential, Entry, Limit, Provider, Target
from chain429.routing.ledger import Ledger
from chain429.routing.limits import Lease, Need
from chain429.routing.line import Grant, Line, Waiter
from chain429.routing.outcome import SERVED, Kind, Outcome
from chain429.routing.walk import Walk
from chain429.routing.window import Window

NOW = 1_800_000_000.0
POLICY = BreakerPolicy()
NEED = Need(size=400)
NO_TOKENS = (None, None)


def provider(name: str, amount: float, window: Window | None) -> Provider:
    return Provider(name, (Credential(f"{name}/k1", f"{name}:k1", limits=(Limit("requests", window, amount),)),))


@dataclass
class World:
    """A line before two providers: ``a`` takes two a minute, ``b`` one at a time."""

    a: Provider = field(default_factory=lambda: provider("a", 2, Window.MINUTE))
    b: Provider = field(default_factory=lambda: provider("b", 1, None))
    woken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(POLICY)
        self.ledger.configure(POLICY, [self.a, self.b])
        self.line = Line(self.ledger)

    def walk(self, *providers: Provider) -> Walk:
        return Walk(Chain("c", tuple((Entry.of(one, "m1"),) for one in providers)), NEED, self.ledger)

    def join(self, name: str, *providers: Provider, soonest: float = NOW) -> Waiter:
        waiter = Waiter(self.walk(*providers), lambda: self.woken.append(name), soonest)
        self.line.join(waiter)
        return waiter

    def fill(self, one: Provider, now: float = NOW) -> list[Lease]:
        """Use up all that there is."""
        leases = []
        while grant := self.line.take(self.walk(one), now):
            leases.append(grant.lease)
        return leases


def test_whoever_came_first_is_served_first() -> None:
    world = World()
    waiters = [world.join(name, world.a) for name in ("first", "second", "third")]
    world.line.serve(NOW)
    assert world.woken == ["first", "second"]
    assert [waiter.grant is not None for waiter in waiters] == [True, True, False]
    assert waiters[2].soonest == NOW + 61
    world.line.serve(NOW + 59)
    assert len(world.woken) == 2
    world.line.serve(NOW + 61)
    assert world.woken == ["first", "second", "third"]


def test_a_grant_is_a_target_and_its_lease() -> None:
    world = World()
    waiter = world.join("first", world.a)
    world.line.serve(NOW)
    assert waiter.grant
    assert waiter.grant.provider is world.a
    assert waiter.grant.target == waiter.grant.lease.target == Target("a", "m1", "a/k1", "a:k1", "m1")


def test_one_slot_that_frees_wakes_one() -> None:
    world = World()
    (lease,) = world.fill(world.b)
    for number in range(50):
        world.join(f"{number}", world.b, soonest=NOW + 1)
    world.line.serve(NOW, freed=True)
    assert world.woken == []
    world.ledger.learn(lease, SERVED, NO_TOKENS, NOW)
    world.line.serve(NOW, freed=True)
    assert world.woken == ["0"]
    world.line.serve(NOW, freed=True)
    assert world.woken == ["0"]


def test_nobody_is_asked_before_its_time_unless_something_freed() -> None:
    world = World()
    waiter = world.join("first", world.a, soonest=NOW + 30)
    world.line.serve(NOW + 29)
    assert waiter.grant is None
    world.line.serve(NOW + 29, freed=True)
    assert waiter.grant is not None


def test_who_can_use_another_target_need_not_wait_for_the_first() -> None:
    world = World()
    world.fill(world.a)
    world.join("first", world.a)
    world.join("second", world.a, world.b)
    world.line.serve(NOW)
    assert world.woken == ["second"]


def test_a_grant_that_is_given_back_goes_to_the_next() -> None:
    world = World()
    first, second = world.join("first", world.b), world.join("second", world.b)
    world.line.serve(NOW)
    assert first.grant
    assert second.grant is None
    world.line.leave(first)
    world.ledger.give_back(first.grant.lease, NOW)
    world.line.serve(NOW, freed=True)
    assert world.woken == ["first", "second"]


def test_whoever_leaves_is_served_no_more() -> None:
    world = World()
    first, second = world.join("first", world.b), world.join("second", world.b)
    world.line.leave(first)
    world.line.serve(NOW)
    assert (first.grant, len(world.line), bool(world.line)) == (None, 1, True)
    world.line.leave(second)
    assert not world.line


def test_a_full_line_says_so() -> None:
    world = World()
    waiters = [world.join("one", world.b) for _ in range(499)]
    assert not world.line.full
    waiters.append(world.join("last", world.b))
    assert world.line.full
    world.line.leave(waiters[0])
    assert not world.line.full


def test_where_nothing_will_ever_free_there_is_no_time_to_wait_for() -> None:
    world = World()
    world.fill(world.a)
    waiter = world.join("first", world.a)
    # While it waits, its only target turns out to be too small for such a request.
    lease = world.ledger.take(world.b, Entry.of(world.b, "m1").targets[0], NEED, NOW)
    world.ledger.learn(lease, Outcome.of(Kind.TOO_LARGE, "!"), NO_TOKENS, NOW)
    other = world.join("second", world.b)
    world.line.serve(NOW)
    assert (waiter.soonest, other.soonest) == (NOW + 61, math.inf)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["join", "join", "end", "leave", "wait"]), st.integers(0, 30)), max_size=60),
)
def test_slots_go_out_in_order_and_never_more_than_there_are(slots: int, script: list[tuple[str, int]]) -> None:
    world = World(b=provider("b", slots, None))
    now, joined = NOW, 0
    waiting: list[Waiter] = []
    under_way: list[Grant] = []
    for what, number in script:
        if what == "join":
            waiting.append(world.join(f"{joined}", world.b, soonest=now))
            joined += 1
        elif what == "wait":
            now += number
        elif what == "leave" and waiting:
            world.line.leave(waiting.pop(number % len(waiting)))
        elif what == "end" and under_way:
            world.ledger.learn(under_way.pop(number % len(under_way)).lease, SERVED, NO_TOKENS, now)
        world.line.serve(now, freed=True)
        for waiter in [waiter for waiter in waiting if waiter.grant]:
            waiting.remove(waiter)
            world.line.leave(waiter)
            assert waiter.grant
            under_way.append(waiter.grant)
        assert len(under_way) <= slots
        assert len(under_way) == slots or not waiting
    assert world.woken == sorted(world.woken, key=int)
    for grant in under_way:
        world.ledger.give_back(grant.lease, now)
    assert world.ledger.leased() == 0
