"""Buckets: how much of a limit is left, from what is configured, what was counted here, and what providers report.

A request takes a lease on every bucket of its target before it is sent, so two requests never take the last slot; the
lease is settled with what was really used, or released. The layer closest to the truth wins: a fresh report of the
provider over our own count.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple, get_args

from chain429.routing.chain import Credential, Limit, Target
from chain429.routing.headers import Metric, Reading
from chain429.routing.outcome import Hit, Provision
from chain429.routing.saved import Json, members, number, pairs
from chain429.routing.status import Layer, LimitStatus
from chain429.routing.window import Refill, Window

# A rolling window is counted in slices, at most this many to a window. One leaves the window as a whole, when its last
# amount has left. Where more than the second number are kept, the older half of them is made half as fine.
_SLICES = 3600
_KEPT = 256
# A request counts at the provider from its arrival on, seconds later than it was sent: it leaves the window as late.
_LATE = 1.0
# How long a refusal keeps others of its size from trying, doubled with each that tried in vain: before it fails, a
# request may test what is only believed, and without a bound a burst would do so at once.
_FIRST_TEST = 10.0
# For so long our own count is known to be right after the provider has told its own, in seconds, or for a twelfth of
# its window.
_FRESH = 60.0
# When to look again at a bucket that is reported empty, where its reset is not told.
_LOOK_AGAIN = 3600.0
# Clients can name models at will, so what is remembered of them is bounded.
_MOST = 10_000
# How long the size of a limit is believed that a refusal named, in seconds; and that we had to conclude from what we
# had sent until then, in windows: others may have used the same key.
_NAMED_FOR = 86400.0
_CONCLUDED_FOR = 2
# What a limit is taken for that was concluded, and is hit again: one that was lowered by much is found in a few calls.
_LOWERED = 0.9
# Counted from the start, whatever the provider says: the first refusal then tells how much went through.
_ALWAYS: tuple[tuple[Metric, Window], ...] = (
    ("requests", Window.MINUTE),
    ("requests", Window.DAY),
    ("tokens", Window.MINUTE),
    ("tokens", Window.DAY),
)
_METRICS: Mapping[str, Metric] = MappingProxyType({metric: metric for metric in get_args(Metric)})
_ORDER = MappingProxyType({metric: place for place, metric in enumerate(get_args(Metric))})
_WINDOWS: Mapping[str, Window] = MappingProxyType({window.value: window for window in Window})


class Need(NamedTuple):
    """What one request is expected to take.

    ``tokens`` is an estimate of all its tokens and ``output`` the part of them that will be made; ``size`` is the
    body's length in bytes, ``most`` the number of tokens that it allows to be made, if it says so. ``least``: so many
    tokens it takes whatever the estimate is worth.
    """

    tokens: float = 0.0
    size: int = 0
    output: float = 0.0
    most: int | None = None
    least: float = 0.0

    def of(self, metric: Metric) -> float:
        if metric == "requests":
            return 1.0
        if metric == "input_tokens":
            return self.tokens - self.output
        return self.output if metric == "output_tokens" and self.output else self.tokens

    def least_of(self, metric: Metric) -> float:
        return self.least if metric == "tokens" else 1.0


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a bucket has no room, in plain words, and when it frees (Unix seconds).

    ``spent``: it counts over a day or longer, so it is no matter of waiting a little. ``estimated``: there is room, but
    by estimate not for this request. ``until`` is infinite where the request can't fit at any time.

    ``known_until``: how long it is known. From then on until ``until`` it is only believed: by an estimate, by a
    margin, or by a count of ours that the provider has not confirmed lately. A request that would fail otherwise may
    try.
    """

    reason: str
    until: float
    spent: bool = False
    estimated: bool = False
    known_until: float = math.inf


@dataclass(frozen=True, slots=True)
class _Denial:
    """The provider had no room for ``amount`` when ``left`` was left by our count.

    So it is for whatever is as much of what is left, or more: a smaller request may fit, and the same one when more is
    left. It is said to be so until ``until``, and known until ``test_at``: that grows with every test that is refused
    again.
    """

    amount: float
    left: float
    since: float
    until: float
    test_at: float
    tests: int = 0

    def denies(self, amount: float, left: float) -> bool:
        return amount * self.left >= self.amount * max(left, 1.0)

    def saved(self) -> Json:
        return [self.amount, self.left, self.since, self.until, self.test_at, self.tests]

    @classmethod
    def restored(cls, saved: object, latest: float) -> _Denial | None:
        """From what ``saved`` gave, where that is sound; over at ``latest``."""
        match [number(part) for part in saved] if isinstance(saved, list) else []:
            case [float(amount), float(left), float(since), float(until), float(test_at), float(tests)]:
                return cls(amount, left, since, min(until, latest), min(test_at, latest), int(tests))
        return None


