"""One limit of one account and model: whether it has room, by what is configured, counted here, and reported.

Knowledge is of different worth, and ``Shortage`` says of which. The closest to the truth wins: what the provider
reports with a reset; else our count, brought to what the provider says is used; against a limit that it names, else one
that is configured, else what went through until it refused. What is only believed may be tested by a request that would
fail otherwise, at growing intervals (``_Denial``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar, NamedTuple

from chain429.routing.count import Count
from chain429.routing.headers import Metric, Reading
from chain429.routing.outcome import Hit, Provision
from chain429.routing.saved import Json, members, number
from chain429.routing.status import Layer, LimitStatus
from chain429.routing.window import Window

# How long a refusal keeps others that are no more likely to fit from trying, in seconds; doubled with each that tried
# in vain, up to the window or the second number. Without it every request of a burst would test the same limit.
_FIRST_TEST, _LAST_TEST = 10.0, 3600.0
# By so much more must be left, compared with what is needed, than when it was refused, for a try to be another one, as
# a part of that for each that was in vain before.
_WEARIER, _WEARIEST = 0.05, 5
# So long our own count is known to be right after the provider has told its own: in seconds, or as part of the window,
# whichever is longer.
_FRESH, _FRESH_PART = 60.0, 1 / 12
# When to look again at a bucket that is reported empty, where its reset is not told.
_LOOK_AGAIN = 3600.0
# How long the size of a limit is believed that a refusal named, in seconds; and that we had to conclude from what we
# had sent until then, in windows: others may have used the same key.
_NAMED_FOR = 86400.0
_CONCLUDED_FOR = 2
# What a limit is taken for that was concluded, and is hit again: one that was lowered by much is found in a few calls.
_LOWERED = 0.9
# By how much less than it took a request may have been estimated, as a part of the estimate.
_OFF = 2.0


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
    for_all: bool = False  # whatever the request needs


class Room(NamedTuple):
    """So much of a limit is left, in whole numbers.

    ``more_at`` is when there is more (Unix seconds), None where nothing is used.
    """

    left: int
    more_at: float | None


class Lesson(NamedTuple):
    """What a refusal comes to.

    ``until``: so long nothing as large is tried, None where it benches nothing by itself. ``foreseen``: our count had
    said as much, so it tells nothing new. ``fitted``: by its estimate there was room, so that was too low.
    """

    until: float | None = None
    foreseen: bool = False
    fitted: bool = False


@dataclass(slots=True, eq=False)
class Hold:
    """A lease's share of one bucket."""

    bucket: Bucket | Concurrency
    amount: float
    since: float = 0.0
    unsure: float = 0.0  # so much of it is only an estimate
    total: float = 0.0  # what the bucket had counted then, this included
    era: int = 0  # the bucket's
    answered: bool = False  # a report came with the request's answer


@dataclass(frozen=True, slots=True)
class _Denial:
    """The provider had no room for ``amount`` when ``left`` was left by our count.

    So it has none for whatever is as much of what is left, or more: a smaller request may fit, and the same one when
    more is left. It is said to be so until ``until``, and known until ``test_at``, which moves on with each ``tests``.
    """

    amount: float
    left: float
    since: float
    until: float
    test_at: float
    tests: int = 0

    def enough(self, amount: float) -> float:
        """With more left than that, ``amount`` is another try: less of it than what was refused."""
        if self.amount <= 0:  # where there is no room for nothing, there is none for anything
            return math.inf
        return amount * self.left / self.amount * (1.0 + _WEARIER * min(self.tests, _WEARIEST))

    def covers(self, amount: float, left: float) -> bool:
        return left <= self.enough(amount)

    def saved(self) -> Json:
        return [self.amount, self.left, self.since, self.until, self.test_at, self.tests]

    @classmethod
    def restored(cls, saved: object, latest: float) -> _Denial | None:
        """From what ``saved`` gave, where that is sound; over at ``latest``."""
        match [number(part) for part in saved] if isinstance(saved, list) else []:
            case [float(amount), float(left), float(since), float(until), float(test_at), float(tests)]:
                return cls(amount, left, since, min(until, latest), min(test_at, latest), int(tests))
        return None


