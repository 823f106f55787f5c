"""One request's way down its chain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from chain429.routing.affinity import Home
from chain429.routing.chain import Chain, Entry, Provider, Target
from chain429.routing.ledger import Ledger, Refusal
from chain429.routing.limits import Need
from chain429.routing.outcome import Kind, Outcome, Step

# What may be over a moment later. Anything else ends a target, an entry or a provider for this request.
_PASSING = frozenset({Kind.RATE_LIMITED, Kind.BUSY, Kind.QUOTA_SPENT})

_NONE: Mapping[Target, Refusal] = MappingProxyType({})


class Walk:
    """One request's way down its chain.

    ``next`` gives the target to try, ``after`` says what became of it; what was passed over, and why, is in
    ``skipped``. ``again`` starts anew from the top after a wait. ``home`` is where the request's conversation was
    served last, if that is to be preferred; ``barred`` are targets that this request may not go to at all.
    """

    def __init__(
        self,
        chain: Chain,
        need: Need,
        ledger: Ledger,
        home: Home | None = None,
        barred: Mapping[Target, Refusal] = _NONE,
    ) -> None:
        self._chain = chain
        self._home = home
        self.need = need
        self._ledger = ledger
        self._barred = barred
        self._outcomes: dict[Target, Outcome] = {}
        self._tried: set[Target] = set()
        self._closed_entries: set[tuple[str, str]] = set()
        self._closed_providers: set[str] = set()
        self.skipped: dict[Target, Refusal] = {}

    def next(self, now: float, *, bold: bool = False) -> tuple[Provider, Target] | None:
        """The next target whose call would not be wasted, or None when there is none.

        ``bold``: also those of which it is only believed, not known, that it would be.
        """
        if self._home is not None and self._is_at_home(self._home, now):
            return self._home.entry.provider, self._home.target
        for tier in self._chain.tiers:
            for entry in self._ledger.order_tier(tier, self.need, now):
                left = self._left(entry, now, bold=bold)
                if left:
                    target = self._ledger.first(entry, left, self.need, now)
                    self.skipped.pop(target, None)
                    return entry.provider, target
        return None

    def _is_at_home(self, home: Home, now: float) -> bool:
        """Whether the conversation's own target is available, and nothing is that goes before it."""
        if home.target not in self._left(home.entry, now) or any(self._left(entry, now) for entry in home.yields_to):
            return False
        self.skipped.pop(home.target, None)
        return True

    def _left(self, entry: Entry, now: float, *, bold: bool = False) -> list[Target]:
        """Those of an entry's targets that may be tried now; the others are noted with what speaks against them."""
        if entry.provider.id in self._closed_providers or (entry.provider.id, entry.model) in self._closed_entries:
            return []
        refusals = self._refusals(entry, now)
        self._pass_over(refusals)
        if len(refusals) == len(entry.targets) and not bold:
            return []
        return [
            target
            for target in entry.targets
            if target not in self._tried
            and (not self._outcomes or self._told(target) <= now)
            and (target not in refusals or (bold and self._known_until(target, refusals[target]) <= now))
        ]

    def _refusals(self, entry: Entry, now: float) -> Mapping[Target, Refusal]:
        refusals = self._ledger.refusals(entry, self.need, now)
        if self._barred:
            own = {target: self._barred[target] for target in entry.targets if target in self._barred}
            return {**refusals, **own}
        return refusals

    def _pass_over(self, refusals: Mapping[Target, Refusal]) -> None:
        if self._tried:
            refusals = {target: refusal for target, refusal in refusals.items() if target not in self._tried}
        self.skipped.update(refusals)

    def after(self, target: Target, outcome: Outcome) -> None:
        """Close what the outcome says may not be tried again for this request."""
        self._outcomes[target] = outcome
        self._tried.add(target)
        if outcome.step is Step.ENTRY:
            self._closed_entries.add((target.provider, target.model))
        elif outcome.step is Step.PROVIDER:
            self._closed_providers.add(target.provider)

    def again(self) -> None:
        """Start anew from the top: what was only at its limit, or busy, may be tried once more."""
        final = {target: outcome for target, outcome in self._outcomes.items() if outcome.kind not in _PASSING}
        self._tried.clear()
        self._closed_entries.clear()
        self._closed_providers.clear()
        self.skipped.clear()
        for target, outcome in final.items():
            self.after(target, outcome)

    def soonest(self, now: float) -> float | None:
        """When the first of those that ``again`` would try frees (Unix seconds), as far as that is known."""
        times = []
        for target, refusal in self._ahead(now):
            until = self._told(target) if refusal is None else refusal.until
            if until is not None:
                times.append(until)
        return min(times, default=None)

    def doubtful(self, now: float) -> float | None:
        """From when on it is not known of the first of those that its call would be wasted: ``now`` if of one it isn't
        known already; None where that time is not known."""
        times = [self._known_until(target, refusal) for target, refusal in self._ahead(now)]
        soonest = min(times, default=math.inf)
        return None if math.isinf(soonest) else max(soonest, now)

    def _ahead(self, now: float) -> Iterator[tuple[Target, Refusal | None]]:
        """The targets that are not open now, but may be later, and what the ledger has against them."""
        for tier in self._chain.tiers:
            for entry in tier:
                refusals = self._refusals(entry, now)
                for target in entry.targets:
                    refusal = refusals.get(target)
                    if (refusal is not None or self._told(target) > now) and not self._is_final(target):
                        yield target, refusal

    def _known_until(self, target: Target, refusal: Refusal | None) -> float:
        """How long it is known that a call would be wasted, by what was told to this request where it was."""
        told = self._told(target)
        if refusal is None or math.isinf(told):
            return told if refusal is None else refusal.known_until
        return min(refusal.known_until, told)

    def _told(self, target: Target) -> float:
        """When this request may come back, where the target refused it for its tokens and smaller ones may still go
        there; minus infinity else: of what is for all the ledger knows."""
        outcome = self._outcomes.get(target)
        if outcome is None or outcome.until is None or outcome.hit is None or outcome.hit.metric == "requests":
            return -math.inf
        return outcome.until

    def _is_final(self, target: Target) -> bool:
        for tried, outcome in self._outcomes.items():
            if outcome.kind in _PASSING:
                continue
            same_entry = (tried.provider, tried.model) == (target.provider, target.model)
            if tried == target or (outcome.step is Step.ENTRY and same_entry):
                return True
            if outcome.step is Step.PROVIDER and tried.provider == target.provider:
                return True
        return False
