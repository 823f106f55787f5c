"""One request's way down its chain."""

from __future__ import annotations

from collections.abc import Mapping

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
                refusals = self._ledger.refusals(entry, self._need, now)
                self._pass_over(refusals)
                if len(refusals) == len(entry.targets):
                    continue
                left = [target for target in entry.targets if target not in refusals and target not in self._tried]
                if left:
                    target = self._ledger.first(entry, left)
                    self.skipped.pop(target, None)
                    return entry.provider, target
        return None

    def _pass_over(self, refusals: Mapping[Target, Refusal]) -> None:
        if self._tried:
            refusals = {target: refusal for target, refusal in refusals.items() if target not in self._tried}
        self.skipped.update(refusals)

    def after(self, target: Target, outcome: Outcome) -> None:
        """Close what the outcome says may not be tried again for this request."""
        self._tried.add(target)
        if outcome.step is Step.ENTRY:
            self._closed_entries.add((target.provider, target.model))
        elif outcome.step is Step.PROVIDER:
            self._closed_providers.add(target.provider)
