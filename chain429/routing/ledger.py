"""Everything that is learned while running, behind one question: would a call to this target be wasted?

The ledger outlives a configuration: it is keyed by ids, and ``configure`` gives it a new one. All of it is memory; the
caller brings ``now`` and does the waiting.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from chain429.routing.breaker import Breaker, BreakerPolicy
from chain429.routing.bucket import Lesson, Room
from chain429.routing.chain import Chain, Entry, Provider, Strategy, Target, is_callers
from chain429.routing.cooldown import Cooldowns
from chain429.routing.estimate import Estimates
from chain429.routing.fit import excess, lack
from chain429.routing.headers import Metric, Reading
from chain429.routing.limits import Lease, Limits, Need
from chain429.routing.outcome import CONSEQUENCES, Kind, Outcome, Scope
from chain429.routing.pool import Pool
from chain429.routing.saved import Json, members, number, pairs
from chain429.routing.status import ChainStatus, TargetState, TargetStatus
from chain429.routing.window import Window

_STATES: dict[Kind, TargetState] = {
    Kind.QUOTA_SPENT: "exhausted",
    Kind.UNAUTHORIZED: "refused",
    Kind.GONE: "gone",
}
# For so long it is remembered that a request of some size did not fit.
_CEILING_SECONDS = 3600.0
# How old the headroom may be by which the entries of a tier are ordered, where nothing was learned meanwhile; and of
# how many tiers an order is kept.
_ORDER_SECONDS = 1.0
_MOST_ORDERS = 100
# Clients can name models at will, so what is remembered of them is bounded.
_MOST = 10_000
# Of what ``snapshot`` gives. It rises when what is saved takes on another meaning, not when something is added.
_FORMAT = 1
# Older than this, in seconds, nothing that is in a snapshot holds: it is the longest window that any provider has.
_OLDEST = Window.MONTH.seconds


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a target is passed over without a call, in plain words, and when it is back (Unix seconds, if known)."""

    state: TargetState | None
    reason: str
    until: float | None = None
    limited: bool = False  # whether a rate limit or a quota is the cause
    known_until: float = math.inf  # from then on it is only believed: a request that would fail otherwise may try
    for_all: bool = True  # whatever the request needs
    unfit: Literal["ability", "size", "key"] | None = None  # what makes the request one that it will never serve


@dataclass(frozen=True, slots=True)
class _Closed:
    targets: tuple[Target, ...]
    since: float
    until: float
    refusals: Mapping[Target, Refusal]


@dataclass(slots=True)
class _Order:
    """A tier's entries in the order for requests of one kind, as of ``since``; ``moved``: the providers of which
    something was learned after that. Of each entry: less is better, and its place in the tier."""

    tier: Sequence[Entry]
    kind: tuple[int, int | None]  # how many bits the request's number of bytes has, and what it allows to be made
    since: float
    ranks: list[tuple[float, int, int, int]]
    entries: Sequence[Entry]
    moved: set[str] = field(default_factory=set)


