"""In which order a provider's credentials are tried, and which of a tier's entries comes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chain429.routing.chain import Entry, Provider, Strategy, Target


@dataclass(slots=True)
class _Load:
    in_flight: int = 0
    last: int = 0  # the number of the pick at which it was taken last
    strain: float = 0.0  # picks divided by weight


class Pool:
    """Remembers who was taken how often; ordering itself changes nothing."""

    def __init__(self) -> None:
        self._loads: dict[str, _Load] = {}
        self._entries: dict[tuple[str, str], _Load] = {}
        self._picks = 0

    def _load(self, credential: str) -> _Load:
        return self._loads.get(credential) or self._loads.setdefault(credential, _Load())

    def order(self, provider: Provider, targets: Sequence[Target]) -> Sequence[Target]:
        """An entry's targets (one a credential, in the provider's order), the one to try first in front."""
        if len(targets) == 1:
            return targets
        keys = dict(zip((target.credential for target in targets), provider.credentials, strict=True))
        loads = {name: self._load(name) for name in keys}

        def rank(target: Target) -> tuple[float, ...]:
            credential, load = keys[target.credential], loads[target.credential]
            match provider.strategy:
                case Strategy.PRIORITY:
                    return (credential.priority, load.in_flight, load.last)
                case Strategy.ROUND_ROBIN:
                    return (load.last,)
                case Strategy.WEIGHTED:
                    return (load.strain, load.last)
                case Strategy.LEAST_LOADED:
                    return (load.in_flight / credential.weight, load.last)

        return sorted(targets, key=rank)

    def order_tier(self, tier: Sequence[Entry]) -> Sequence[Entry]:
        """The entries of one tier, the least busy first, and among those the one that was taken longest ago."""
        if len(tier) == 1:
            return tier

        def rank(entry: Entry) -> tuple[int, int]:
            load = self._entries.get((entry.provider.id, entry.model))
            return (load.in_flight, load.last) if load else (0, 0)

        return sorted(tier, key=rank)

    def taken(self, provider: Provider, target: Target) -> None:
        """A call goes out to ``target``; every one is followed by ``done``."""
        self._picks += 1
        load = self._load(target.credential)
        entry = self._entries.setdefault((target.provider, target.model), _Load())
        for one in (load, entry):
            one.in_flight += 1
            one.last = self._picks
        if provider.strategy is Strategy.WEIGHTED:
            # One that was away for long must not be given everything at once until it has caught up.
            others = [self._load(key.id) for key in provider.credentials if key.id != target.credential]
            weight = next(key.weight for key in provider.credentials if key.id == target.credential)
            load.strain = max(load.strain, min((one.strain for one in others if one.last), default=0.0)) + 1 / weight

    def done(self, target: Target) -> None:
        for one in (self._load(target.credential), self._entries.setdefault((target.provider, target.model), _Load())):
            one.in_flight = max(one.in_flight - 1, 0)