@cache
def _named(metric: Metric, window: Window) -> str:
    return f"{metric.replace('_', ' ')} per {window}"


class Bucket:
    """One limit's window for one account and model."""

    __slots__ = (
        "_concluded", "_count", "_denied", "_era", "_known", "_known_until", "_limit", "_remaining",
        "_reset_at", "_spent", "_told_at", "_unanswered", "_unsure", "_window", "in_flight", "metric",
    )  # fmt: skip

    def __init__(self, metric: Metric, window: Window, provision: Provision | None = None) -> None:
        self.metric = metric
        self._window = window
        self._limit: float | None = None  # as configured
        self._count = Count(window, provision)
        self._known: float | None = None  # the limit's size as the provider said it, or as its refusal implied
        self._known_until = 0.0
        self._concluded = False  # whether that size is only what went through until a refusal
        self._remaining: float | None = None  # as last reported, with a reset
        self._reset_at = 0.0
        self._spent = 0.0  # what that report does not know of yet
        self._denied: _Denial | None = None
        self._told_at = -math.inf  # when the provider told last how much is used, or confirmed what we thought
        self._era = 0  # how often a refusal told how much is used: what was under way then is in it
        self._unanswered = 0.0  # under way since then, and no report has come with its answer
        self._unsure = 0.0  # of that, what is only estimated
        self.in_flight = 0.0

    def configure(self, limit: float | None) -> None:
        """Count against ``limit`` from now on; None: against what is reported only."""
        self._limit = limit
        self._count.configure(limit)

    def limit(self, now: float) -> float | None:
        """Its size, as far as it is known: what the provider says goes before what is configured."""
        return self._known if self._known is not None and now < self._known_until else self._limit

    def used(self, now: float) -> float:
        """What was counted within the window that ends now."""
        return self._count.used(self.limit(now), now)

    @property
    def _name(self) -> str:
        return _named(self.metric, self._window)

    def _reported(self, now: float) -> bool:
        """Whether a report holds that told its own reset."""
        return self._remaining is not None and now < self._reset_at

    # Whether there is room.

    def shortage(self, amount: float, least: float, now: float) -> Shortage | None:
        """Why ``amount`` can't be taken now, or None where it can as far as is known; ``least`` of it is sure."""
        limit = self._known if self._known is not None and now < self._known_until else self._limit
        denied = self._denied
        if limit is None and denied is None and self._remaining is None:
            return None
        found = self._lack(amount, max(1.0, least), limit, now)
        if denied is None or not denied.since <= now < max(denied.until, denied.test_at):
            return found
        if not self._covers(denied, amount, limit, now):
            return found
        if found is None:
            return self._refused_before(amount, limit, denied) if now < denied.until else None
        known_until = min(denied.test_at, found.until - self._count.margin)
        if self.metric != "requests" and not self._reported(now):
            more = denied.enough(amount) - self._free(limit, now)
            known_until = min(known_until, self._count.frees(more, limit or 1.0))
        return replace(found, known_until=max(found.known_until, known_until))

    def _lack(self, amount: float, least: float, limit: float | None, now: float) -> Shortage | None:
        """The shortage by what is reported and counted, refusals aside."""
        if limit is not None and amount > limit and self.metric != "requests":
            words = f"it needs about {amount:.0f} {self._name}, more than the limit of {limit:g}"
            return Shortage(words, math.inf, estimated=True, known_until=0.0)
        if self._remaining is not None and now < self._reset_at:
            left = self._remaining - self._spent
            if left < 1 or (left < amount and self.metric != "requests"):
                known_until = self._known_for(least - left, self._reset_at, now)
                return self._short(left, amount, limit, self._reset_at, known_until)
            if self.metric == "requests":
                return None
        if limit is None:
            return None
        left = (max(1.0, limit)) - self._count.used(limit, now)
        if left >= amount:
            return None
        known_until = 0.0
        lacking = least - left - self._unsure
        # A limit that the user sets is kept to. Of any other our count may be wrong, where nothing has confirmed it.
        sure_until = math.inf if limit == self._limit else self._fresh_until(now)
        if lacking > 0 and now < sure_until:
            frees = self._count.frees(lacking, limit) - self._count.margin
            known_until = self._known_for(least - left, min(frees, sure_until), now)
        return self._short(left, amount, limit, self._count.frees(min(amount, limit) - left, limit), known_until)

    def _fresh_until(self, now: float) -> float:
        """Until when our count is known to be right, and so is the limit."""
        if self._concluded or now < self._told_at:
            return 0.0
        return self._told_at + max(_FRESH, self._window.seconds * _FRESH_PART)

    def _known_for(self, lacking: float, until: float, now: float) -> float:
        """How long it is known that so much is lacking, of which there is enough at ``until``."""
        if lacking <= self._unsure:  # the requests under way may take less than was estimated
            return 0.0
        # They may also be refused, and so take nothing; when that will be known, nothing tells.
        return min(until, now + 1) if self.metric != "requests" and lacking <= self._unanswered else until

    def _free(self, limit: float | None, now: float) -> float:
        """What is left if the requests under way take nothing; 1 at the least, and where nothing is known."""
        if self._remaining is not None and now < self._reset_at:
            return max(self._remaining - self._spent + self._unanswered, 1.0)
        return 1.0 if limit is None else max(limit - self._count.used(limit, now) + self._unanswered, 1.0)

    def _covers(self, denied: _Denial, amount: float, limit: float | None, now: float) -> bool:
        return self.metric == "requests" or denied.covers(amount, self._free(limit, now))

    def _short(self, left: float, amount: float, limit: float | None, until: float, known_until: float) -> Shortage:
        spent = self._window.seconds >= Window.DAY.seconds
        if left < 1:
            for_all = self.metric == "requests"
            return Shortage(f"{self._name} used up{_sized(limit)}", until, spent, False, known_until, for_all)
        words = f"{left:.0f} of its {self._name} are left, and it needs about {amount:.0f}"
        return Shortage(words, until, spent, estimated=True, known_until=known_until)

    def _refused_before(self, amount: float, limit: float | None, denied: _Denial) -> Shortage:
        spent = self._window.seconds >= Window.DAY.seconds
        if self.metric == "requests":
            return Shortage(f"{self._name} reached{_sized(limit)}", denied.until, spent, known_until=denied.test_at)
        words = f"no room for about {amount:.0f} {self._name}{_sized(limit)}, as about {denied.amount:.0f} were refused"
        return Shortage(words, denied.until, spent, estimated=True, known_until=denied.test_at)

    def headroom(self, amount: float, now: float) -> float:
        """The share of it that would be left after ``amount``; 1 where its size is not known."""
        limit = self._known if self._known is not None and now < self._known_until else self._limit
        if limit is None or limit <= 0:
            return 1.0
        if self._remaining is not None and now < self._reset_at:
            left = self._remaining - self._spent
        else:
            left = limit - self._count.used(limit, now)
        return ((max(0.0, left)) - amount) / limit

    # What is sent.

    def take(self, amount: float, least: float, now: float) -> Hold:
        """Count ``amount`` as in flight, of which ``least`` is sure. Every hold must be settled."""
        count = self._count
        limit = self._known if self._known is not None and now < self._known_until else self._limit
        used = count.used(limit, now)
        if self._denied is not None or (self.metric == "requests" and limit is not None and used + 1 > max(limit, 1.0)):
            self._note_test(amount, used, limit, now)
        unsure = amount - least if amount > least else 0.0
        self.in_flight += amount
        self._unanswered += amount
        self._unsure += unsure
        self._spent += amount
        count.add(amount, now)
        return Hold(self, amount, now, unsure, count.total, self._era)

    def _note_test(self, amount: float, used: float, limit: float | None, now: float) -> None:
        """One test at a time: where this is one, others wait for what becomes of it."""
        denied = self._denied
        if denied is not None and denied.since <= now < denied.until:
            if self._covers(denied, amount, limit, now):
                # Nothing tells when it is answered.
                self._denied = replace(denied, test_at=now + 1, tests=denied.tests + 1)
        elif self.metric == "requests" and limit is not None and used + 1 > max(limit, 1.0):
            tests = denied.tests + 1 if denied is not None and self._matters(denied, now) else 0
            self._denied = _Denial(1.0, 1.0, now, now, now + 1, tests)

    def _matters(self, denied: _Denial, now: float) -> bool:
        """Whether a denial still counts as one in a row: after a peace as long as its last interval it does not."""
        return denied.since <= now < max(denied.until, denied.test_at) + self._test_interval(denied.tests)

    def _test_interval(self, tests: int) -> float:
        return min(_FIRST_TEST * 2.0 ** min(tests, 30), self._window.seconds, _LAST_TEST)

    def settle(self, hold: Hold, used: float, now: float) -> None:
        """The request is over: it took ``used`` instead of what it held."""
        count, denied = self._count, self._denied
        self.in_flight -= hold.amount
        is_open = self._is_open(hold)
        if denied is not None and used > 0 and hold.amount >= denied.amount and hold.since > denied.since:
            self._denied = None
        if used == hold.amount:
            return
        self.used(now)
        if is_open:
            self._spent = max(self._spent + used - hold.amount, 0.0)
            count.shift(used - hold.amount)
        if used < hold.amount:
            count.take_back(hold.amount - used, hold.since)
        elif used > hold.amount and not hold.answered:  # else it is in the provider's count, which ours was brought to
            count.add_unseen(used - hold.amount, now)

    def _is_open(self, hold: Hold) -> bool:
        """Close a hold; returns whether it was open until now how much of it the provider counts."""
        if hold.answered or hold.era != self._era:
            return False
        self._unanswered -= hold.amount
        self._unsure -= hold.unsure
        return True

    # What the provider says.

    def report(self, reading: Reading, hold: Hold | None, now: float) -> None:
        """The provider says how it stands, with the answer to the request that ``hold`` belongs to."""
        if reading.limit is not None:
            self._known, self._known_until, self._concluded = reading.limit, math.inf, False
        if reading.remaining is None:
            return
        self._told_at = now
        used = self.used(now)
        if hold is not None:
            self._is_open(hold)
            hold.answered = True
        if self._known is not None:
            taken = max(self._known - reading.remaining, 0.0)
            # Of an empty one whose reset nobody tells, our own count knows the end where most of it is ours, or where
            # all begins anew at once.
            countable = reading.remaining >= 1 or self._count.of_calendar or used >= taken / 2
            if self._count.steady:
                self._count.set_level(taken + self._unanswered)
                return
            if reading.reset_at is None and countable:
                self._reconcile(taken, used, hold, now)
                return
        self._remaining = reading.remaining
        self._spent = self._unanswered
        # A report holds for one window at the most, whatever the provider says; a rolling one refills bit by bit.
        longest = now + self._window.seconds
        untold = now + min(self._window.seconds, _LOOK_AGAIN)
        self._reset_at = untold if reading.reset_at is None else min(reading.reset_at, longest)

    def _reconcile(self, taken: float, ours: float, hold: Hold | None, now: float) -> None:
        """Bring our count to what the provider says is used, and to what it can't know of yet.

        Others may use the same key, and windows may begin elsewhere than we think. What was sent after the request that
        this answers may or may not be in it, as answers overtake each other; and what has left our window since may
        still have been in the provider's.
        """
        later = self._count.after(hold.since) if hold is not None else 0.0
        most = max(ours, hold.total + later) if hold is not None else ours
        if taken > most:
            self._count.add_unseen(taken - most, now)
        elif hold is not None and ours > taken + self._unanswered + later:
            self._count.drop(ours - taken - self._unanswered - later)

    def refused(self, hit: Hit | None, need: float, until: float | None, now: float) -> Lesson:
        """The provider has no room for ``need``, until ``until`` if it says that. ``hit``: it says that it is this
        limit, and maybe how large that is and how much of it is used; None if it may be any."""
        limit = self.limit(now)
        used = self._count.used(limit, now)
        foreseen = self._lack(need, need, limit, now)
        if hit is None:
            return Lesson(self._deny(need, None, foreseen, now), foreseen=True) if foreseen else Lesson()
        if hit.amount is not None:
            limit = hit.amount
            self._known, self._known_until, self._concluded = limit, now + _NAMED_FOR, False
            self._count.used(limit, now)
            if hit.used is not None:
                self._told(hit.used, used, now)
                used = hit.used
            else:
                # It was refused, so more than that is used; all before it was not, so no more than the limit.
                self._count.set_level(min(max(used, limit - need), limit))
        elif not foreseen and 1 <= used < (limit or math.inf) - (need * _OFF if self.metric != "requests" else 0.0):
            if self._concluded and limit is not None:  # it was concluded before, and that was too much
                used = max(min(used, limit * _LOWERED), 1.0)
            self._known, self._known_until = used, now + _CONCLUDED_FOR * self._window.seconds
            self._concluded = True
        fitted = limit is not None and need <= limit - used
        if fitted and hit.used is not None:
            return Lesson(until, fitted=True)  # nothing but the estimate was wrong
        return Lesson(self._deny(need, until, foreseen, now), foreseen is not None, fitted)

    def _told(self, used: float, ours: float, now: float) -> None:
        """A refusal has told how much is used; the requests under way are in it, as all but the last have arrived."""
        if self._count.steady:
            self._count.set_level(used)
            self._era += 1
            self._unanswered = self._unsure = 0.0
        elif used > ours:
            self._count.add_unseen(used - ours, now)
        self._told_at = now

    def _deny(self, amount: float, until: float | None, foreseen: Shortage | None, now: float) -> float:
        """Note that there was no room for ``amount``; returns until when that is believed."""
        limit, before = self.limit(now), self._denied
        left = self._free(limit, now)
        tests, test_at = 0, 0.0
        wrong = False  # whether what was said of its end the last time has proved wrong
        if before is not None and self._matters(before, now):
            together = now < before.test_at  # they were under way together, or this was the test
            tests, test_at = (before.tests, before.test_at) if together else (before.tests + 1, 0.0)
            wrong = self.metric == "requests" and now >= before.until
            if self._covers(before, amount, limit, now):  # so it was known already
                amount, left = before.amount, before.left
                until = before.until if before.until > now else until
        test_at = max(test_at, now + self._test_interval(tests))
        if foreseen is not None:
            self._told_at = now
            if foreseen.until > now:
                # Our count tells when it frees: of the two, the sooner is tested.
                test_at = min(test_at, foreseen.until)
                if self.metric == "requests":
                    until = min(until or math.inf, foreseen.until)
        until = test_at if until is None or (wrong and until < test_at) else min(until, now + self._window.seconds)
        self._denied = _Denial(amount, left, now, until, test_at, tests)
        return until

    def clear(self) -> None:
        """Forget what the provider said."""
        self._remaining = self._known = self._denied = None

    # What others ask.

    def idle(self, now: float) -> bool:
        """Whether forgetting it would lose nothing."""
        return not (self.in_flight or self._reset_at > now or self.used(now))

    def remaining(self, now: float) -> float | None:
        """What is left for those who come now, below zero where too much is under way; None where nobody knows."""
        limit = self.limit(now)
        if self._remaining is not None and now < self._reset_at:
            left = self._remaining - self._spent
        elif limit is None:
            return None
        else:
            # Of less than one in its window, one is taken in a longer window.
            left = (max(limit, 1.0) if limit > 0 else 0.0) - self._count.used(limit, now)
        denied = self._denied
        return left if denied is None or denied.until <= now else min(left, denied.amount - 1)

    def returns(self, now: float, *, whole: bool = False) -> float | None:
        """When the next part of what is used is back, or the ``whole`` of it; None where nothing is used."""
        if self._reported(now):
            return self._reset_at
        return self._count.returns(self.limit(now), now, whole=whole)

    def status(self, now: float) -> LimitStatus | None:
        """How it stands; None where its size is not known and nothing of it is used."""
        limit, left = self.limit(now), self.remaining(now)
        used = limit - left if limit is not None and left is not None else self.used(now)
        if left is None and used <= 0:
            return None
        layer: Layer = "counted" if left is None else "configured"
        if left is not None and (limit is None or limit != self._limit):
            layer = "concluded" if limit is not None and self._concluded else "reported"
        return LimitStatus(
            self.metric,
            self._window,
            limit,
            max(math.ceil(used), 0),
            None if left is None else max(math.floor(left), 0),
            self.returns(now),
            self.returns(now, whole=True),
            layer,
        )

    # What a restart must not forget.

    def saved(self, now: float) -> dict[str, Json]:
        """All of that, for ``restore``; empty where that is nothing.

        What is in flight has no owner after a restart, so it is left out; but what it took stays counted: the provider
        may have counted it too, and where it has not, too little is sent for one window at the most.
        """
        found = self._count.saved(now)
        if self._known is not None and now < self._known_until:
            found["known"] = self._known
            if not math.isinf(self._known_until):
                found["known_until"] = self._known_until
            if self._concluded:
                found["concluded"] = True
        if self._remaining is not None and now < self._reset_at:
            found |= {"remaining": max(self._remaining, 0.0), "reset_at": self._reset_at, "spent": self._spent}
        if self._denied is not None and now - self._denied.since < self._window.seconds:
            found["denied"] = self._denied.saved()
        if now - self._told_at < self._window.seconds:
            found["told_at"] = self._told_at
        return found

    def restore(self, saved: object, now: float) -> None:
        """Go on from what ``saved`` gave, as far as that is sound; for a bucket that is new."""
        found = dict(members(saved))
        self._count.restore(found)
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