class Ledger:
    """Limits, cooldowns, breakers and loads of every target.

    ``changed``: something was learned since the last ``snapshot``.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self.changed = False
        self._policy = policy
        self._breakers: dict[str, Breaker] = {}
        self._limits = Limits()
        self._cooldowns = Cooldowns()
        self._pool = Pool()
        self._estimates = Estimates()
        self._ceilings: dict[tuple[str, str], tuple[int, float]] = {}
        self._refused_params: dict[tuple[str, str], frozenset[str]] = {}
        # Entries of which nothing is open to any request, by provider and model: since when that is known, until when
        # it holds, and why. Forgotten whenever anything is learned of the provider that can change it.
        self._closed: dict[str, dict[str, _Closed]] = {}
        # The order of each tier's entries, by the tier's identity.
        self._orders: dict[int, _Order] = {}

    def configure(self, policy: BreakerPolicy, providers: Iterable[Provider]) -> None:
        """Go on under a new configuration."""
        self._policy = policy
        for breaker in self._breakers.values():
            breaker.adopt(policy)
        known = list(providers)
        self._limits.configure(
            (key for provider in known for key in provider.credentials),
            {key.account: provider.provision for provider in known for key in provider.credentials},
        )
        self._closed.clear()
        self._orders.clear()

    def _moved(self, provider: str) -> None:
        """Something was learned of the provider: look anew."""
        self._closed.pop(provider, None)
        for order in self._orders.values():
            order.moved.add(provider)

    def breaker(self, provider: str) -> Breaker:
        return self._breakers.get(provider) or self._breakers.setdefault(provider, Breaker(self._policy))

    def refusals(self, entry: Entry, need: Need, now: float) -> Mapping[Target, Refusal]:
        """The targets of ``entry`` whose calls would be wasted now, and why."""
        lacking = lack(entry.capabilities, need.wants) if need.wants else None
        if lacking:
            return dict.fromkeys(entry.targets, Refusal(None, lacking, for_all=False, unfit="ability"))
        too_long = self._too_long(entry, need) if entry.capabilities.context is not None else None
        models = self._closed.get(entry.provider.id)
        closed = models.get(entry.model) if models else None
        if closed and not too_long and closed.since <= now < closed.until and closed.targets == entry.targets:
            return closed.refusals
        refusals: dict[Target, Refusal] = {}
        need = self._estimates.need(entry.model, need, up_front=entry.provider.up_front)
        until = math.inf
        for target in entry.targets:
            refusal = self._benched(target, now) or self._unfit(target, need, now)
            if too_long:
                # By an estimate only; and nothing frees that this request could wait for.
                known = refusal.known_until if refusal else 0.0
                refusal = Refusal(None, too_long, known_until=known, for_all=False, unfit="size")
            if refusal is not None:
                refusals[target] = refusal
            until = min(until, _closed_until(refusal))
        if until > now:
            if models is None:
                models = self._closed[entry.provider.id] = {}
            if len(models) >= _MOST:
                models.clear()
            models[entry.model] = _Closed(entry.targets, now, until, refusals)
        return refusals

    def refusal(self, target: Target, need: Need, now: float) -> Refusal | None:
        """Why a call to ``target`` would be wasted now, or None."""
        return self._benched(target, now) or self._unfit(target, need, now)

    def _too_long(self, entry: Entry, need: Need) -> str | None:
        """Why the request is too long for the model by estimate, in plain words."""
        context = entry.capabilities.context
        # No token has less than a byte, so most requests need no estimate.
        if context is None or need.size + (need.most or 0) <= context:
            return None
        need = self._estimates.need(entry.model, need, up_front=False)
        return excess(entry.capabilities, need.of("input_tokens"), need.most)

    def _benched(self, target: Target, now: float) -> Refusal | None:
        """Why no call at all may go to the target, as its provider's breaker or a cooldown says."""
        breaker = self.breaker(target.provider)
        if not breaker.admits(now):
            if breaker.state(now) == "open":
                return Refusal("open", f"not called while its circuit is open: {breaker.last_reason}", breaker.until)
            # Nothing tells when a probe ends.
            return Refusal("half-open", f"a probe is under way: {breaker.last_reason}", now + 1)
        cooldown = self._cooldowns.of(target, now)
        if cooldown is None:
            return None
        limited = cooldown.kind in (Kind.RATE_LIMITED, Kind.QUOTA_SPENT)
        state = _STATES.get(cooldown.kind, "cooling")
        return Refusal(state, cooldown.reason, cooldown.until, limited, cooldown.known_until)

    def _unfit(self, target: Target, need: Need, now: float) -> Refusal | None:
        """Why this request is not for the target: no room for it in a limit, or too large."""
        shortage = self._limits.shortage(target, need, now)
        if shortage:
            never = math.isinf(shortage.until)
            state: TargetState | None = None if shortage.estimated else "exhausted" if shortage.spent else "cooling"
            until = None if never else shortage.until
            unfit: Literal["size"] | None = "size" if never else None
            return Refusal(state, shortage.reason, until, not never, shortage.known_until, shortage.for_all, unfit)
        ceiling = self._ceilings.get(_whose(target)) if self._ceilings else None
        if ceiling and need.size >= ceiling[0] and 0 <= now - ceiling[1] < _CEILING_SECONDS:
            return Refusal(None, f"a request of {ceiling[0]} bytes was too large for it", for_all=False, unfit="size")
        return None

    def take(self, provider: Provider, target: Target, need: Need, now: float) -> Lease:
        """A call goes out; every one is followed by exactly one ``learn``."""
        self.changed = True
        for order in self._orders.values():
            order.moved.add(target.provider)
        need = self._estimates.need(target.model, need, up_front=provider.up_front)
        lease = self._limits.take(target, need, now, up_front=provider.up_front)
        self._cooldowns.tested(target, now)
        self.breaker(target.provider).start(lease, now)
        self._pool.taken(provider, target)
        return lease

    def give_back(self, lease: Lease, now: float) -> None:
        """The call was not made after all; instead of ``learn``."""
        self.changed = True
        self._pool.done(lease.target)
        self._limits.release(lease, now)
        self.breaker(lease.target.provider).undecided(lease)
        self._moved(lease.target.provider)

    def observe(self, lease: Lease, readings: Iterable[Reading], now: float) -> None:
        """What the provider reported in an answer's headers."""
        self.changed = True
        self._moved(lease.target.provider)
        self._limits.observe(lease.target, readings, lease, now)

    def answering(self, lease: Lease) -> None:
        """The call's answer has begun: a probe that goes on for minutes need not keep others away."""
        breaker = self.breaker(lease.target.provider)
        if breaker.until is not None:
            breaker.answering(lease)
            self.changed = True
            self._moved(lease.target.provider)

    def learn(self, lease: Lease, outcome: Outcome, tokens: tuple[int | None, int | None], now: float) -> float | None:
        """What became of the call. Returns until when it benches the target, if it does."""
        self.changed = True
        target = lease.target
        self._moved(target.provider)
        self._pool.done(target)
        if outcome.kind in (Kind.SERVED, Kind.BROKEN, Kind.CANCELLED):
            self._limits.settle(lease, *tokens, now)
        else:
            self._limits.release(lease, now)
        lesson = self._refused(lease, outcome, now)
        breaker = self.breaker(target.provider)
        if outcome.kind is Kind.SERVED:
            self._estimates.learn(target.model, lease.need.size, *tokens, lease.need.most)
            breaker.succeeded(lease)
            self._cooldowns.clear(target, before=lease.began)
            return None
        if CONSEQUENCES[outcome.kind].trips:
            breaker.failed(now, outcome.reason, lease)
            return breaker.until
        if outcome.kind in (Kind.CANCELLED, Kind.BUSY):
            breaker.undecided(lease)
        else:
            # Whoever gives a reasoned refusal is up.
            breaker.succeeded(lease)
        if outcome.kind is Kind.TOO_LARGE:
            self._remember_size(target, lease.need.size, now)
        if lesson is not None:
            return lesson.until
        cooldown = self._cooldowns.bench(target, outcome, now)
        return cooldown.until if cooldown else None

    def _refused(self, lease: Lease, outcome: Outcome, now: float) -> Lesson | None:
        """Learn which limit refused. Returns what that comes to, where no bench is needed besides."""
        hit = outcome.hit
        if hit is None and outcome.kind is not Kind.RATE_LIMITED:
            return None
        lesson = self._limits.refused(lease.target, hit, lease.need, outcome.until, now)
        tokens = hit is not None and hit.metric != "requests"
        if tokens and lesson.fitted and not (lease.up_front and lease.need.most is not None):
            self._estimates.too_low(lease.target.model)
        # Where tokens are short, a smaller request may fit; and of what our count foresaw, it knows the end.
        return lesson if outcome.scope is Scope.MODEL and (tokens or lesson.foreseen) else None

    def _remember_size(self, target: Target, size: int, now: float) -> None:
        if len(self._ceilings) >= _MOST:
            self._ceilings.clear()
        before = self._ceilings.get(_whose(target))
        if before and 0 <= now - before[1] < _CEILING_SECONDS:
            size = min(size, before[0])  # a larger one was under way when the smaller one did not fit
        self._ceilings[_whose(target)] = (size, now)

    def refuses_param(self, target: Target, name: str) -> None:
        """The model at this provider does not take the parameter: do not send it again."""
        self.changed = True
        key = (target.provider, target.model)
        if len(self._refused_params) >= _MOST and key not in self._refused_params:
            self._refused_params.clear()
        self._refused_params[key] = self._refused_params.get(key, frozenset()) | {name}

    def refused_params(self, target: Target) -> frozenset[str]:
        return self._refused_params.get((target.provider, target.model), frozenset())

    def clear(self, target: Target) -> None:
        """A user says that the target is fine: forget what speaks against it."""
        self.changed = True
        self._cooldowns.clear(target)
        self._limits.clear(target)
        self.breaker(target.provider).reset()
        self._closed.clear()
        self._orders.clear()
        self._ceilings.pop(_whose(target), None)

    def reset_breaker(self, provider: str) -> None:
        """A user says that the provider is well again."""
        self.changed = True
        self.breaker(provider).reset()
        self._closed.clear()
        self._orders.clear()

    def order_tier(self, tier: Sequence[Entry], need: Need, now: float) -> Sequence[Entry]:
        """The entries of one tier, the one with most headroom for this request first."""
        if len(tier) == 1:
            return tier
        kind, order = (need.size.bit_length(), need.most), self._orders.get(id(tier))
        if (
            order is None
            or order.tier is not tier
            or order.kind != kind
            or not 0 <= now - order.since < _ORDER_SECONDS
            or len(order.moved) > len(tier) // 4
        ):
            if len(self._orders) >= _MOST_ORDERS:
                self._orders.clear()
            order = self._orders[id(tier)] = _Order(tier, kind, now, [], ())
            ranks = [self._rank(entry, at, need, now) for at, entry in enumerate(tier)]
        elif order.moved:
            ranks = [
                rank
                if tier[rank[-1]].provider.id not in order.moved
                else self._rank(tier[rank[-1]], rank[-1], need, now)
                for rank in order.ranks
            ]
        else:
            return order.entries
        ranks.sort()
        order.moved.clear()
        order.ranks, order.entries = ranks, [tier[rank[-1]] for rank in ranks]
        return order.entries

    def _rank(self, entry: Entry, at: int, need: Need, now: float) -> tuple[float, int, int, int]:
        need = self._estimates.need(entry.model, need, up_front=entry.provider.up_front)
        room = max([self._limits.headroom(target, need, now) for target in entry.targets])
        # Rounded, so that the last request alone does not decide: among equals it goes round.
        return (-round(room, 1), *self._pool.busy(entry), at)

    def first(self, entry: Entry, targets: Sequence[Target], need: Need, now: float) -> Target:
        """Of some of an entry's targets, the one whose turn it is."""
        if len(targets) > 1 and entry.provider.strategy is Strategy.LEAST_LOADED:
            need = self._estimates.need(entry.model, need, up_front=entry.provider.up_front)
            room = {target: round(self._limits.headroom(target, need, now), 1) for target in targets}
            most = max(room.values())
            targets = [target for target in targets if room[target] == most]
        return self._pool.first(entry.provider, targets)

    def leased(self) -> float:
        """All that is held by leases; zero when nothing is under way."""
        return sum(self._limits.in_flight())

    def in_flight(self) -> dict[tuple[str, str], int]:
        """How many calls are under way, by provider and model; none where there are none."""
        return self._pool.in_flight()

    def status(self, chain: Chain, now: float) -> ChainStatus:
        """How each target of a chain stands."""
        return ChainStatus(
            chain.name,
            tuple(
                tuple(self._target_status(target, now) for entry in tier for target in entry.targets)
                for tier in chain.tiers
            ),
        )

    def _target_status(self, target: Target, now: float) -> TargetStatus:
        limits = self._limits.status(target, now)
        refusal = self.refusal(target, Need(), now)
        state: TargetState = "tracking" if any(limit.left is not None for limit in limits) else "available"
        reason, until = "", None
        if refusal is not None and refusal.state is not None:
            state, reason, until = refusal.state, refusal.reason, refusal.until
        elif self.breaker(target.provider).state(now) == "half-open":
            state, reason = "half-open", f"the next request tests it: {self.breaker(target.provider).last_reason}"
        return TargetStatus(target.provider, target.model, target.credential, state, reason, until, limits)

    def rooms(self, target: Target, now: float) -> Mapping[Metric, Room]:
        """What is left of the target's scarcest limit on each metric, whatever else speaks against the target."""
        return self._limits.rooms(target, now)

    def seen(self, target: Target) -> bool:
        """Whether it was ever called, or another that shares its limits."""
        return self._limits.seen(target)

    def forget(self, ids: Container[str]) -> None:
        """Forget all of these providers, credentials and accounts: what has these ids now is another than before."""
        self.changed = True
        self._limits.forget(ids)
        self._cooldowns.forget(ids)
        self._breakers = {key: breaker for key, breaker in self._breakers.items() if key not in ids}
        self._ceilings = {key: ceiling for key, ceiling in self._ceilings.items() if key[0] not in ids}
        self._refused_params = {key: names for key, names in self._refused_params.items() if key[0] not in ids}
        self._closed.clear()
        self._orders.clear()

    def snapshot(self, now: float) -> dict[str, Json]:
        """All that a restart must not forget, for ``restore``; a copy of its own, keyed by ids.

        Whose turn it is among equals is not in it, nor which calls are under way (see ``Bucket.saved``).
        """
        found: dict[str, Json] = {}
        for _ in self.save(found, now):
            pass
        return found

    def save(self, into: dict[str, Json], now: float) -> Iterator[None]:
        """``snapshot`` in steps of less than a millisecond, between which calls may go out and come back."""
        self.changed = False
        limits: dict[str, dict[str, Json]] = {}
        breakers = {provider: breaker.saved() for provider, breaker in self._breakers.items()}
        into |= {
            "format": _FORMAT,
            "at": now,
            "cooldowns": self._cooldowns.saved(now),
            "breakers": {provider: saved for provider, saved in breakers.items() if saved},
            "estimates": self._estimates.saved(),
            "ceilings": _by_provider(
                (key, [*ceiling])
                for key, ceiling in self._ceilings.items()
                if now - ceiling[1] < _CEILING_SECONDS and not is_callers(key[0])
            ),
            "refused_params": _by_provider((key, sorted(names)) for key, names in self._refused_params.items()),
            "limits": limits,
        }
        return self._limits.save(limits, now)

    def restore(self, snapshot: object, now: float) -> str | None:
        """Go on from a snapshot, as far as it is sound; once, after ``configure`` and before the first call.

        All times in it are Unix seconds, so what has ended meanwhile is gone by itself. Returns why nothing at all was
        taken from it, in plain words, or None.
        """
        saved = dict(members(snapshot))
        at = number(saved.get("at"))
        if saved.get("format") != _FORMAT or at is None:
            return "it was written by another version, or is damaged"
        if abs(now - at) > _OLDEST:
            return f"it was written {abs(now - at) / 86400:.0f} days {'ago' if at < now else 'ahead of the clock'}"
        self._limits.restore(saved.get("limits"), now)
        self._cooldowns.restore(saved.get("cooldowns"), now)
        self._estimates.restore(saved.get("estimates"))
        for provider, breaker in members(saved.get("breakers")):
            self.breaker(provider).restore(breaker)
        for provider, models in members(saved.get("ceilings")):
            for model, ceiling in members(models):
                for size, since in pairs(ceiling):
                    self._ceilings[provider, model] = (int(size), since)
        for provider, models in members(saved.get("refused_params")):
            for model, names in members(models):
                known = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
                self._refused_params[provider, model] = frozenset(known)
        self._closed.clear()
        self._orders.clear()
        return None


def _whose(target: Target) -> tuple[str, str]:
    """Of whose model it is said what fits: how much that is may depend on a caller's key, else it is the provider's."""
    return (target.account if is_callers(target.account) else target.provider, target.model)


def _closed_until(refusal: Refusal | None) -> float:
    """Until when a target is known not to be open to any request."""
    if refusal is None or refusal.until is None or not refusal.for_all:
        return 0.0
    return min(refusal.until, refusal.known_until)


def _by_provider(found: Iterable[tuple[tuple[str, str], Json]]) -> dict[str, dict[str, Json]]:
    providers: dict[str, dict[str, Json]] = {}
    for (provider, model), value in found:
        providers.setdefault(provider, {})[model] = value
    return providers
