"""How much of a limit is used at a moment, as counted here: over a rolling window, a calendar's, or one that refills.

Only counting belongs here: how large the limit is, and what the provider says of it, is ``bucket``'s.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right

from chain429.routing.outcome import Provision
from chain429.routing.saved import Json, number, pairs
from chain429.routing.window import DayReset, Refill, Window

# A window is counted in slices, at most this many to a window. One leaves the window as a whole, when its last amount
# has left. Where more than the second number are kept, the older half of them is made half as fine.
_SLICES = 3600
_KEPT = 64
# A request counts at the provider from its arrival on, which may be as much as this after it was sent, in seconds: it
# leaves the window as late.
_LATE = 1.0


class Count:
    """What is used of one limit. All amounts are in the limit's metric, all times in Unix seconds.

    A rolling window loses each amount once it is as old as the window; a calendar's day or month begins anew all at
    once; a limit that refills steadily loses bit by bit, all of it in one window. How fast, its size tells: until that
    is known it is counted as if it rolled.
    """

    __slots__ = (
        "_amounts", "_day", "_ends", "_late", "_left", "_length", "_level", "_level_at", "_slice", "_slice_ends",
        "_steady", "_times", "_total", "_window",
    )  # fmt: skip

    def __init__(self, window: Window, provision: Provision | None) -> None:
        self._window = window
        self._steady = provision is not None and provision.refill is Refill.STEADY
        self._day: DayReset | None = None
        if provision is not None and not self._steady:
            of_calendar = window is Window.MONTH or (window is Window.DAY and provision.day.zone is not None)
            self._day = provision.day if of_calendar else None
        self._ends = 0.0  # when the calendar's window that is counted is over
        self._slice = window.seconds / _SLICES
        self._slice_ends = 0.0  # the last one that there is
        self._late = min(_LATE, window.seconds / 10)
        self._times = array("d")  # of each slice, when it was added to last; ascending
        self._amounts = array("d")
        self._total = 0.0  # of all slices
        self._left = -math.inf  # what was added up to then is not counted any more
        self._level = 0.0  # what is used of a limit that refills steadily
        self._level_at = 0.0
        self._length = window.seconds
        self.configure(None)

    def configure(self, limit: float | None) -> None:
        # A limit of half a request a second is kept as one in two seconds.
        self._length = self._window.seconds / min(limit or 1.0, 1.0)

    @property
    def steady(self) -> bool:
        return self._steady

    @property
    def of_calendar(self) -> bool:
        return self._day is not None

    @property
    def margin(self) -> float:
        """How much longer an amount is counted than the provider counts it, so that it has left for sure."""
        return 0.0 if self._steady or self._day is not None else self._late

    def used(self, limit: float | None, now: float) -> float:
        """What is used at this moment of a limit of that size."""
        if self._steady and limit is not None:
            level = self._level
            if level and now > self._level_at:
                level -= (now - self._level_at) * self._rate(limit)
                self._level = level = max(0.0, level)
            self._level_at = now
            return level
        self._forget_past(now)
        self._level, self._level_at = self._total, now
        return self._total

    def _rate(self, limit: float) -> float:
        """How much a limit that refills steadily gains in a second."""
        return max(1.0, limit) / self._length

    def _forget_past(self, now: float) -> None:
        times = self._times
        if self._day is not None and not (now < self._ends and self._ends - self._length * 1.1 <= now):
            self._ends = (self._day.after(now) if self._window is Window.DAY else self._day.month_after(now)) or 0.0
            self._forget(0, len(times))
            self._left = math.nextafter(now, -math.inf)
        if not times:
            return
        oldest = now - self._length - self._late
        if self._day is None:
            self._left = oldest
        # A clock that was set back leaves slices of the future behind, which would stay for too long.
        newest = now + 2 * self._slice
        if times[0] > oldest and times[-1] <= newest:
            return
        self._forget(bisect_right(times, newest), len(times))
        self._forget(0, bisect_right(times, oldest))

    def _forget(self, start: int, end: int) -> None:
        self._total -= math.fsum(self._amounts[start:end])
        del self._times[start:end], self._amounts[start:end]
        if not self._times:
            self._total = 0.0
        elif end > start:
            self._slice_ends = self._end_of_slice(self._times[-1])

    def _end_of_slice(self, moment: float) -> float:
        return (math.floor(moment / self._slice) + 1) * self._slice

    def add(self, amount: float, now: float) -> None:
        """Count ``amount`` as used now; call ``used`` first, or else it counts as older than it is."""
        self._level += amount
        self.add_unseen(amount, now)

    def add_unseen(self, amount: float, now: float) -> None:
        """As ``add``, but for what a level that was told has in it already."""
        times = self._times
        # Not only for the same slice: times stay in order even if the clock is set back.
        if times and now < self._slice_ends:
            if now > times[-1]:
                times[-1] = now
            self._amounts[-1] += amount
        else:
            if len(times) >= _KEPT:
                self._coarsen()
            times.append(now)
            self._amounts.append(amount)
            self._slice_ends = self._end_of_slice(now)
        self._total += amount

    def _coarsen(self) -> None:
        times, amounts = self._times, self._amounts
        half = len(times) // 4 * 2
        amounts[:half] = array("d", (amounts[at] + amounts[at + 1] for at in range(0, half, 2)))
        times[:half] = times[1:half:2]

    def take_back(self, amount: float, since: float) -> None:
        """Of what was added at ``since``, so much was not used after all; call ``used`` first."""
        if since <= self._left:
            return
        at = bisect_left(self._times, since)
        if at < len(self._times):
            back = min(amount, self._amounts[at])
            self._amounts[at] -= back
            self._total -= back

    def shift(self, difference: float) -> None:
        """Correct the level of a limit that refills steadily."""
        self._level = max(self._level + difference, 0.0)

    def set_level(self, level: float) -> None:
        """The provider has told how much is used of a limit that refills steadily; call ``used`` first."""
        self._level = max(level, 0.0)

    def after(self, moment: float) -> float:
        """What was added after ``moment``, or in the same slice."""
        return math.fsum(self._amounts[bisect_right(self._times, moment) :])

    def drop(self, amount: float) -> None:
        """Forget so much of the oldest: the provider counts less."""
        for at, there in enumerate(self._amounts):
            gone = min(there, amount)
            self._amounts[at] -= gone
            self._total -= gone
            amount -= gone
            if amount <= 0:
                return

    @property
    def total(self) -> float:
        """What was counted within the window, however much of it may have drained; as of the last ``used``."""
        return self._total

    def frees(self, excess: float, limit: float) -> float:
        """When ``excess`` less is used than at the last ``used``, if nothing more is added; with the margin."""
        if self._day is not None:
            return self._ends
        if self._steady:
            return self._level_at + excess / self._rate(limit)
        last = 0.0
        for at, amount in enumerate(self._amounts):
            last = self._times[at]
            excess -= amount
            if excess <= 0:
                break
        return last + self._length + self._late

    def returns(self, limit: float | None, now: float, *, whole: bool) -> float | None:
        """When the next part of what is used is back, or the ``whole`` of it; None where nothing is used."""
        used = self.used(limit, now)
        if used <= 0:
            return None
        if self._day is not None:
            return self._ends
        if self._steady and limit is not None:
            return now + (used if whole else min(used, 1.0)) / self._rate(limit)
        counted = [time for time, amount in zip(self._times, self._amounts, strict=True) if amount > 0]
        return counted[-1 if whole else 0] + self._length + self._late if counted else None

    def saved(self, now: float) -> dict[str, Json]:
        """What a restart must not forget, for ``restore``."""
        found: dict[str, Json] = {}
        self._forget_past(now)
        if self._times:
            found["counted"] = [part for both in zip(self._times, self._amounts, strict=True) for part in both]
        if self._ends > now:
            found["ends"] = self._ends
        if self._level:
            found |= {"level": self._level, "level_at": self._level_at}
        return found

    def restore(self, found: dict[str, object]) -> None:
        """Go on from what ``saved`` gave, as far as that is sound; for one that is new."""
        self._ends = number(found.get("ends")) or 0.0
        for last, amount in pairs(found.get("counted")):
            self.add_unseen(amount, last)
        self._level = number(found.get("level")) or 0.0
        self._level_at = number(found.get("level_at")) or 0.0
