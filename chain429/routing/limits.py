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


@dataclass(frozen=True, slots=True)
class Need:
    """What one request is expected to take. ``tokens`` is an estimate; ``size`` is the body's length in bytes."""

    tokens: float = 0.0
    size: int = 0

    def of(self, metric: Metric) -> float:
        return 1.0 if metric == "requests" else self.tokens


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a bucket has no room, in plain words, and when it frees (Unix seconds)."""

    reason: str
    until: float | None


class Bucket:
    """One limit's window for one account and model."""

    __slots__ = (
        "_counted", "_metric", "_remaining", "_reset_at", "_slice", "_spent", "_total", "_window", "in_flight", "limit",
        "reported_limit",
    )  # fmt: skip

    def __init__(self, metric: Metric, window: Window | None, limit: float | None) -> None:
        self._metric = metric
        self._window = window
        self._slice = window.seconds / _SLICES if window else 0.0
        self._counted: deque[list[float]] = deque()  # [number of the slice, amount]
        self._total = 0.0
        self._remaining: float | None = None  # as last reported
        self._reset_at = 0.0
        self._spent = 0.0  # taken since that report, or in flight when it came
        self.limit = limit
        self.reported_limit: float | None = None
        self.in_flight = 0.0

    def used(self, now: float) -> float:
        """What was counted within the window that ends now."""
        if self._window is None:
            return self.in_flight
        oldest = (now - self._window.seconds) / self._slice - 1
        # A clock that went back leaves slices of the future behind; they would never expire.
        newest = now / self._slice + 1
        counted = self._counted
        while counted and (counted[0][0] <= oldest or counted[0][0] > newest):
            self._total -= counted.popleft()[1]
        return max(self._total, 0.0)

    def shortage(self, amount: float, now: float) -> Shortage | None:
        """Why ``amount`` can't be taken now, or None where it can as far as is known."""
        unit = self._metric.replace("_", " ")
        if self._window is None:
            if self.limit is not None and self.in_flight >= self.limit:
                return Shortage(f"{self.limit:g} requests at a time are under way", now + 1)
            return None
        if self._remaining is not None and self._reset_at > now:
            if self._remaining - self._spent < min(amount, 1):
                limit = f" (limit {self.reported_limit:g})" if self.reported_limit is not None else ""
                return Shortage(f"{unit} per {self._window} used up{limit}", self._reset_at)
            if self._metric == "requests":
                return None
        used = self.used(now)
        if self.limit is not None and used > 0 and used + amount > self.limit:
            return Shortage(f"{unit} per {self._window} used up (limit {self.limit:g})", self._frees(amount, now))
        return None

    def _frees(self, amount: float, now: float) -> float:
        """When enough of the counted slices have left the window."""
        assert self._window is not None
        assert self.limit is not None
        excess = self._total + amount - self.limit
        for number, counted in self._counted:
            excess -= counted
            if excess <= 0:
                return (number + 1) * self._slice + self._window.seconds
        return now + self._window.seconds

    def take(self, amount: float, now: float) -> list[float]:
        """Count ``amount`` as in flight. Returns the slice that it was counted in, for ``settle``."""
        self.in_flight += amount
        self._spent += amount
        return self._count(amount, now)

    def _count(self, amount: float, now: float) -> list[float]:
        if self._window is None:
            return [0.0, 0.0]
        number = math.floor(now / self._slice)
        if not self._counted or self._counted[-1][0] != number:
            self._counted.append([number, 0.0])
        self._counted[-1][1] += amount
        self._total += amount
        return self._counted[-1]

    def settle(self, taken: float, used: float, at: list[float], now: float) -> None:
        """The request is over: it took ``used`` instead of ``taken``, which was counted in slice ``at``."""
        self.in_flight = max(self.in_flight - taken, 0.0)
        self._spent = max(self._spent + used - taken, 0.0)
        if used > taken:
            self._count(used - taken, now)
        elif self._counted and self._counted[0][0] <= at[0]:
            # Given back where it was taken: in a later slice it would outlive the amount that it corrects.
            at[1] -= taken - used
            self._total -= taken - used

    def report(self, reading: Reading, own: float, now: float) -> None:
        """The provider says how it stands; ``own`` is the amount of the lease that the answer belongs to."""
        self.reported_limit = reading.limit if reading.limit is not None else self.reported_limit
        if reading.remaining is None or self._window is None:
            return
        self._remaining = reading.remaining
        self._spent = max(self.in_flight - own, 0.0)
        # A report holds for one window at the most, whatever the provider says; a rolling one refills bit by bit.
        longest = now + self._window.seconds
        self._reset_at = longest if reading.reset_at is None else min(max(reading.reset_at, now), longest)

    def forget_report(self) -> None:
        self._remaining = None


