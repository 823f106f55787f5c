"""What the engine does, held against the truth: told of each call when it is sent, and when it is decided.

It keeps the truth beside the providers, and insists that both agree on every call. What nobody can know in front of
the providers is not held against the engine: a call that is on its way, or whose refusal is on its way back, counts as
room that is taken; so does a refusal of the very same request a second ago; and an outage is over when it is noticed,
at most a minute after its end.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field

from scripts.quota_day.traffic import Request
from scripts.quota_day.truth import OUTAGE, Lack, Truth
from scripts.quota_day.world import ACCOUNTS, Account, Day

LIE = "lying Retry-After"
# What is taken for the window of a refusal that names none.
_MINUTE = 60.0
# What happens within a second happened at once: the engine can't know more exactly when a call arrives.
_AT_ONCE = 1.0
_JUST = 0.001
# Within this it has to be noticed that an outage is over.
_NOTICED = 60.0


@dataclass(frozen=True, slots=True)
class Late:
    """An account that had no room before went unused for so long, from the first request that was sent elsewhere though
    it had room for it to the last."""

    provider: str
    kind: str  # of what had been used up
    seconds: float
    window: float

    @property
    def beyond(self) -> float:
        """By how much that is longer than the window of the limit that was used up."""
        return self.seconds - self.window


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that was not served: at that moment, which account had room, or has it soonest, and in how long."""

    request: Request
    at: float
    account: Account
    lack: Lack | None

    @property
    def wait(self) -> float:
        return self.lack.wait if self.lack else 0.0

    @property
    def had_room(self) -> bool:
        """Whether its chain had a free slot within what was left of its patience."""
        return self.wait <= max(self.request.deadline - self.at, 0.0)

    @property
    def out_of_patience(self) -> bool:
        return self.at > self.request.deadline - _AT_ONCE


@dataclass(slots=True)
class Tally:
    """One provider's calls."""

    calls: int = 0
    served: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by the limit that had no room
    failed: Counter[str] = field(default_factory=Counter)  # by anything else


@dataclass(slots=True)
class _Sight:
    """One account, as the engine used it."""

    coming: list[int] = field(default_factory=list)  # tokens of the calls of which the engine can't know yet
    lack: Lack | None = None  # what it had no room for since it last served
    missed: float | None = None  # when it had room first for a request that was sent elsewhere
    missed_last: float = 0.0
    used: list[float] = field(default_factory=list)  # when calls were sent to it


