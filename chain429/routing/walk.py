"""One request's way down its chain."""

from __future__ import annotations

from collections.abc import Mapping

from chain429.routing.chain import Chain, Provider, Target
from chain429.routing.ledger import Ledger, Refusal
from chain429.routing.limits import Need
from chain429.routing.outcome import Kind, Outcome, Step

# What may be over a moment later. Anything else ends a target, an entry or a provider for this request.
_PASSING = frozenset({Kind.RATE_LIMITED, Kind.BUSY, Kind.QUOTA_SPENT})


class Walk:
    """One request's way down its chain.

    ``next`` gives the target to try, ``after`` says what became of it; what was passed over, and why, is in
    ``skipped``. ``again`` starts anew from the top after a wait.
    """

    def __init__(self, chain: Chain, need: Need, ledger: Ledger) -> None:
        self._chain = chain
        self.need = need
        self._ledger = ledger
        self._outcomes: dict[Target, Outcome] = {}
        self._tried: set[Target] = set()
        self._closed_entries: set[tuple[str, str]] = set()
        self._closed_providers: set[str] = set()
        self.skipped: dict[Target, Refusal] = {}

    def next(self, now: float, *, bold: bool = False) -> tuple[Provider, Target] | None:
        """The next target whose call would not be wasted, or None when there is none.

        ``bold``: also those against which only an estimate speaks.
        """
        for tier in self._chain.tiers:
            for entry in self._ledger.order_tier(tier, self.need, now):
                if entry.provider.id in self._closed_providers:
                    continue
                if (entry.provider.id, entry.model) in self._closed_entries:
                    continue
                refusals = self._ledger.refusals(entry, self.need, now)
                self._pass_over(refusals)
                left = [
                    target
                    for target in entry.targets
                    if target not in self._tried and (target not in refusals or (bold and refusals[target].estimated))
                ]
                if left:
                    target = self._ledger.first(entry, left, self.need, now)
                    self.skipped.pop(target, None)
                    return entry.provider, target
        return None

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
        for tier in self._chain.tiers:
            for entry in tier:
                refusals = self._ledger.refusals(entry, self.need, now)
                times += [
                    refusal.until
                    for target, refusal in refusals.items()
                    if refusal.until is not None and not self._is_final(target)
                ]
        return min(times, default=None)

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
