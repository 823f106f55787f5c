"""Buckets: how much of a limit is left, from what is configured, what was counted here, and what providers report.

A request takes a lease on every bucket of its target before it is sent, so two requests never take the last slot; the
lease is settled with what was really used, or released. The layer closest to the truth wins: a fresh report of the
provider over our own count.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from chain429.routing.chain import Credential, Limit, Target
from chain429.routing.headers import Metric, Reading
from chain429.routing.outcome import Hit, Provision
from chain429.routing.window import Refill, Window

# A rolling window is counted in slices, at most this many to a window. One leaves the window as a whole, when its last
# amount has left. Where more than the second number are kept, the older half of them is made half as fine.
_SLICES = 3600
_KEPT = 256
# A request counts at the provider from its arrival on, seconds later than it was sent: it leaves the window as late.
_LATE = 1.0
# When to look again at a bucket that is reported empty, where its reset is not told.
_LOOK_AGAIN = 3600.0
# Clients can name models at will, so what is remembered of them is bounded.
_MOST = 10_000
# How long the size of a limit is believed that a refusal named, in seconds; and that we had to conclude from what we
# had sent until then, in windows: others may have used the same key.
_NAMED_FOR = 86400.0
_CONCLUDED_FOR = 2
# Counted from the start, whatever the provider says: the first refusal then tells how much went through.
_ALWAYS: tuple[tuple[Metric, Window], ...] = (
    ("requests", Window.MINUTE),
    ("requests", Window.DAY),
    ("tokens", Window.MINUTE),
    ("tokens", Window.DAY),
)


class Need(NamedTuple):
    """What one request is expected to take.

    ``tokens`` is an estimate of all its tokens and ``output`` the part of them that will be made; ``size`` is the
    body's length in bytes, ``most`` the number of tokens that it allows to be made, if it says so.
    """

    tokens: float = 0.0
    size: int = 0
    output: float = 0.0
    most: int | None = None

    def of(self, metric: Metric) -> float:
        if metric == "requests":
            return 1.0
        if metric == "input_tokens":
            return self.tokens - self.output
        return self.output if metric == "output_tokens" and self.output else self.tokens


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a bucket has no room, in plain words, and when it frees (Unix seconds).

    ``spent``: it counts over a day or longer, so it is no matter of waiting a little. ``estimated``: there is room, but
    by estimate not for this request. ``until`` is infinite where the request can't fit at any time.
    """

    reason: str
    until: float
    spent: bool = False
    estimated: bool = False


@dataclass(slots=True)
class _Slice:
    number: int
    last: float = 0.0  # when it was added to last, Unix seconds
    amount: float = 0.0


