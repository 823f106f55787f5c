"""The waiting line: requests for which nothing is available, served in the order in which they came.

It decides and reserves, and waits for nothing itself: whoever waits calls ``serve`` when the time has come, and that
gives to all in their order, so nobody is overtaken by one who can use the same target, and a slot that frees wakes only
the one who gets it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from chain429.routing.chain import Provider, Target
from chain429.routing.ledger import Ledger
from chain429.routing.limits import Lease
from chain429.routing.walk import Walk

# More do not wait: each of them is an open connection.
_MOST = 500


class Grant(NamedTuple):
    """A target, and the lease that was taken on it."""

    provider: Provider
    target: Target
    lease: Lease


@dataclass(eq=False, slots=True)
class Waiter:
    """One request in the line. ``wake`` is called once it has a grant.

    ``soonest`` is when to serve it again (Unix seconds); infinite where nothing tells that a target will ever free.
    """

    walk: Walk
    wake: Callable[[], None]
    soonest: float
    grant: Grant | None = None


class Line:
    """Waiters in the order of their coming. Everyone who joins must leave."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiters: list[Waiter] = []

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def full(self) -> bool:
        return len(self._waiters) >= _MOST

    def join(self, waiter: Waiter) -> None:
        self._waiters.append(waiter)

    def leave(self, waiter: Waiter) -> None:
        self._waiters.remove(waiter)

    def serve(self, now: float, *, freed: bool = False) -> None:
        """Give to each, in order, the target that it can have now. ``freed``: something may have freed early."""
        for waiter in self._waiters:
            if waiter.grant is None and (freed or waiter.soonest <= now):
                waiter.grant = self.take(waiter.walk, now)
                if waiter.grant is not None:
                    waiter.wake()
                else:
                    soonest = waiter.walk.soonest(now)
                    waiter.soonest = math.inf if soonest is None else soonest

    def take(self, walk: Walk, now: float, *, bold: bool = False) -> Grant | None:
        """The next target of a walk, reserved."""
        choice = walk.next(now, bold=bold)
        if choice is None:
            return None
        provider, target = choice
        return Grant(provider, target, self._ledger.take(provider, target, walk.need, now))
