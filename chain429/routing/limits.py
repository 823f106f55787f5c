"""All limits: what a request takes of each before it is sent, and gives back.

A request takes a lease on every bucket of its target, so two requests never take the last slot; the lease is settled
with what was really used, or released. What one limit knows, and whether it has room, is in ``bucket``.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple, get_args

from chain429.routing.bucket import Bucket, Concurrency, Hold, Lesson, Room, Shortage
from chain429.routing.chain import Credential, Limit, Target, configured_account, is_callers
from chain429.routing.fit import Ability
from chain429.routing.headers import Metric, Reading
from chain429.routing.outcome import Hit, Provision
from chain429.routing.saved import Json, members
from chain429.routing.status import LimitStatus
from chain429.routing.window import Window

# Clients can name models at will, so what is remembered of them is bounded.
_MOST = 10_000
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
    tokens it takes whatever the estimate is worth. ``wants``: what a model must be able to do.
    """

    tokens: float = 0.0
    size: int = 0
    output: float = 0.0
    most: int | None = None
    least: float = 0.0
    wants: tuple[Ability, ...] = ()

    def of(self, metric: Metric) -> float:
        match metric:
            case "tokens":
                return self.tokens
            case "requests":
                return 1.0
            case "input_tokens":
                return self.tokens - self.output
        return self.output or self.tokens

    def least_of(self, metric: Metric) -> float:
        return self.least if metric == "tokens" else 1.0


class Lease:
    """What one request holds of its target's buckets, until ``Limits.settle`` or ``Limits.release``."""

    __slots__ = ("_holds", "began", "need", "target", "up_front")

    def __init__(self, target: Target, need: Need, holds: list[Hold], began: float, up_front: bool) -> None:
        self.target = target
        self.need = need
        self.began = began  # Unix seconds
        self.up_front = up_front  # all that it allows to be made is charged
        self._holds = holds

    def close(self) -> list[Hold]:
        """What to give back: everything the first time, nothing after that."""
        holds, self._holds = self._holds, []
        return holds

    def hold(self, bucket: Bucket) -> Hold | None:
        """Its share of a bucket, while it is open."""
        for hold in self._holds:
            if hold.bucket is bucket:
                return hold
        return None


_Kind = tuple[Metric, Window | None]
_Group = dict[_Kind, Bucket | Concurrency]


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
        for limit in self._configured.get(configured_account(account), ()):
            if limit.window is None:
                group.setdefault(("requests", None), Concurrency()).configure(limit.amount)
            else:
                self._bucket(account, group, limit.metric, limit.window).configure(limit.amount)

    def _bucket(self, account: str, group: _Group, metric: Metric, window: Window) -> Bucket:
        bucket = group.get((metric, window))
        if not isinstance(bucket, Bucket):
            bucket = group[metric, window] = Bucket(metric, window, self._provisions.get(configured_account(account)))
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
        for bucket in group.values() if group else ():
            if bucket.metric == "requests":
                found = bucket.shortage(1.0, 1.0, now)
            else:
                found = bucket.shortage(need.of(bucket.metric), need.least_of(bucket.metric), now)
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
        for bucket in group.values() if group else ():
            share = bucket.headroom(1.0 if bucket.metric == "requests" else need.of(bucket.metric), now)
            if share < least:
                least = share
        return least

    def take(self, target: Target, need: Need, now: float, *, up_front: bool = False) -> Lease:
        """Reserve what the request is expected to need. Every lease must be settled or released.

        ``up_front``: the provider charges what a request may need, and gives nothing back.
        """
        group = self._group(target, now)
        holds = [
            bucket.take(1.0, 1.0, now)
            if bucket.metric == "requests"
            else bucket.take(need.of(bucket.metric), need.least_of(bucket.metric), now)
            for bucket in group.values()
        ]
        return Lease(target, need, holds, now, up_front)

    def settle(self, lease: Lease, tokens_in: int | None, tokens_out: int | None, now: float) -> None:
        """The request was served; tokens are the provider's count, None where it gave none. Safe to call twice."""
        if lease.up_front and lease.need.most is not None and tokens_out is not None:
            tokens_out = max(tokens_out, lease.need.most)
        both = tokens_in + tokens_out if tokens_in is not None and tokens_out is not None else None
        counted = {"tokens": both, "input_tokens": tokens_in, "output_tokens": tokens_out}
        for hold in lease.close():
            used = counted.get(hold.bucket.metric)
            hold.bucket.settle(hold, hold.amount if used is None else float(used), now)

    def release(self, lease: Lease, now: float) -> None:
        """Nothing was used: the call failed or was refused. Safe to call twice."""
        for hold in lease.close():
            hold.bucket.settle(hold, 0.0, now)

    def observe(self, target: Target, readings: Iterable[Reading], lease: Lease | None, now: float) -> None:
        """Learn what the provider reported with an answer."""
        group = self._group(target, now)
        for reading in readings:
            metric, window = reading.metric, reading.window or Window.MINUTE
            bucket = self._bucket(target.account, group, metric, window)
            bucket.report(reading, lease.hold(bucket) if lease else None, now)

    def refused(self, target: Target, hit: Hit | None, need: Need, until: float | None, now: float) -> Lesson:
        """Learn from a refusal which limit it was, and how large; ``until`` when, if that was said.

        Where it names none, it is taken for one that our count says to be full, if there is one.
        """
        group = self._group(target, now)
        if hit is not None:
            bucket = self._bucket(target.account, group, hit.metric, hit.window)
            return bucket.refused(hit, need.of(hit.metric), until, now)
        lessons = [bucket.refused(None, need.of(bucket.metric), until, now) for bucket in _windowed(group)]
        return max((lesson for lesson in lessons if lesson.until), default=Lesson(), key=lambda one: one.until or 0.0)

    def clear(self, target: Target) -> None:
        """Forget what the provider reported for this target."""
        for bucket in _windowed(self._groups.get((target.account, target.bucket), {})):
            bucket.clear()

    def rooms(self, target: Target, now: float) -> dict[Metric, Room]:
        """What is left of the scarcest of the target's limits on each metric, as far as one is known."""
        scarcest: dict[Metric, tuple[float, Bucket]] = {}
        for bucket in _windowed(self._groups.get((target.account, target.bucket), {})):
            left = bucket.remaining(now)
            if left is not None and (bucket.metric not in scarcest or left < scarcest[bucket.metric][0]):
                scarcest[bucket.metric] = (left, bucket)
        return {
            metric: Room(max(math.floor(left), 0), bucket.returns(now)) for metric, (left, bucket) in scarcest.items()
        }

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
            if is_callers(account):
                continue
            metrics: dict[str, dict[str, Json]] = {}
            for (metric, window), bucket in group.items():
                if window is not None and isinstance(bucket, Bucket) and (found := bucket.saved(now)):
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


def _windowed(group: _Group) -> Iterator[Bucket]:
    return (bucket for bucket in group.values() if isinstance(bucket, Bucket))
