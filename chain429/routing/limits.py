"""Buckets: how much of a limit is left, from what is configured, what was counted here, and what providers report.

A request takes a lease on every bucket of its target before it is sent, so two requests never take the last slot; the
lease is settled with what was really used, or released. The layer closest to the truth wins: a fresh report of the
provider over our own count.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chain429.routing.chain import Credential, Limit, Target
from chain429.routing.headers import Metric, Reading
from chain429.routing.window import Window

# A rolling window is counted in this many slices. A slice leaves the window as a whole, when its last moment has left.
_SLICES = 60
# When to look again at a bucket that is reported empty, where its reset is not told.
_LOOK_AGAIN = 3600.0
# Clients can name models at will, so what is remembered of them is bounded.
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Need:
    """What one request is expected to take. ``tokens`` is an estimate; ``size`` is the body's length in bytes."""

    tokens: float = 0.0
    size: int = 0

    def of(self, metric: Metric) -> float:
        return 1.0 if metric == "requests" else self.tokens


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a bucket has no room, in plain words, and when it frees (Unix seconds).

    ``spent``: it counts over a day or longer, so it is no matter of waiting a little.
    """

    reason: str
    until: float
    spent: bool = False


@dataclass(slots=True)
class _Slice:
    number: int
    amount: float = 0.0


class Bucket:
    """One limit's window for one account and model; without a window, the limit of what is under way at a time."""

    __slots__ = (
        "_counted", "_length", "_limit", "_metric", "_name", "_remaining", "_reported_limit", "_reset_at", "_slice",
        "_spends", "_spent", "_total", "_unanswered", "_window", "in_flight",
    )  # fmt: skip

    def __init__(self, metric: Metric, window: Window | None) -> None:
        self._metric = metric
        self._window = window
        self._name = f"{metric.replace('_', ' ')} per {window}"
        self._spends = window is not None and window.seconds >= Window.DAY.seconds
        self._slice = window.seconds / _SLICES if window else 0.0
        self._counted: deque[_Slice] = deque()  # by number, ascending
        self._total = 0.0  # of all slices
        self._remaining: float | None = None  # as last reported
        self._reported_limit: float | None = None
        self._reset_at = 0.0
        self._spent = 0.0  # what that report does not know of yet
        self._unanswered = 0.0  # in flight, and no report has come with its answer
        self.in_flight = 0.0
        self.configure(None)

    def configure(self, limit: float | None) -> None:
        """Count against ``limit`` from now on; None: against what is reported only."""
        self._limit = limit
        # A limit of half a request a second is kept as one in two seconds.
        self._length = self._window.seconds / min(limit or 1.0, 1.0) if self._window else 0.0

    def used(self, now: float) -> float:
        """What was counted within the window that ends now."""
        counted = self._counted
        oldest = (now - self._length) / self._slice - 1
        while counted and counted[0].number <= oldest:
            self._drop(counted.popleft())
        # A clock that was set back leaves slices of the future behind, which would stay for too long.
        newest = now / self._slice + 1
        while counted and counted[-1].number > newest:
            self._drop(counted.pop())
        return self._total

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
        if self._remaining is not None and self._reset_at > now:
            # Tokens that remain are compared with one only: the amount is an estimate, and a refusal costs little.
            if self._remaining - self._spent < 1:
                return self._used_up(self._reported_limit, self._reset_at)
            if self._metric == "requests":
                return None
        if self._limit is None:
            return None
        # What is larger than the whole limit may go when nothing else is counted: the amount is an estimate.
        excess = self.used(now) - max(max(self._limit, 1.0) - max(amount, 1.0), 0.0)
        return self._used_up(self._limit, self._frees(excess)) if excess > 0 else None

    def _used_up(self, limit: float | None, until: float) -> Shortage:
        size = f" (limit {limit:g})" if limit is not None else ""
        return Shortage(f"{self._name} used up{size}", until, self._spends)

    def _frees(self, excess: float) -> float:
        """When slices that count ``excess`` at least have left the window."""
        number = 0
        for counted in self._counted:
            number = counted.number
            excess -= counted.amount
            if excess <= 0:
                break
        return (number + 1) * self._slice + self._length

    def take(self, amount: float, now: float) -> Hold:
        """Count ``amount`` as in flight. Every hold must be settled."""
        self.in_flight += amount
        self._unanswered += amount
        self._spent += amount
        return Hold(self, amount, self._count(amount, now))

    def _count(self, amount: float, now: float) -> _Slice | None:
        if self._window is None:
            return None
        number = math.floor(now / self._slice)
        # Not only for the same slice: numbers stay in order even if the clock is set back.
        if not self._counted or self._counted[-1].number < number:
            self._counted.append(_Slice(number))
        self._counted[-1].amount += amount
        self._total += amount
        return self._counted[-1]

    def settle(self, hold: Hold, used: float, now: float) -> None:
        """The request is over: it took ``used`` instead of what it held."""
        self.in_flight -= hold.amount
        if not hold.answered:
            self._unanswered -= hold.amount
            self._spent = max(self._spent + used - hold.amount, 0.0)
        if used > hold.amount:
            self._count(used - hold.amount, now)
        elif hold.at is not None:
            # Given back where it was taken: in a later slice it would outlive the amount that it corrects.
            back = min(hold.amount - used, hold.at.amount)
            hold.at.amount -= back
            self._total -= back

    def report(self, reading: Reading, hold: Hold | None, now: float) -> None:
        """The provider says how it stands, with the answer to the request that ``hold`` belongs to."""
        self._reported_limit = reading.limit if reading.limit is not None else self._reported_limit
        if reading.remaining is None or self._window is None:
            return
        if hold is not None and not hold.answered:
            hold.answered = True
            self._unanswered -= hold.amount
        self._remaining = reading.remaining
        self._spent = self._unanswered
        # A report holds for one window at the most, whatever the provider says; a rolling one refills bit by bit.
        longest = now + self._window.seconds
        untold = now + min(self._window.seconds, _LOOK_AGAIN)
        self._reset_at = untold if reading.reset_at is None else min(reading.reset_at, longest)

    def forget_report(self) -> None:
        self._remaining = None

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

    __slots__ = ("_holds", "began", "need", "target")

    def __init__(self, target: Target, need: Need, holds: dict[_Kind, Hold], began: float) -> None:
        self.target = target
        self.need = need
        self.began = began  # Unix seconds
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

    def configure(self, credentials: Iterable[Credential]) -> None:
        """Take over configured limits; what was counted and reported stays."""
        self._configured = {}
        for credential in credentials:
            self._configured[credential.account] = self._configured.get(credential.account) or credential.limits
        for (account, _), group in self._groups.items():
            for bucket in group.values():
                bucket.configure(None)
            self._add_configured(account, group)

    def _add_configured(self, account: str, group: _Group) -> None:
        for limit in self._configured.get(account, ()):
            self._bucket(group, limit.metric, limit.window).configure(limit.amount)

    def _bucket(self, group: _Group, metric: Metric, window: Window | None) -> Bucket:
        bucket = group.get((metric, window))
        if bucket is None:
            bucket = group[metric, window] = Bucket(metric, window)
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
            self._add_configured(target.account, group)
        return group

    def shortage(self, target: Target, need: Need, now: float) -> Shortage | None:
        """The shortage that lasts longest, or None where the target has room as far as is known."""
        group = self._groups.get((target.account, target.bucket))
        worst: Shortage | None = None
        for (metric, _), bucket in group.items() if group else ():
            found = bucket.shortage(need.of(metric), now)
            if found and (worst is None or found.until > worst.until):
                worst = found
        return worst

    def take(self, target: Target, need: Need, now: float) -> Lease:
        """Reserve what the request is expected to need. Every lease must be settled or released."""
        group = self._group(target, now)
        holds = {kind: bucket.take(need.of(kind[0]), now) for kind, bucket in group.items()}
        return Lease(target, need, holds, now)

    def settle(self, lease: Lease, tokens_in: int | None, tokens_out: int | None, now: float) -> None:
        """The request was served; tokens are the provider's count, None where it gave none. Safe to call twice."""
        both = tokens_in + tokens_out if tokens_in is not None and tokens_out is not None else None
        counted = {"tokens": both, "input_tokens": tokens_in, "output_tokens": tokens_out}
        for (metric, _), hold in lease.close().items():
            used = counted.get(metric)
            hold.bucket.settle(hold, hold.amount if used is None else used, now)

    def release(self, lease: Lease, now: float) -> None:
        """Nothing was used: the call failed or was refused. Safe to call twice."""
        for hold in lease.close().values():
            hold.bucket.settle(hold, 0.0, now)

    def observe(self, target: Target, readings: Iterable[Reading], lease: Lease | None, now: float) -> None:
        """Learn what the provider reported with an answer."""
        group = self._group(target, now)
        for reading in readings:
            kind = (reading.metric, reading.window or Window.MINUTE)
            self._bucket(group, *kind).report(reading, lease.hold(kind) if lease else None, now)

    def clear(self, target: Target) -> None:
        """Forget what the provider reported for this target."""
        for bucket in self._groups.get((target.account, target.bucket), {}).values():
            bucket.forget_report()

    def in_flight(self) -> Iterator[float]:
        """What every bucket has in flight; all zero when nothing is under way."""
        return (bucket.in_flight for group in self._groups.values() for bucket in group.values())
