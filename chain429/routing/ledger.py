"""Everything that is learned while running, behind one question: would a call to this target be wasted?

The ledger outlives a configuration: it is keyed by ids, and ``configure`` gives it a new one. All of it is memory; the
caller brings ``now`` and does the waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chain429.routing.breaker import Breaker, BreakerPolicy
from chain429.routing.chain import Chain, Entry, Provider, Target
from chain429.routing.cooldown import Cooldowns
from chain429.routing.headers import Reading
from chain429.routing.limits import Lease, Limits, Need
from chain429.routing.outcome import CONSEQUENCES, Kind, Outcome
from chain429.routing.pool import Pool
from chain429.routing.status import ChainStatus, TargetState, TargetStatus

_STATES: dict[Kind, TargetState] = {
    Kind.QUOTA_SPENT: "exhausted",
    Kind.UNAUTHORIZED: "refused",
    Kind.GONE: "gone",
}
# For so long it is remembered that a request of some size did not fit.
_CEILING_SECONDS = 3600.0
_MOST_CEILINGS = 10_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a target is passed over without a call, in plain words, and when it is back (Unix seconds, if known)."""

    state: TargetState | None
    reason: str
    until: float | None = None
    limited: bool = False  # whether a rate limit or a quota is the cause


class Ledger:
    """Limits, cooldowns, breakers and loads of every target."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._breakers: dict[str, Breaker] = {}
        self._limits = Limits()
        self._cooldowns = Cooldowns()
        self._pool = Pool()
        self._ceilings: dict[tuple[str, str], tuple[int, float]] = {}
        self._refused_params: dict[tuple[str, str], frozenset[str]] = {}

    def configure(self, policy: BreakerPolicy, providers: Iterable[Provider]) -> None:
        """Go on under a new configuration."""
        self._policy = policy
        for breaker in self._breakers.values():
            breaker.adopt(policy)
        self._limits.configure(key for provider in providers for key in provider.credentials)

    def breaker(self, provider: str) -> Breaker:
        return self._breakers.get(provider) or self._breakers.setdefault(provider, Breaker(self._policy))

    def refusal(self, target: Target, need: Need, now: float) -> Refusal | None:
        """Why a call to ``target`` would be wasted now, or None."""
        breaker = self.breaker(target.provider)
        if not breaker.admits(now):
            probing = breaker.state(now) == "half-open"
            words = "a probe is under way" if probing else "not called while its circuit is open"
            return Refusal("half-open" if probing else "open", f"{words}: {breaker.last_reason}", breaker.until)
        cooldown = self._cooldowns.of(target, now)
        if cooldown:
            limited = cooldown.kind in (Kind.RATE_LIMITED, Kind.QUOTA_SPENT, Kind.BUSY)
            state = _STATES.get(cooldown.kind, "cooling")
            return Refusal(state, cooldown.reason, cooldown.until, limited)
        shortage = self._limits.shortage(target, need, now)
        if shortage:
            return Refusal("exhausted", shortage.reason, shortage.until, limited=True)
        ceiling = self._ceilings.get((target.provider, target.model))
        if ceiling and need.size >= ceiling[0] and 0 <= now - ceiling[1] < _CEILING_SECONDS:
            return Refusal(None, f"a request of {ceiling[0]} bytes was too large for it")
        return None

    def take(self, provider: Provider, target: Target, need: Need, now: float) -> Lease:
        """A call goes out; every one is followed by exactly one ``learn``."""
        self.breaker(target.provider).start(now)
        self._pool.taken(provider, target)
        return self._limits.take(target, need, now)

    def observe(self, lease: Lease, readings: Iterable[Reading], now: float) -> None:
        """What the provider reported in an answer's headers."""
        self._limits.observe(lease.target, readings, lease, now)

    def learn(self, lease: Lease, outcome: Outcome, tokens: tuple[int | None, int | None], now: float) -> float | None:
        """What became of the call. Returns until when it benches the target, if it does."""
        target = lease.target
        self._pool.done(target)
        if outcome.kind in (Kind.SERVED, Kind.BROKEN, Kind.CANCELLED):
            self._limits.settle(lease, *tokens, now)
        else:
            self._limits.release(lease, now)
        breaker = self.breaker(target.provider)
        if outcome.kind is Kind.SERVED:
            breaker.succeeded()
            self._cooldowns.clear(target)
        elif CONSEQUENCES[outcome.kind].trips:
            breaker.failed(now, outcome.reason)
            return breaker.until
        elif outcome.kind is Kind.CANCELLED:
            breaker.undecided()
        else:
            # Whoever answers, even with a refusal, is reachable.
            breaker.succeeded()
        if outcome.kind is Kind.TOO_LARGE:
            self._remember_size(target, lease.need.size, now)
        cooldown = self._cooldowns.bench(target, outcome, now)
        return cooldown.until if cooldown else None

    def _remember_size(self, target: Target, size: int, now: float) -> None:
        if len(self._ceilings) >= _MOST_CEILINGS:
            self._ceilings.clear()
        self._ceilings[target.provider, target.model] = (size, now)

    def refuses_param(self, target: Target, name: str) -> None:
        """The model at this provider does not take the parameter: do not send it again."""
        key = (target.provider, target.model)
        if len(self._refused_params) < _MOST_CEILINGS:
            self._refused_params[key] = self._refused_params.get(key, frozenset()) | {name}

    def refused_params(self, target: Target) -> frozenset[str]:
        return self._refused_params.get((target.provider, target.model), frozenset())

    def clear(self, target: Target) -> None:
        """A user says that the target is fine: forget what speaks against it."""
        self._cooldowns.clear(target)
        self._limits.clear(target)
        self.breaker(target.provider).succeeded()
        self._ceilings.pop((target.provider, target.model), None)

    def order_tier(self, tier: Sequence[Entry]) -> Sequence[Entry]:
        return self._pool.order_tier(tier)

    def order(self, entry: Entry) -> Sequence[Target]:
        return self._pool.order(entry.provider, entry.targets)

    def leased(self) -> float:
        """All that is held by leases; zero when nothing is under way."""
        return sum(self._limits.in_flight())

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
        refusal = self.refusal(target, Need(), now)
        if refusal is None or refusal.state is None:
            return TargetStatus(target.provider, target.model, target.credential, "available", "", None)
        return TargetStatus(
            target.provider, target.model, target.credential, refusal.state, refusal.reason, refusal.until
        )