class Bucket:
    """One limit's window for one account and model; without a window, the limit of what is under way at a time."""

    __slots__ = (
        "_counted", "_day", "_ends", "_known", "_known_until", "_late", "_length", "_level", "_level_at", "_limit",
        "_metric", "_name", "_remaining", "_reset_at", "_slice", "_spends", "_spent", "_steady", "_total",
        "_unanswered", "_window", "in_flight",
    )  # fmt: skip

    def __init__(self, metric: Metric, window: Window | None, provision: Provision | None = None) -> None:
        self._metric = metric
        day = provision.day if provision else None
        self._steady = provision is not None and provision.refill is Refill.STEADY
        self._level = 0.0  # what is used of a limit that refills steadily
        self._level_at = 0.0
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
        self._reset_at = 0.0
        self._spent = 0.0  # what that report does not know of yet
        self._unanswered = 0.0  # in flight, and no report has come with its answer
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

    def shortage(self, amount: float, now: float) -> Shortage | None:
        """Why ``amount`` can't be taken now, or None where it can as far as is known."""
        if self._window is None:
            if self._limit is None or self.in_flight < self._limit:
                return None
            # Nothing tells when a call ends.
            return Shortage(f"{self._limit:g} requests at a time are under way", now + 1)
        limit = self.limit(now)
        if limit is not None and amount > limit and self._metric != "requests":
            words = f"it needs about {amount:.0f} {self._name}, more than the limit of {limit:g}"
            return Shortage(words, math.inf, estimated=True)
        if self._remaining is not None and self._reset_at > now:
            left = self._remaining - self._spent
            if left < 1:
                return self._used_up(limit, self._reset_at)
            if self._metric == "requests":
                return None
            if left < amount:
                return self._short(left, amount, self._reset_at)
        if limit is None:
            return None
        left = max(limit, 1.0) - self.used(now)
        if left < 1:
            return self._used_up(limit, self._frees(min(amount, limit) - left))
        return self._short(left, amount, self._frees(amount - left)) if left < amount else None

    def _used_up(self, limit: float | None, until: float) -> Shortage:
        size = f" (limit {limit:g})" if limit is not None else ""
        return Shortage(f"{self._name} used up{size}", until, self._spends)

    def _short(self, left: float, amount: float, until: float) -> Shortage:
        words = f"{left:.0f} of its {self._name} are left, and it needs about {amount:.0f}"
        return Shortage(words, until, self._spends, estimated=True)

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

    def take(self, amount: float, now: float) -> Hold:
        """Count ``amount`` as in flight. Every hold must be settled."""
        self.in_flight += amount
        self._unanswered += amount
        self._spent += amount
        if self._window is not None:
            self.used(now)  # what is added now must not count as older, and so as drained or of another day
            self._level += amount
        return Hold(self, amount, self._count(amount, now))

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
        if not hold.answered:
            self._unanswered -= hold.amount
            self._spent = max(self._spent + used - hold.amount, 0.0)
            self._level = max(self._level + used - hold.amount, 0.0)
        if used > hold.amount:
            self._count(used - hold.amount, now)
        elif hold.at is not None:
            # Given back where it was taken: in a later slice it would outlive the amount that it corrects.
            back = min(hold.amount - used, hold.at.amount)
            hold.at.amount -= back
            self._total -= back

    def report(self, reading: Reading, hold: Hold | None, now: float) -> None:
        """The provider says how it stands, with the answer to the request that ``hold`` belongs to."""
        if self._window is not None:
            self.used(now)
        if reading.limit is not None:
            self._known, self._known_until = reading.limit, math.inf
        if reading.remaining is None or self._window is None:
            return
        if hold is not None and not hold.answered:
            hold.answered = True
            self._unanswered -= hold.amount
        if self._known is not None:
            taken = self._known - reading.remaining
            # Of an empty one whose reset nobody tells, our own count knows the end where most of it is ours, or where
            # all begins anew at once.
            countable = reading.remaining >= 1 or self._day is not None or self.used(now) >= taken / 2
            if self._steady or (reading.reset_at is None and countable):
                self._reconcile(taken, now)
                return
        self._remaining = reading.remaining
        self._spent = self._unanswered
        # A report holds for one window at the most, whatever the provider says; a rolling one refills bit by bit.
        longest = now + self._window.seconds
        untold = now + min(self._window.seconds, _LOOK_AGAIN)
        self._reset_at = untold if reading.reset_at is None else min(reading.reset_at, longest)

    def _reconcile(self, used: float, now: float) -> None:
        """Bring our own count up to what the provider says is used: others may use the same key."""
        ours = self.used(now)
        if self._steady:
            self._level = max(used, 0.0) + self._unanswered
        elif used > ours:
            self._count(used - ours, now)

    def refused(self, amount: float | None, need: float, now: float) -> None:
        """The provider says that this limit has no room for ``need``, and how large it is, where it says that."""
        used = self.used(now)
        if amount is not None:
            self._known, self._known_until = amount, now + _NAMED_FOR
            # It was refused, so more than that is used; all before it was not, so no more than that.
            self._level = min(max(self._level, amount - need), amount)
        elif self._window is not None and used >= 1 and used < (self.limit(now) or math.inf):
            self._known, self._known_until = used, now + _CONCLUDED_FOR * self._window.seconds

    def forget_report(self) -> None:
        self._remaining = None
        self._known = None

    def idle(self, now: float) -> bool:
        """Whether forgetting it would lose nothing."""
        return not (self.in_flight or self._reset_at > now or (self._window is not None and self.used(now)))


@dataclass(slots=True, eq=False)
class Hold:
    """A lease's share of one bucket: where it is counted, and whether a report came with the request's answer."""

    bucket: Bucket
    amount: float
    at: _Slice | None
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
        for (metric, _), bucket in group.items() if group else ():
            found = bucket.shortage(need.of(metric), now)
            # What is known goes before what is estimated, and the longer before the shorter.
            if found and (worst is None or (not found.estimated, found.until) > (not worst.estimated, worst.until)):
                worst = found
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
        holds = {kind: bucket.take(need.of(kind[0]), now) for kind, bucket in group.items()}
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

    def refused(self, target: Target, hit: Hit, need: Need, now: float) -> None:
        """Learn from a refusal which limit it was, and how large."""
        group = self._group(target, now)
        self._bucket(target.account, group, hit.metric, hit.window).refused(hit.amount, need.of(hit.metric), now)

    def clear(self, target: Target) -> None:
        """Forget what the provider reported for this target."""
        for bucket in self._groups.get((target.account, target.bucket), {}).values():
            bucket.forget_report()

    def in_flight(self) -> Iterator[float]:
        """What every bucket has in flight; all zero when nothing is under way."""
        return (bucket.in_flight for group in self._groups.values() for bucket in group.values())