class Lesson(NamedTuple):
    """What a refusal comes to.

    ``until``: so long nothing as large is tried, None where it benches nothing by itself. ``foreseen``: our count had
    said as much, so it tells nothing new. ``fitted``: by its estimate there was room, so that was too low.
    """

    until: float | None = None
    foreseen: bool = False
    fitted: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """So much of a limit is left, in whole numbers.

    ``more_at`` is when there is more (Unix seconds), None where nothing is used.
    """

    left: int
    more_at: float | None


@dataclass(slots=True)
class _Slice:
    number: int
    last: float = 0.0  # when it was added to last, Unix seconds
    amount: float = 0.0


class Bucket:
    """One limit's window for one account and model; without a window, the limit of what is under way at a time."""

    __slots__ = (
        "_concluded", "_counted", "_day", "_denied", "_ends", "_known", "_known_until", "_late", "_length", "_level",
        "_level_at", "_level_told", "_limit", "_metric", "_name", "_remaining", "_reset_at", "_slice", "_spends",
        "_spent", "_steady", "_told_at", "_total", "_unanswered", "_unsure", "_window", "in_flight",
    )  # fmt: skip

    def __init__(self, metric: Metric, window: Window | None, provision: Provision | None = None) -> None:
        self._metric = metric
        day = provision.day if provision else None
        self._steady = provision is not None and provision.refill is Refill.STEADY
        self._level = 0.0  # what is used of a limit that refills steadily
        self._level_at = 0.0
        self._level_told = -math.inf  # when a refusal said last how much is used
        self._told_at = -math.inf  # when the provider said so last, in whatever way
        self._denied: _Denial | None = None
        # A day or a month of the calendar begins anew all at once; anything else rolls, or refills.
        calendar = (
            day is not None
            and not self._steady
            and (window is Window.MONTH or (window is Window.DAY and day.zone is not None))
        )
        self._day = day if calendar else None
        self._ends = 0.0
        self._window = window
        self._name = f"{metric.replace('_', ' ')} per {window}"
        self._spends = window is not None and window.seconds >= Window.DAY.seconds
        self._slice = window.seconds / _SLICES if window else 0.0
        self._counted: deque[_Slice] = deque()  # by number, ascending
        self._total = 0.0  # of all slices
        self._remaining: float | None = None  # as last reported
        self._known: float | None = None  # the limit's size as the provider said it, or as its refusal implied
        self._known_until = 0.0
        self._concluded = False  # whether that size is only what went through until a refusal
        self._reset_at = 0.0
        self._spent = 0.0  # what that report does not know of yet
        self._unanswered = 0.0  # in flight, and no report has come with its answer
        self._unsure = 0.0  # of that, what is only estimated
        self.in_flight = 0.0
        self.configure(None)

    def configure(self, limit: float | None) -> None:
        """Count against ``limit`` from now on; None: against what is reported only."""
        self._limit = limit
        # A limit of half a request a second is kept as one in two seconds.
        self._late = min(_LATE, self._window.seconds / 10) if self._window else 0.0
        self._length = self._window.seconds / min(limit or 1.0, 1.0) if self._window else 0.0

    def limit(self, now: float) -> float | None:
        """Its size, as far as it is known: what the provider says goes before what is configured."""
        return self._known if self._known is not None and now < self._known_until else self._limit

    def used(self, now: float) -> float:
        """What was counted within the window that ends now."""
        limit = self.limit(now) if self._steady else None
        if limit is not None:
            drained = max(now - self._level_at, 0.0) * self._rate(limit)
            self._level, self._level_at = max(self._level - drained, 0.0), now
            return self._level
        self._forget_past(now)
        # Until its size is known nobody can tell how fast it refills.
        self._level, self._level_at = self._total, now
        return self._total

    def _rate(self, limit: float) -> float:
        """How much a limit that refills steadily gains in a second."""
        return max(limit, 1.0) / self._length

    def _forget_past(self, now: float) -> None:
        counted = self._counted
        if self._day is not None and not self._ends - self._length * 1.1 <= now < self._ends:
            self._ends = (self._day.after(now) if self._window is Window.DAY else self._day.month_after(now)) or 0.0
            while counted:
                self._drop(counted.pop())
        oldest = now - self._length - self._late
        while counted and counted[0].last <= oldest:
            self._drop(counted.popleft())
        # A clock that was set back leaves slices of the future behind, which would stay for too long.
        newest = now / self._slice + 1
        while counted and counted[-1].number > newest:
            self._drop(counted.pop())

    def _drop(self, gone: _Slice) -> None:
        self._total = self._total - gone.amount if self._counted else 0.0
        gone.amount = 0.0

    def shortage(self, amount: float, now: float, least: float = 1.0) -> Shortage | None:
        """Why ``amount``, or ``least`` at the least, can't be taken now; None where it can as far as is known."""
        if self._window is None:
            if self._limit is None or self.in_flight < self._limit:
                return None
            # Nothing tells when a call ends.
            return Shortage(f"{self._limit:g} requests at a time are under way", now + 1)
        limit = self.limit(now)
        found = self._lack(amount, max(least, 1.0), limit, now)
        denied = self._denied
        if denied is None or not denied.since <= now < max(denied.until, denied.test_at):
            return found
        if not self._denies(denied, amount, limit, now):
            return found
        if found is None:
            return self._too_much(amount, limit, denied) if now < denied.until else None
        known_until = min(denied.test_at, found.until - self._margin)
        if self._metric != "requests" and not (self._remaining is not None and self._reset_at > now):
            # A later try is another one as soon as it is less of what is left.
            known_until = min(known_until, self._frees(amount * denied.left / denied.amount - self._left(limit, now)))
        return replace(found, known_until=max(found.known_until, known_until))

    def _lack(self, amount: float, least: float, limit: float | None, now: float) -> Shortage | None:
        if limit is not None and amount > limit and self._metric != "requests":
            words = f"it needs about {amount:.0f} {self._name}, more than the limit of {limit:g}"
            return Shortage(words, math.inf, estimated=True, known_until=0.0)
        if self._remaining is not None and self._reset_at > now:
            left = self._remaining - self._spent
            known_until = self._known_for(least - left, self._reset_at, now)
            if left < 1:
                return self._used_up(limit, self._reset_at, known_until)
            if self._metric == "requests":
                return None
            if left < amount:
                return self._short(left, amount, self._reset_at, known_until)
        if limit is None:
            return None
        left = max(limit, 1.0) - self.used(now)
        if left >= amount:
            return None
        known_until = 0.0
        # A limit that a user sets is kept to. Of any other our count may be wrong, unless the provider confirmed it.
        if limit == self._limit or (not self._concluded and 0 <= now - self._told_at < self._fresh):
            lacking = least - left - self._unsure
            if lacking > 0:
                known_until = self._known_for(least - left, self._frees(lacking) - self._margin, now)
        until = self._frees(min(amount, limit) - left)
        return self._used_up(limit, until, known_until) if left < 1 else self._short(left, amount, until, known_until)

    def _known_for(self, lacking: float, until: float, now: float) -> float:
        """How long it is known that so much is lacking, of which there is enough at ``until``."""
        if lacking <= self._unsure:  # the requests under way may take less than was estimated
            return 0.0
        # Nothing tells when they are answered; they may be refused, and so take nothing.
        return min(until, now + 1) if self._metric != "requests" and lacking <= self._unanswered else until

    def _left(self, limit: float | None, now: float) -> float:
        """What is left if the requests under way take nothing; 1 at the least, and where nothing is known."""
        if self._remaining is not None and self._reset_at > now:
            return max(self._remaining - self._spent + self._unanswered, 1.0)
        return 1.0 if limit is None else max(limit - self.used(now) + self._unanswered, 1.0)

    @property
    def _fresh(self) -> float:
        """For so long our own count is known to be right after the provider has told its own."""
        return max(_FRESH, self._window.seconds / 12) if self._window else 0.0

    @property
    def _margin(self) -> float:
        """How much longer than it should a thing is counted, so that it has left the provider's window for sure."""
        return 0.0 if self._steady or self._day is not None else self._late

    def _used_up(self, limit: float | None, until: float, known_until: float) -> Shortage:
        size = f" (limit {limit:g})" if limit is not None else ""
        return Shortage(f"{self._name} used up{size}", until, self._spends, known_until=known_until)

    def _short(self, left: float, amount: float, until: float, known_until: float) -> Shortage:
        words = f"{left:.0f} of its {self._name} are left, and it needs about {amount:.0f}"
        return Shortage(words, until, self._spends, estimated=True, known_until=known_until)

    def _too_much(self, amount: float, limit: float | None, denied: _Denial) -> Shortage:
        size = f" (limit {limit:g})" if limit is not None else ""
        words = f"no room for about {amount:.0f} {self._name}{size}: about {denied.amount:.0f} were refused"
        return Shortage(words, denied.until, self._spends, estimated=True, known_until=denied.test_at)

    def left(self, now: float) -> tuple[float, float] | None:
        """How much is left, and of how much; None where no limit is known."""
        limit = self.limit(now)
        if limit is None or limit <= 0 or self._window is None:
            return None
        if self._remaining is not None and self._reset_at > now:
            return max(self._remaining - self._spent, 0.0), limit
        return max(limit - self.used(now), 0.0), limit

    def _frees(self, excess: float) -> float:
        """When slices that count ``excess`` at least have left the window."""
        if self._day is not None:
            return self._ends
        if self._steady:
            return self._level_at + excess / self._rate(self.limit(self._level_at) or 1.0)
        last = 0.0
        for counted in self._counted:
            last = counted.last
            excess -= counted.amount
            if excess <= 0:
                break
        return last + self._length + self._late

    def take(self, amount: float, now: float, least: float = math.inf) -> Hold:
        """Count ``amount`` as in flight, of which ``least`` is sure. Every hold must be settled."""
        if self._window is not None:
            used = self.used(now)  # what is added now must not count as older, and so as drained or of another day
            if self._denied is not None or self._metric == "requests":
                self._note_test(amount, used, now)
            self._level += amount
        unsure = max(amount - least, 0.0)
        self.in_flight += amount
        self._unanswered += amount
        self._unsure += unsure
        self._spent += amount
        return Hold(self, amount, self._count(amount, now), now, self._total, unsure)

    def _note_test(self, amount: float, used: float, now: float) -> None:
        """One test at a time: where this is one, others wait for what becomes of it."""
        denied, limit = self._denied, self.limit(now)
        if denied is not None and denied.since <= now < denied.until:
            if self._denies(denied, amount, limit, now):
                wait = self._test_interval(denied.tests + 1)
                self._denied = replace(denied, test_at=now + wait, tests=denied.tests + 1)
        elif self._metric == "requests" and limit is not None and used + 1 > max(limit, 1.0):
            tests = denied.tests + 1 if denied is not None and now - denied.since < self._length else 0
            self._denied = _Denial(1.0, 1.0, now, now, now + self._test_interval(tests), tests)

    def _denies(self, denied: _Denial, amount: float, limit: float | None, now: float) -> bool:
        return self._metric == "requests" or denied.denies(amount, self._left(limit, now))

    def _count(self, amount: float, now: float) -> _Slice | None:
        if self._window is None:
            return None
        number = math.floor(now / self._slice)
        # Not only for the same slice: numbers stay in order even if the clock is set back.
        if not self._counted or self._counted[-1].number < number:
            if len(self._counted) >= _KEPT:
                self._coarsen()
            self._counted.append(_Slice(number))
        self._counted[-1].amount += amount
        self._counted[-1].last = max(self._counted[-1].last, now)
        self._total += amount
        return self._counted[-1]

    def _coarsen(self) -> None:
        slices = list(self._counted)
        middle = len(slices) // 2
        kept: list[_Slice] = []
        for first, second in zip(slices[0:middle:2], slices[1:middle:2], strict=False):
            second.amount += first.amount
            first.amount = 0.0  # what a lease still holds of it is not given back: that errs on the safe side
            kept.append(second)
        self._counted = deque(kept + slices[len(kept) * 2 :])

    def settle(self, hold: Hold, used: float, now: float) -> None:
        """The request is over: it took ``used`` instead of what it held."""
        self.in_flight -= hold.amount
        if self._window is not None:
            self.used(now)
        if self._answered(hold):
            self._spent = max(self._spent + used - hold.amount, 0.0)
            self._level = max(self._level + used - hold.amount, 0.0)
        if self._denied is not None and used and hold.amount >= self._denied.amount and hold.since > self._denied.since:
            self._denied = None
        if used > hold.amount:
            if not hold.answered:  # else it was in the provider's count
                self._count(used - hold.amount, now)
        elif hold.at is not None:
            # Given back where it was taken: in a later slice it would outlive the amount that it corrects.
            back = min(hold.amount - used, hold.at.amount)
            hold.at.amount -= back
            self._total -= back

    def _answered(self, hold: Hold) -> bool:
        """A call is answered. Returns whether it was still open how much it takes."""
        if hold.answered or hold.since < self._level_told:
            return False
        self._unanswered -= hold.amount
        self._unsure -= hold.unsure
        return True

    def report(self, reading: Reading, hold: Hold | None, now: float) -> None:
        """The provider says how it stands, with the answer to the request that ``hold`` belongs to."""
        if self._window is not None:
            self.used(now)
        if reading.limit is not None:
            self._known, self._known_until, self._concluded = reading.limit, math.inf, False
        if reading.remaining is None or self._window is None:
            return
        self._told_at = now
        if hold is not None and self._answered(hold):
            hold.answered = True
        if self._known is not None:
            taken = self._known - reading.remaining
            # Of an empty one whose reset nobody tells, our own count knows the end where most of it is ours, or where
            # all begins anew at once.
            countable = reading.remaining >= 1 or self._day is not None or self.used(now) >= taken / 2
            if self._steady or (reading.reset_at is None and countable):
                self._reconcile(taken, hold, now)
                return
        self._remaining = reading.remaining
        self._spent = self._unanswered
        # A report holds for one window at the most, whatever the provider says; a rolling one refills bit by bit.
        longest = now + self._window.seconds
        untold = now + min(self._window.seconds, _LOOK_AGAIN)
        self._reset_at = untold if reading.reset_at is None else min(reading.reset_at, longest)

    def _reconcile(self, used: float, hold: Hold | None, now: float) -> None:
        """Bring our own count to what the provider says is used, and to what it can't know of yet.

        Others may use the same key, and windows may begin elsewhere than we think. What was sent after the request that
        this answers may or may not be in it: answers overtake each other.
        """
        ours = self.used(now)
        if self._steady:
            self._level = max(used, 0.0) + self._unanswered
            return
        if hold is None:
            if used > ours:
                self._count(used - ours, now)
            return
        later = sum(counted.amount for counted in self._counted if counted.last > hold.since)
        # What has left our window meanwhile may have been in the provider's when it answered.
        if used > max(ours, hold.total + later):
            self._count(used - max(ours, hold.total + later), now)
        else:
            excess = ours - max(used, 0.0) - self._unanswered - later
            for counted in self._counted:
                if excess <= 0:
                    break
                gone = min(counted.amount, excess)
                counted.amount -= gone
                self._total -= gone
                excess -= gone

    def refused(self, hit: Hit | None, need: float, until: float | None, now: float) -> Lesson:
        """The provider has no room for ``need``, until ``until`` if it says that. ``hit``: it says that it is this
        limit, and maybe how large that is and how much of it is used; None if it may be any."""
        if self._window is None:
            return Lesson()
        used, limit = self.used(now), self.limit(now)
        foreseen = self._lack(need, need, limit, now)
        if hit is None:
            return Lesson(self._deny(need, None, foreseen, now), foreseen=True) if foreseen else Lesson()
        if hit.amount is not None:
            limit = hit.amount
            self._known, self._known_until, self._concluded = limit, now + _NAMED_FOR, False
            # It was refused, so more than that is used; all before it was not, so no more than that.
            self._level = min(max(self._level, limit - need), limit)
            if hit.used is not None:
                # That counts the requests under way, which have arrived but for the last few.
                used = self._level = hit.used
                self._level_told = self._told_at = now
                self._unanswered = self._unsure = 0.0
        elif used >= 1 and used + self._doubt(need) < (limit or math.inf) and not foreseen:
            if self._concluded and limit is not None:  # it was concluded before, and that was too much
                used = max(min(used, limit * _LOWERED), 1.0)
            self._known, self._known_until = used, now + _CONCLUDED_FOR * self._window.seconds
            self._concluded = True
        fitted = limit is not None and need <= limit - used
        if fitted and hit.used is not None:
            return Lesson(until, fitted=True)  # only the estimate was wrong
        return Lesson(self._deny(need, until, foreseen, now), foreseen is not None, fitted)

    def _doubt(self, need: float) -> float:
        """By how much the estimate of a request's need can be too low."""
        return 0.0 if self._metric == "requests" else 2 * need

    def _test_interval(self, tests: int) -> float:
        longest = min(self._window.seconds, _LOOK_AGAIN) if self._window else 0.0
        return min(_FIRST_TEST * 2.0 ** min(tests, 30), longest)

    def _deny(self, amount: float, until: float | None, foreseen: Shortage | None, now: float) -> float:
        length = self._window.seconds if self._window else 0.0
        before, tests, test_at, again = self._denied, 0, 0.0, False
        left = self._left(self.limit(now), now)
        if before is not None and 0 <= now - before.since < length:
            if now < before.test_at:  # they were under way together
                tests, test_at = before.tests, before.test_at
            else:
                tests = before.tests + 1
            again = self._metric == "requests" and now >= before.until
            if self._denies(before, amount, self.limit(now), now):  # so it was known already
                amount, left = before.amount, before.left
                until = before.until if before.until > now else until
        test_at = test_at or now + self._test_interval(tests)
        if foreseen is not None:
            self._told_at = now
        if foreseen is not None and foreseen.until > now:
            # Our count tells when it frees: of the two, the sooner is tested.
            test_at = min(test_at, foreseen.until)
            if self._metric == "requests":
                until = foreseen.until if until is None else min(until, foreseen.until)
        if until is None or (again and until < test_at):
            until = test_at  # what it told was wrong the last time
        until = min(until, now + length)
        self._denied = _Denial(amount, left, now, until, test_at, tests)
        return until

    def forget_report(self) -> None:
        self._remaining = None
        self._known = None
        self._denied = None

    def idle(self, now: float) -> bool:
        """Whether forgetting it would lose nothing."""
        return not (self.in_flight or self._reset_at > now or (self._window is not None and self.used(now)))

    def saved(self, now: float) -> dict[str, Json]:
        """What a restart must not forget, for ``restore``; empty where that is nothing.

        What is in flight has no owner after a restart, so it is left out; but what it took stays counted: the provider
        may have counted it too, and where it has not, too little is sent for one window at the most.
        """
        found: dict[str, Json] = {}
        if self._window is None:
            return found
        self._forget_past(now)
        if self._counted:
            found["counted"] = [part for counted in self._counted for part in (counted.last, counted.amount)]
        if self._ends > now:
            found["ends"] = self._ends
        if self._level:
            found |= {"level": self._level, "level_at": self._level_at}
        if self._known is not None and now < self._known_until:
            found["known"] = self._known
            if not math.isinf(self._known_until):
                found["known_until"] = self._known_until
            if self._concluded:
                found["concluded"] = True
        if self._remaining is not None and self._reset_at > now:
            found |= {"remaining": max(self._remaining, 0.0), "reset_at": self._reset_at, "spent": self._spent}
        if self._denied is not None and now - self._denied.since < self._window.seconds:
            found["denied"] = self._denied.saved()
        if now - self._told_at < self._fresh:
            found["told_at"] = self._told_at
        return found

    def restore(self, saved: object, now: float) -> None:
        """Go on from what ``saved`` gave, as far as that is sound; for a bucket that is new."""
        if self._window is None:
            return
        found = dict(members(saved))
        self._ends = number(found.get("ends")) or 0.0
        for last, amount in pairs(found.get("counted")):
            self._count(amount, last)
        self._level = number(found.get("level")) or 0.0
        self._level_at = number(found.get("level_at")) or 0.0
        self._known = number(found.get("known"))
        self._concluded = found.get("concluded") is True
        if self._known is not None:
            longest = now + max(_NAMED_FOR, _CONCLUDED_FOR * self._window.seconds)
            until = number(found["known_until"]) or 0.0 if "known_until" in found else math.inf
            self._known_until = until if math.isinf(until) else min(until, longest)
        self._remaining = number(found.get("remaining"))
        self._spent = number(found.get("spent")) or 0.0
        self._reset_at = min(number(found.get("reset_at")) or 0.0, now + self._window.seconds)
        self._denied = _Denial.restored(found.get("denied"), now + self._window.seconds)
        told_at = number(found.get("told_at"))
        self._told_at = -math.inf if told_at is None else told_at

    def status(self, now: float) -> LimitStatus | None:
        """How it stands; None where its size is not known and nothing of it is used."""
        limit, left = self.limit(now), self.remaining(now)
        used = limit - left if limit is not None and left is not None else self.used(now) if self._window else 0.0
        if left is None and used <= 0:
            return None
        layer: Layer = "counted" if left is None else "configured"
        if left is not None and (limit is None or limit != self._limit):
            layer = "concluded" if limit is not None and self._concluded else "reported"
        return LimitStatus(
            self._metric,
            self._window,
            limit,
            max(math.ceil(used), 0),
            None if left is None else max(math.floor(left), 0),
            self.returns(now),
            self.returns(now, whole=True),
            layer,
        )

    def remaining(self, now: float) -> float | None:
        """What is left for those who come now, below zero where too much is under way; None where nobody knows."""
        limit = self.limit(now)
        if self._remaining is not None and self._reset_at > now:
            left = self._remaining - self._spent
        elif limit is None:
            return None
        else:
            # Of less than one in its window, one is taken in a longer window.
            left = (max(limit, 1.0) if limit > 0 else 0.0) - (self.used(now) if self._window else self.in_flight)
        denied = self._denied
        return left if denied is None or denied.until <= now else min(left, denied.amount - 1)

    def returns(self, now: float, *, whole: bool = False) -> float | None:
        """When the next part of what is used is back, or the ``whole`` of it; None where nothing is used."""
        if self._window is None:
            return None
        if self._remaining is not None and self._reset_at > now:
            return self._reset_at
        used = self.used(now)
        if used <= 0:
            return None
        if self._day is not None:
            return self._ends
        limit = self.limit(now)
        if self._steady and limit is not None:
            return now + (used if whole else min(used, 1.0)) / self._rate(limit)
        ends = reversed(self._counted) if whole else iter(self._counted)
        return next((part.last + self._length + self._late for part in ends if part.amount), None)