def _sized(limit: float | None) -> str:
    return f" (limit {limit:g})" if limit is not None else ""


class Concurrency:
    """The limit of what is under way at a time. Only configured: no provider tells it, and no restart knows of it."""

    __slots__ = ("_limit", "in_flight")

    metric: ClassVar[Metric] = "requests"

    def __init__(self) -> None:
        self._limit: float | None = None
        self.in_flight = 0.0

    def configure(self, limit: float | None) -> None:
        self._limit = limit

    def shortage(self, amount: float, least: float, now: float) -> Shortage | None:
        if self._limit is None or self.in_flight < self._limit:
            return None
        # Nothing tells when a call ends.
        return Shortage(f"{self._limit:g} requests at a time are under way", now + 1)

    def headroom(self, amount: float, now: float) -> float:
        return 1.0

    def take(self, amount: float, least: float, now: float) -> Hold:
        self.in_flight += amount
        return Hold(self, amount)

    def settle(self, hold: Hold, used: float, now: float) -> None:
        self.in_flight -= hold.amount

    def idle(self, now: float) -> bool:
        return not self.in_flight

    def status(self, now: float) -> LimitStatus | None:
        if self._limit is None:
            return None
        left = max(math.floor(self._limit - self.in_flight), 0)
        return LimitStatus("requests", None, self._limit, math.ceil(self.in_flight), left, None, None, "configured")
