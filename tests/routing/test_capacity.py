"""What is left for a chain, as its headers tell it."""

from __future__ import annotations

from chain429.routing.breaker import BreakerPolicy
from chain429.routing.capacity import Capacities
from chain429.routing.chain import Chain, Credential, Entry, Limit, Provider
from chain429.routing.headers import Metric
from chain429.routing.ledger import Ledger
from chain429.routing.limits import Need
from chain429.routing.outcome import SERVED, Kind, Outcome
from chain429.routing.window import Window

NOW = 1_800_000_000.0
POLICY = BreakerPolicy()


def provider(name: str, *accounts: str, shared: tuple[str, ...] = (), **limits: float) -> Provider:
    """With a key of each account, the same limits for each: ``rpm``, ``rpd``, ``tpm``."""
    kinds: dict[str, tuple[Metric, Window]] = {
        "rpm": ("requests", Window.MINUTE),
        "rpd": ("requests", Window.DAY),
        "tpm": ("tokens", Window.MINUTE),
    }
    configured = tuple(Limit(*kinds[kind], size) for kind, size in limits.items())
    keys = enumerate(accounts or (name,))
    return Provider(name, tuple(Credential(f"{name}/{n}", key, limits=configured) for n, key in keys), shared=shared)


class World:
    def __init__(self, *entries: Entry) -> None:
        self.ledger = Ledger(POLICY)
        self.ledger.configure(POLICY, {entry.provider.id: entry.provider for entry in entries}.values())
        self.chain = Chain("default", tuple((entry,) for entry in entries))
        self.capacities = Capacities(self.ledger)

    def call(self, entry: Entry, outcome: Outcome = SERVED, at: float = NOW, times: int = 1, key: int = 0) -> None:
        for _ in range(times):
            lease = self.ledger.take(entry.provider, entry.targets[key], Need(size=400), at)
            self.ledger.learn(lease, outcome, (60, 40), at)

    def headers(self, at: float = NOW, *, exact: bool = True) -> dict[str, str]:
        found = self.capacities.headers(self.chain, at, exact=exact)
        return {name.removeprefix("x-chain429-"): value for name, value in found.items()}


def test_where_nothing_is_known_nothing_is_said() -> None:
    entry = Entry.of(provider("a"), "m")
    world = World(entry)
    assert world.headers() == {}
    world.call(entry)
    assert world.headers() == {}


def test_the_scarcest_limit_of_each_target_counts_and_they_add_up() -> None:
    a, b = Entry.of(provider("a", rpm=30, rpd=5), "m"), Entry.of(provider("b", rpm=10, tpm=8000), "m")
    world = World(a, b)
    world.call(a, times=2)
    world.call(b, at=NOW + 4)
    # Of tokens, b's are known: there are as many at least.
    assert world.headers(NOW + 5.5) == {
        "remaining-requests": "12",
        "reset-requests": "60",  # b's: a's scarcest limit is that of the day
        "remaining-tokens": "7900",
        "reset-tokens": "60",
    }


def test_where_nothing_is_used_there_is_no_time_at_which_more_is_there() -> None:
    a = Entry.of(provider("a", rpm=30), "m")
    world = World(a)
    world.ledger.give_back(world.ledger.take(a.provider, a.targets[0], Need(), NOW), NOW)
    assert world.headers() == {"remaining-requests": "30"}


def test_what_targets_share_is_counted_once() -> None:
    shared = provider("a", "mine", "mine", shared=("*:free",), rpm=20)
    one, other = Entry.of(shared, "x:free"), Entry.of(shared, "y:free")
    world = World(one, other)
    world.call(one, times=3)
    assert world.headers()["remaining-requests"] == "17"
    # One of the keys is refused: through the other the account's quota is there as before.
    world.call(one, Outcome.of(Kind.UNAUTHORIZED, "no"), key=0)
    assert world.headers()["remaining-requests"] == "17"
    world.call(one, Outcome.of(Kind.UNAUTHORIZED, "no"), key=1)
    assert world.headers()["remaining-requests"] == "0"


def test_a_target_that_is_benched_has_nothing_left_until_it_is_back() -> None:
    a, b = Entry.of(provider("a", rpm=30), "m"), Entry.of(provider("b", rpm=10), "m")
    world = World(a, b)
    world.call(a)
    world.call(b, Outcome.of(Kind.BUSY, "busy", until=NOW + 7.5))
    assert world.headers() == {"remaining-requests": "29", "reset-requests": "8"}
    assert world.headers(NOW + 8) == {"remaining-requests": "39", "reset-requests": "53"}


def test_nothing_is_left_is_not_said_while_an_unknown_target_is_available() -> None:
    a, home = Entry.of(provider("a", rpm=2), "m"), Entry.of(provider("home"), "m")
    world = World(a, home)
    world.call(a, times=2)
    assert world.headers() == {}
    world.call(home, Outcome.of(Kind.BUSY, "busy", until=NOW + 3))
    assert world.headers() == {"remaining-requests": "0", "reset-requests": "61"}


def test_they_are_made_anew_once_a_second_at_most() -> None:
    a = Entry.of(provider("a", rpm=30), "m")
    world = World(a)
    world.call(a)
    assert world.headers(exact=False)["remaining-requests"] == "29"
    world.call(a)
    assert world.headers(NOW + 0.9, exact=False)["remaining-requests"] == "29"
    assert world.headers(NOW + 1, exact=False)["remaining-requests"] == "28"
    world.call(a)
    assert world.headers(NOW + 1)["remaining-requests"] == "27"
    assert world.headers(NOW + 1.5, exact=False)["remaining-requests"] == "27"


def test_a_clock_that_is_set_back_or_a_changed_chain_makes_them_anew() -> None:
    a = Entry.of(provider("a", rpm=30), "m")
    world = World(a)
    world.call(a)
    world.headers()
    world.call(a)
    assert world.headers(NOW - 0.01, exact=False)["remaining-requests"] == "28"
    world.call(a)
    world.capacities.forget()
    assert world.headers(NOW - 0.01, exact=False)["remaining-requests"] == "27"


def test_a_thousand_models_that_clients_name_are_forgotten_again() -> None:
    a = provider("a", rpm=30)
    world = World(Entry.of(a, "m"))
    for number in range(2500):
        world.capacities.headers(Chain(f"a/{number}", ((Entry.of(a, str(number)),),)), NOW)
    assert len(world.capacities) <= 1000