@dataclass(slots=True, eq=False)
class Hold:
    """A lease's share of one bucket: where it is counted, and whether a report came with the request's answer."""

    bucket: Bucket
    amount: float
    at: _Slice | None
    since: float
    total: float  # of the bucket, this included
    unsure: float  # so much of it is only an estimate
    answered: bool = False


class Lease:
    """What one request holds of its target's buckets, until ``Limits.settle`` or ``Limits.release``."""

    __slots__ = ("_holds", "began", "need", "target", "up_front")

    def __init__(self, target: Target, need: Need, holds: dict[_Kind, Hold], began: float, up_front: bool) -> None:
        self.target = target
        self.need = need
        self.began = began  # Unix seconds
        self.up_front = up_front  # all that it allows to be made is charged
        self._holds = holds

    def close(self) -> dict[_Kind, Hold]:
        """What to give back: everything the first time, nothing after that."""
        holds, self._holds = self._holds, {}
        return holds

    def hold(self, kind: _Kind) -> Hold | None:
        """Its share of a bucket, while it is open."""
        return self._holds.get(kind)


_Kind = tuple[Metric, Window | None]
_Group = dict[_Kind, Bucket]


class Limits:
    """All buckets, by account, model (or the glob that shares one), metric and window."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Group] = {}
        self._configured: dict[str, tuple[Limit, ...]] = {}
        self._provisions: dict[str, Provision] = {}

    def configure(self, credentials: Iterable[Credential], provisions: Mapping[str, Provision] | None = None) -> None:
        """Take over configured limits, and by account how its limits free; what was learned stays."""
        self._configured = {}
        self._provisions = dict(provisions or {})
        for credential in credentials:
            self._configured[credential.account] = self._configured.get(credential.account) or credential.limits
        for (account, _), group in self._groups.items():
            for bucket in group.values():
                bucket.configure(None)
            self._add_configured(account, group)

    def _add_configured(self, account: str, group: _Group) -> None:
        for limit in self._configured.get(account, ()):
            self._bucket(account, group, limit.metric, limit.window).configure(limit.amount)

    def _bucket(self, account: str, group: _Group, metric: Metric, window: Window | None) -> Bucket:
        bucket = group.get((metric, window))
        if bucket is None:
            bucket = group[metric, window] = Bucket(metric, window, self._provisions.get(account))
        return bucket

    def _group(self, target: Target, now: float) -> _Group:
        key = (target.account, target.bucket)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= _MOST:
                self._groups = {
                    old: buckets
                    for old, buckets in self._groups.items()
                    if not all(bucket.idle(now) for bucket in buckets.values())
                }
            group = self._groups[key] = {}
            for metric, window in _ALWAYS:
                self._bucket(target.account, group, metric, window)
            self._add_configured(target.account, group)
        return group

    def shortage(self, target: Target, need: Need, now: float) -> Shortage | None:
        """The shortage that lasts longest, or None where the target has room as far as is known."""
        group = self._groups.get((target.account, target.bucket))
        worst: Shortage | None = None
        known_until = 0.0
        for (metric, _), bucket in group.items() if group else ():
            found = bucket.shortage(need.of(metric), now, need.least_of(metric))
            if found is None:
                continue
            known_until = max(known_until, found.known_until)
            # What is known goes before what is estimated, and the longer before the shorter.
            if worst is None or (not found.estimated, found.until) > (not worst.estimated, worst.until):
                worst = found
        if worst is not None and worst.known_until < known_until:
            return replace(worst, known_until=known_until)
        return worst

    def headroom(self, target: Target, need: Need, now: float) -> float:
        """The share of its scarcest limit that would be left after this request: 1 where nothing is known."""
        group = self._groups.get((target.account, target.bucket))
        least = 1.0
        for (metric, _), bucket in group.items() if group else ():
            found = bucket.left(now)
            if found:
                least = min(least, (found[0] - need.of(metric)) / found[1])
        return least

    def take(self, target: Target, need: Need, now: float, *, up_front: bool = False) -> Lease:
        """Reserve what the request is expected to need. Every lease must be settled or released.

        ``up_front``: the provider charges what a request may need, and gives nothing back.
        """
        group = self._group(target, now)
        holds = {kind: bucket.take(need.of(kind[0]), now, need.least_of(kind[0])) for kind, bucket in group.items()}
        return Lease(target, need, holds, now, up_front)

    def settle(self, lease: Lease, tokens_in: int | None, tokens_out: int | None, now: float) -> None:
        """The request was served; tokens are the provider's count, None where it gave none. Safe to call twice."""
        if lease.up_front and lease.need.most is not None and tokens_out is not None:
            tokens_out = max(tokens_out, lease.need.most)
        both = tokens_in + tokens_out if tokens_in is not None and tokens_out is not None else None
        counted = {"tokens": both, "input_tokens": tokens_in, "output_tokens": tokens_out}
        for (metric, _), hold in lease.close().items():
            used = counted.get(metric)
            hold.bucket.settle(hold, hold.amount if used is None else float(used), now)

    def release(self, lease: Lease, now: float) -> None:
        """Nothing was used: the call failed or was refused. Safe to call twice."""
        for hold in lease.close().values():
            hold.bucket.settle(hold, 0.0, now)

    def observe(self, target: Target, readings: Iterable[Reading], lease: Lease | None, now: float) -> None:
        """Learn what the provider reported with an answer."""
        group = self._group(target, now)
        for reading in readings:
            kind = (reading.metric, reading.window or Window.MINUTE)
            self._bucket(target.account, group, *kind).report(reading, lease.hold(kind) if lease else None, now)

    def refused(self, target: Target, hit: Hit | None, need: Need, until: float | None, now: float) -> Lesson:
        """Learn from a refusal which limit it was, and how large; ``until`` when, if that was said.

        Where it names none, it is taken for one that our count says to be full, if there is one.
        """
        group = self._group(target, now)
        if hit is not None:
            bucket = self._bucket(target.account, group, hit.metric, hit.window)
            return bucket.refused(hit, need.of(hit.metric), until, now)
        lessons = [bucket.refused(None, need.of(metric), until, now) for (metric, _), bucket in group.items()]
        return max((lesson for lesson in lessons if lesson.until), default=Lesson(), key=lambda one: one.until or 0.0)

    def clear(self, target: Target) -> None:
        """Forget what the provider reported for this target."""
        for bucket in self._groups.get((target.account, target.bucket), {}).values():
            bucket.forget_report()

    def room(self, target: Target, metric: Metric, now: float) -> Room | None:
        """What is left of the scarcest of the target's limits on ``metric``; None where no such limit is known."""
        least, scarcest = math.inf, None
        for (kind, window), bucket in self._groups.get((target.account, target.bucket), {}).items():
            left = bucket.remaining(now) if kind == metric and window is not None else None
            if left is not None and left < least:
                least, scarcest = left, bucket
        return Room(max(math.floor(least), 0), scarcest.returns(now)) if scarcest else None

    def seen(self, target: Target) -> bool:
        """Whether anything is counted for it."""
        return (target.account, target.bucket) in self._groups

    def status(self, target: Target, now: float) -> tuple[LimitStatus, ...]:
        """The target's limits that say something, requests first and shorter windows before longer ones."""
        group = self._groups.get((target.account, target.bucket), {})
        ordered = sorted(group, key=lambda kind: (_ORDER[kind[0]], kind[1].seconds if kind[1] else 0.0))
        return tuple(found for kind in ordered if (found := group[kind].status(now)))

    def in_flight(self) -> Iterator[float]:
        """What every bucket has in flight; all zero when nothing is under way."""
        return (bucket.in_flight for group in self._groups.values() for bucket in group.values())

    def forget(self, ids: Container[str]) -> None:
        """Forget all that was learned of these accounts."""
        self._groups = {key: group for key, group in self._groups.items() if key[0] not in ids}

    def save(self, into: dict[str, dict[str, Json]], now: float) -> Iterator[None]:
        """All buckets, for ``restore``: by account, model, metric and window. Each step adds one account's model."""
        for (account, model), group in list(self._groups.items()):
            metrics: dict[str, dict[str, Json]] = {}
            for (metric, window), bucket in group.items():
                if window is not None and (found := bucket.saved(now)):
                    metrics.setdefault(metric, {})[window.value] = found
            into.setdefault(account, {})[model] = metrics
            yield

    def restore(self, saved: object, now: float) -> None:
        """Go on from what ``saved`` gave, as far as that is sound; after ``configure``, before anything is taken."""
        for account, models in members(saved):
            for model, metrics in members(models):
                if len(self._groups) >= _MOST:
                    return
                group = self._group(Target("", model, "", account, model), now)
                for metric, windows in members(metrics):
                    for window, bucket in members(windows):
                        if metric in _METRICS and window in _WINDOWS:
                            self._bucket(account, group, _METRICS[metric], _WINDOWS[window]).restore(bucket, now)
