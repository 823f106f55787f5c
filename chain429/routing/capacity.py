"""What is left for a chain in all, and when there is more: the capacity headers of every answer.

They say what is known, and stay away where nothing is. What every answer carries must cost next to nothing, so they are
made at most once a second for each chain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from chain429.routing.bucket import Room
from chain429.routing.chain import Chain, Target
from chain429.routing.headers import Metric
from chain429.routing.ledger import Ledger, Refusal
from chain429.routing.limits import Need

_METRICS: tuple[Metric, ...] = ("requests", "tokens")
_ANY = Need()
# How old they may be, in seconds.
_OLDEST = 1.0
# Clients can name models at will, and each is a chain, so what is remembered of them is bounded.
_MOST = 1000


class Capacities:
    """The capacity headers of each chain, by its name, and of each caller that brings a key of its own.

    - ``x-chain429-remaining-requests`` and ``-tokens``: so many are left, at least, over all of its targets;
    - ``x-chain429-reset-requests`` and ``-tokens``: whole seconds until there is more.

    A target that is benched has nothing left; what several targets share is counted once. A target whose limits are not
    known adds nothing; where it is all that is left, the headers of that metric stay away.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._made: dict[str, tuple[float, Mapping[str, str]]] = {}

    def __len__(self) -> int:
        """How many chains are remembered."""
        return len(self._made)

    def forget(self) -> None:
        """The chains have changed."""
        self._made.clear()

    def headers(self, chain: Chain, now: float, *, exact: bool = False) -> Mapping[str, str]:
        """As they are now, or were within the last second. ``exact``: as they are now."""
        name = f"{chain.name} {chain.caller}" if chain.caller else chain.name
        made = self._made.get(name)
        if made is not None and 0 <= now - made[0] < _OLDEST and not exact:
            return made[1]
        if len(self._made) >= _MOST:
            self._made.clear()
        headers = self._headers(chain, now)
        self._made[name] = (now, headers)
        return headers

    def _headers(self, chain: Chain, now: float) -> Mapping[str, str]:
        found = [
            (target, self._ledger.rooms(target, now), self._ledger.refusal(target, _ANY, now))
            for target in chain.targets
        ]
        headers: dict[str, str] = {}
        for metric in _METRICS:
            room = _room(found, metric)
            if room is not None:
                headers[f"x-chain429-remaining-{metric}"] = str(room.left)
                if room.more_at is not None:
                    headers[f"x-chain429-reset-{metric}"] = str(max(math.ceil(room.more_at - now), 1))
        return headers


def _room(found: Iterable[tuple[Target, Mapping[Metric, Room], Refusal | None]], metric: Metric) -> Room | None:
    """What is left over all targets; None where that is not known."""
    rooms: dict[tuple[str, str], Room] = {}
    others = False
    for target, known, refusal in found:
        room = known.get(metric)
        if room is None:
            others = others or refusal is None
            continue
        if refusal is not None:
            room = Room(0, refusal.until)
        shared = rooms.get((target.account, target.bucket))
        if shared is None or shared.left < room.left:
            rooms[target.account, target.bucket] = room
    left = sum([room.left for room in rooms.values()])
    if not rooms or (others and not left):
        return None
    return Room(left, min([room.more_at for room in rooms.values() if room.more_at is not None], default=None))
