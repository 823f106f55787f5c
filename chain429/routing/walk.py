"""One request's way down its chain."""

from __future__ import annotations

from chain429.routing.chain import Chain, Provider, Target
from chain429.routing.ledger import Ledger, Refusal
from chain429.routing.limits import Need
from chain429.routing.outcome import Outcome, Step


class Walk:
    """One request's way down its chain.

    ``next`` gives the target to try, ``after`` says what became of it; what was passed over, and why, is in
    ``skipped``."""

    def __init__(self, chain: Chain, need: Need, ledger: Ledger) -> None:
        self._chain = chain
        self._need = need
        self._ledger = ledger
        self._tried: set[Target] = set()
        self._closed_entries: set[tuple[str, str]] = set()
        self._closed_providers: set[str] = set()
        self.skipped: dict[Target, Refusal] = {}

    def next(self, now: float) -> tuple[Provider, Target] | None:
        """The next target whose call would not be wasted, or None when there is none."""
        for tier in self._chain.tiers:
            for entry in self._ledger.order_tier(tier):
                if entry.provider.id in self._closed_providers:
                    continue
                if (entry.provider.id, entry.model) in self._closed_entries:
                    continue
                for target in self._ledger.order(entry):
                    if target in self._tried:
                        continue
                    refusal = self._ledger.refusal(target, self._need, now)
                    if refusal is None:
                        self.skipped.pop(target, None)
                        return entry.provider, target
                    self.skipped[target] = refusal
        return None

    def after(self, target: Target, outcome: Outcome) -> None:
        """Close what the outcome says may not be tried again for this request."""
        self._tried.add(target)
        if outcome.step is Step.ENTRY:
            self._closed_entries.add((target.provider, target.model))
        elif outcome.step is Step.PROVIDER:
            self._closed_providers.add(target.provider)