@dataclass(frozen=True, slots=True)
class Part:
    """A lease's share of one bucket, and the slice that it was counted in."""

    bucket: Bucket
    metric: Metric
    amount: float
    at: list[float]


class Lease:
    """What one request holds of its target's buckets, until ``Limits.settle`` or ``Limits.release``."""

    __slots__ = ("_open", "_parts", "need", "target")

    def __init__(self, target: Target, need: Need, parts: list[Part]) -> None:
        self.target = target
        self.need = need
        self._parts = parts
        self._open = True

    def close(self) -> list[Part]:
        """The parts to give back: all of them the first time, none after that."""
        if not self._open:
            return []
        self._open = False
        return self._parts

    def part(self, bucket: Bucket) -> float:
        return sum(part.amount for part in self._parts if part.bucket is bucket) if self._open else 0.0


class Limits:
    """All buckets, by account, model (or the glob that shares one), metric and window."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], dict[tuple[Metric, Window | None], Bucket]] = {}
        self._configured: dict[str, tuple[Limit, ...]] = {}

    def configure(self, credentials: Iterable[Credential]) -> None:
        """Take over configured limits; what was counted and reported stays."""
        configured: dict[str, tuple[Limit, ...]] = {}
        for credential in credentials:
            configured[credential.account] = configured.get(credential.account, ()) or credential.limits
        self._configured = configured
        for (account, _), group in self._buckets.items():
            for bucket in group.values():
                bucket.limit = None
            self._add_configured(account, group)

    def _group(self, target: Target) -> dict[tuple[Metric, Window | None], Bucket]:
        key = (target.account, target.bucket)
        group = self._buckets.get(key)
        if group is None:
            group = self._buckets[key] = {}
            self._add_configured(target.account, group)
        return group

    def _add_configured(self, account: str, group: dict[tuple[Metric, Window | None], Bucket]) -> None:
        for limit in self._configured.get(account, ()):
            bucket = group.get((limit.metric, limit.window))
            if bucket is None:
                group[limit.metric, limit.window] = Bucket(limit.metric, limit.window, limit.amount)
            else:
                bucket.limit = limit.amount

    def shortage(self, target: Target, need: Need, now: float) -> Shortage | None:
        """The shortage that lasts longest, or None where the target has room as far as is known."""
        worst: Shortage | None = None
        for (metric, _), bucket in self._group(target).items():
            found = bucket.shortage(need.of(metric), now)
            if found and (worst is None or (found.until or math.inf) > (worst.until or math.inf)):
                worst = found
        return worst

    def take(self, target: Target, need: Need, now: float) -> Lease:
        """Reserve what the request is expected to need. Every lease must be settled or released."""
        return Lease(
            target,
            need,
            [
                Part(bucket, metric, need.of(metric), bucket.take(need.of(metric), now))
                for (metric, _), bucket in self._group(target).items()
            ],
        )

    def settle(self, lease: Lease, tokens_in: int | None, tokens_out: int | None, now: float) -> None:
        """The request was served; tokens are the provider's count, None where it gave none. Safe to call twice."""
        known = tokens_in is not None and tokens_out is not None
        for part in lease.close():
            used = part.amount
            if part.metric == "input_tokens" and tokens_in is not None:
                used = tokens_in
            elif part.metric == "output_tokens" and tokens_out is not None:
                used = tokens_out
            elif part.metric == "tokens" and known:
                used = (tokens_in or 0) + (tokens_out or 0)
            part.bucket.settle(part.amount, used, part.at, now)

    def release(self, lease: Lease, now: float) -> None:
        """Nothing was used: the call failed, was refused or was cancelled. Safe to call twice."""
        for part in lease.close():
            part.bucket.settle(part.amount, 0.0, part.at, now)

    def observe(self, target: Target, readings: Iterable[Reading], lease: Lease | None, now: float) -> None:
        """Learn what the provider reported with an answer."""
        group = self._group(target)
        for reading in readings:
            window = reading.window or Window.MINUTE
            bucket = group.get((reading.metric, window))
            if bucket is None:
                bucket = group[reading.metric, window] = Bucket(reading.metric, window, None)
            bucket.report(reading, lease.part(bucket) if lease else 0.0, now)

    def clear(self, target: Target) -> None:
        """Forget what the provider reported for this target."""
        for bucket in self._group(target).values():
            bucket.forget_report()

    def in_flight(self) -> Iterator[float]:
        """What every bucket has in flight; all zero when nothing is under way."""
        return (bucket.in_flight for group in self._buckets.values() for bucket in group.values())
