"""Which of a provider's credentials is taken, and in which order a tier's entries are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chain429.routing.chain import Entry, Provider, Strategy, Target

# Clients can name models at will, so what is remembered of them is bounded.
_MOST = 10_000


@dataclass(slots=True)
class _Load:
    in_flight: int = 0
    last: int = 0  # the number of the pick at which it was taken last
    strain: float = 0.0  # picks divided by weight


_IDLE = _Load()


class Pool:
    """Remembers who was taken how often; choosing itself changes nothing."""

    def __init__(self) -> None:
        self._credentials: dict[str, _Load] = {}
        self._entries: dict[tuple[str, str], _Load] = {}
        self._strains: dict[str, float] = {}  # by provider: the least strain that any credential is taken to have
        self._picks = 0

    def first(self, provider: Provider, targets: Sequence[Target]) -> Target:
        """Of one entry's ``targets``, one a credential, the one whose turn it is."""
        if len(targets) == 1:
            return targets[0]
        credentials = {credential.id: credential for credential in provider.credentials}

        def rank(target: Target) -> tuple[float, ...]:
            credential, load = credentials[target.credential], self._credentials.get(target.credential, _IDLE)
            match provider.strategy:
                case Strategy.PRIORITY:
                    return (credential.priority, load.in_flight, load.last)
                case Strategy.ROUND_ROBIN:
                    return (load.last,)
                case Strategy.WEIGHTED:
                    return (load.strain, load.last)
                case Strategy.LEAST_LOADED:
                    return (load.in_flight / credential.weight, load.last)

        return min(targets, key=rank)

    def busy(self, entry: Entry) -> tuple[int, int]:
        """How many calls are under way to an entry, and the number of the pick at which it was taken last."""
        load = self._entries.get((entry.provider.id, entry.model), _IDLE)
        return load.in_flight, load.last

    def in_flight(self) -> dict[tuple[str, str], int]:
        """How many calls are under way, by provider and model; none where there are none."""
        return {key: load.in_flight for key, load in self._entries.items() if load.in_flight}

    def taken(self, provider: Provider, target: Target) -> None:
        """A call goes out to ``target``; every one is followed by ``done``."""
        self._picks += 1
        load = self._credentials.setdefault(target.credential, _Load())
        if len(self._entries) >= _MOST:
            self._entries = {key: entry for key, entry in self._entries.items() if entry.in_flight}
        for one in (load, self._entries.setdefault((target.provider, target.model), _Load())):
            one.in_flight += 1
            one.last = self._picks
        if provider.strategy is Strategy.WEIGHTED:
            weight = next(key.weight for key in provider.credentials if key.id == target.credential)
            # One that was away goes on from where the others are: it must not be given everything until it catches up.
            least = max(load.strain, self._strains.get(provider.id, 0.0))
            self._strains[provider.id] = least
            load.strain = least + 1 / weight

    def done(self, target: Target) -> None:
        """The call to ``target`` is over."""
        self._credentials[target.credential].in_flight -= 1
        self._entries[target.provider, target.model].in_flight -= 1
