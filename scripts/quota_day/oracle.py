"""The router that knows the truth: it serves each request at the first moment at which anything in its chain has room.

Requests wait in a queue, first come, first served, each as long as its patience lasts; one that needs less may go
before one for which there is no room yet. It is greedy, not optimal: it looks into no future.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.quota_day.traffic import Request
from scripts.quota_day.truth import Truth
from scripts.quota_day.world import ACCOUNTS, Account, Day

# Between two looks at a request that almost fits.
_LEAST = 0.001


@dataclass(frozen=True, slots=True)
class Placed:
    """Where and when the oracle served a request."""

    request: Request
    account: Account
    at: float


@dataclass(slots=True)
class _Waiting:
    request: Request
    again: float  # nothing can have room for it before


def place(day: Day, requests: Sequence[Request]) -> list[Placed]:
    """What the oracle serves of these, which are in the order of their arrival."""
    truth = Truth(day)
    placed: list[Placed] = []
    waiting: list[_Waiting] = []
    # At these moments room can appear that no wait has told of.
    changes = sorted(moment for moment in (day.down_until, day.lowers_at) if moment > day.start)
    upcoming = 0

    def seat(one: _Waiting, now: float) -> bool:
        one.again = math.inf
        for account in ACCOUNTS:
            tokens = one.request.cost(account.site)
            lack = truth.lack(account, tokens, now)
            if lack is None:
                truth.take(account, tokens, now)
                placed.append(Placed(one.request, account, now))
                return True
            one.again = min(one.again, now + max(lack.wait, _LEAST))
        return False

    while upcoming < len(requests) or waiting:
        arrival = requests[upcoming].at if upcoming < len(requests) else math.inf
        now = min([arrival, *changes[:1], *(one.again for one in waiting)])
        if now == math.inf:
            break
        changed = bool(changes) and changes[0] <= now
        if changed:
            del changes[0]
        waiting = [one for one in waiting if one.request.deadline >= now]
        waiting = [one for one in waiting if not (changed or one.again <= now) or not seat(one, now)]
        if arrival <= now:
            upcoming += 1
            newcomer = _Waiting(requests[upcoming - 1], now)
            if not seat(newcomer, now):
                waiting.append(newcomer)
    return placed