class Judge:
    """Watches one day.

    Of each call, tell it ``sent``, then one of ``admitted``, ``limited``, ``lied`` and ``failed``, and ``known`` as
    soon as the engine can know of it; of each request that failed, ``unserved``; and the ``end``. All times are Unix
    seconds.
    """

    def __init__(self, day: Day) -> None:
        self.tallies = {account.site.name: Tally() for account in ACCOUNTS}
        self.refusals: list[float] = []  # when a provider refused for a limit
        self.late: list[Late] = []
        self.failures: list[Failure] = []
        self.passed_over: list[tuple[Request, Account]] = []  # although it had room
        self._truth = Truth(day)
        self._sights = {account: _Sight() for account in ACCOUNTS}
        self._down_until = day.down_until
        self._refused_last: dict[tuple[int, Account], float] = {}
        self._asked: dict[int, set[Account]] = {}
        self._sent: dict[int, float] = {}

    def waited(self, request: Request) -> float:
        """How long it took until the last call for this request was sent, in seconds."""
        return self._sent[request.number] - request.at

    def contested(self, failure: Failure) -> bool:
        """Whether the slot that a request had at the end of its patience was taken by another that waited for it."""
        used = self._sights[failure.account].used
        after = bisect_right(used, failure.at)
        return failure.out_of_patience and after < len(used) and used[after] <= failure.at + failure.wait + _AT_ONCE

    def sent(self, request: Request, account: Account, now: float) -> None:
        self._look_above(request, account.site.tier, now)
        sight = self._sights[account]
        if sight.missed is not None:
            self._used_again(account, sight)
        sight.used.append(now)
        sight.coming.append(request.cost(account.site))
        self.tallies[account.site.name].calls += 1
        self._asked.setdefault(request.number, set()).add(account)
        self._sent[request.number] = now

    def known(self, request: Request, account: Account) -> None:
        """The call was admitted, or its refusal has come back (or it was broken off before that)."""
        self._sights[account].coming.remove(request.cost(account.site))

    def admitted(self, request: Request, account: Account, now: float) -> None:
        tokens = request.cost(account.site)
        lack = self._truth.lack(account, tokens, now)
        assert lack is None, f"{account.credential} admitted what has no room: {lack}"
        self._truth.take(account, tokens, now)
        self._sights[account].lack = None
        self.tallies[account.site.name].served += 1

    def limited(self, request: Request, account: Account, now: float) -> None:
        lack = self._truth.lack(account, request.cost(account.site), now)
        assert lack is not None, f"{account.credential} refused what has room"
        self._refused_last[request.number, account] = now
        self._refused(account, lack, now)

    def lied(self, account: Account, now: float) -> None:
        self._refused(account, Lack(LIE, 0.0, _MINUTE), now)

    def _refused(self, account: Account, lack: Lack, now: float) -> None:
        self._sights[account].lack = lack
        self.tallies[account.site.name].refused[lack.kind] += 1
        self.refusals.append(now)

    def failed(self, account: Account, kind: str) -> None:
        """The call failed for another reason than a limit."""
        self._sights[account].lack = Lack(kind, 0.0, 0.0)
        self.tallies[account.site.name].failed[kind] += 1

    def unserved(self, request: Request, now: float) -> None:
        """The client was answered with a failure."""
        self._look_above(request, len(ACCOUNTS), now)
        lacks = [(self._told(account, request, now), account) for account in ACCOUNTS]
        lack, account = min(lacks, key=lambda pair: pair[0].wait if pair[0] else 0.0)
        self.failures.append(Failure(request, now, account, lack))

    def end(self) -> None:
        """The day is over: what is not in use again by now never was."""
        for account, sight in self._sights.items():
            if sight.missed is not None:
                self._used_again(account, sight)

    def _lack(self, account: Account, request: Request, now: float) -> Lack | None:
        coming = self._sights[account].coming
        return self._truth.lack(account, request.cost(account.site), now, (len(coming), sum(coming)))

    def _told(self, account: Account, request: Request, now: float) -> Lack | None:
        """What the account lacks, or seems to lack as far as anyone can know."""
        lack, last = self._lack(account, request, now), self._sights[account].lack
        if lack is None and now - self._refused_last.get((request.number, account), -math.inf) <= _AT_ONCE:
            return Lack("refused a moment ago", _JUST, 0.0)
        unnoticed = lack is None and last is not None and last.kind == OUTAGE and now <= self._down_until + _NOTICED
        return Lack(OUTAGE, math.inf, 0.0) if unnoticed or (lack and lack.kind == OUTAGE) else lack

    def _look_above(self, request: Request, tier: int, now: float) -> None:
        """Which accounts of better tiers had room for what goes to this tier."""
        asked = self._asked.get(request.number, ())
        for account in ACCOUNTS:
            if account.site.tier >= tier or account in asked:
                continue
            sight, lack = self._sights[account], self._lack(account, request, now)
            if lack is None:
                self.passed_over.append((request, account))
                sight.missed_last = now
                if sight.missed is None:
                    sight.missed = now
            elif sight.missed is None:
                sight.lack = lack

    def _used_again(self, account: Account, sight: _Sight) -> None:
        assert sight.missed is not None
        seconds, sight.missed = sight.missed_last - sight.missed, None
        if sight.lack and seconds > _AT_ONCE:
            self.late.append(Late(account.site.name, sight.lack.kind, seconds, sight.lack.window))
