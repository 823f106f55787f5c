"""The limits that simulated providers enforce: the truth which a gateway in front of them can only guess at.

Windows and quotas, nothing of HTTP. Deliberately no code is shared with ``chain429.routing``: a test bed must not judge
the gateway by the gateway's own arithmetic. Time comes in as an argument, in Unix seconds.
"""

from __future__ import annotations

import datetime
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Protocol

from chain429.errors import RequestError

# Unix times of this century are exact to about a quarter of a microsecond as floats: whoever waits just as long as told
# must not be refused for the rounding.
_ROUNDING = 1e-6


class Metric(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT = "input-tokens"
    OUTPUT = "output-tokens"


class Period(StrEnum):
    """What a limit counts over."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def seconds(self) -> float:
        return _SECONDS[self]


# What a limit is called: this, and the first letter of its period.
_LETTERS = {Metric.REQUESTS: "rp", Metric.TOKENS: "tp", Metric.INPUT: "itp", Metric.OUTPUT: "otp"}
_SECONDS = {Period.MINUTE: 60.0, Period.HOUR: 3600.0, Period.DAY: 86400.0}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one bucket: requests and tokens per minute, hour and day, and tokens in and out per minute.

    None is no limit, 0 is never allowed.
    """

    rpm: int | None = None
    rph: int | None = None
    rpd: int | None = None
    tpm: int | None = None
    tph: int | None = None
    tpd: int | None = None
    itpm: int | None = None
    otpm: int | None = None

    def of(self, metric: Metric, period: Period) -> int | None:
        limit: int | None = getattr(self, f"{_LETTERS[metric]}{period[0]}", None)
        return limit

    def given(self) -> Iterator[tuple[Metric, Period, int]]:
        """Those that are not None."""
        for metric in Metric:
            for period in Period:
                if (limit := self.of(metric, period)) is not None:
                    yield metric, period, limit

    def changed(self, changes: Mapping[str, object]) -> Limits:
        """A copy with some limits set anew; raises RequestError for a name or a value that can't be."""
        known = [field.name for field in fields(self)]
        values: dict[str, int | None] = {}
        for name, value in changes.items():
            if name not in known:
                raise RequestError(f"no limit named {name!r}; there are: {', '.join(known)}", param=name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise RequestError(f"{name} must be a whole number of at least 0, or null for no limit", param=name)
            values[name] = value
        return replace(self, **values)


class Window(Protocol):
    """How much of one limit is used. ``now`` never goes back from one call to the next."""

    limit: int

    def used(self, now: float) -> float:
        """How much counts at this moment."""

    def wait(self, now: float, amount: float) -> float:
        """Seconds until this amount fits: 0 when it does now, infinity when it never will."""

    def add(self, now: float, amount: float) -> None:
        """Count it. The caller has asked ``wait`` first."""

    def clears(self, now: float) -> float:
        """Seconds until nothing of it is used, if nothing more is added."""


class Rolling:
    """At most ``limit`` within any ``seconds`` on end: an amount counts until it is that old.

    It remembers each amount, and each is at least 1, so its memory is bounded by the limit.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._used = 0.0
        self._entries: deque[tuple[float, float]] = deque()  # when it leaves the window, how much

    def used(self, now: float) -> float:
        entries = self._entries
        while entries and entries[0][0] <= now + _ROUNDING:
            self._used -= entries.popleft()[1]
        return self._used

    def wait(self, now: float, amount: float) -> float:
        if amount > self.limit:
            return math.inf
        excess = self.used(now) + amount - self.limit
        if excess <= 0:
            return 0.0
        for leaves, freed in self._entries:
            excess -= freed
            if excess <= 0:
                return leaves - now
        return math.inf

    def add(self, now: float, amount: float) -> None:
        if amount > 0:
            self._entries.append((now + self._seconds, amount))
            self._used += amount

    def clears(self, now: float) -> float:
        return self._entries[-1][0] - now if self.used(now) else 0.0


class Draining:
    """A level that drains steadily, ``limit`` in ``seconds``, and may never rise above ``limit``.

    So at most ``limit`` at once, and over any span ``limit * (1 + span / seconds)``.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._level = 0.0
        self._at = -math.inf

    def used(self, now: float) -> float:
        if self._level:
            self._level = max(0.0, self._level - (now - self._at) * self.limit / self._seconds)
        self._at = now
        return self._level

    def wait(self, now: float, amount: float) -> float:
        if amount > self.limit:
            return math.inf
        excess = self.used(now) + amount - self.limit
        # What drains within the rounding of the clock is not worth a refusal.
        seconds = excess * self._seconds / self.limit if self.limit else 0.0
        return seconds if seconds > _ROUNDING else 0.0

    def add(self, now: float, amount: float) -> None:
        self._level = self.used(now) + amount

    def clears(self, now: float) -> float:
        return self.used(now) * self._seconds / self.limit if self.limit else 0.0


class Calendar:
    """At most ``limit`` from one midnight of ``zone`` to the next."""

    def __init__(self, limit: int, zone: datetime.tzinfo) -> None:
        self.limit = limit
        self._zone = zone
        self._used = 0.0
        self._midnight = -math.inf

    def used(self, now: float) -> float:
        if now + _ROUNDING >= self._midnight:
            self._used = 0.0
            # Tomorrow comes from the calendar: a day of 23 or 25 hours ends at midnight as well.
            today = datetime.datetime.fromtimestamp(now + _ROUNDING, self._zone).date()
            tomorrow = datetime.datetime.combine(today + datetime.timedelta(days=1), datetime.time(), self._zone)
            self._midnight = tomorrow.timestamp()
        return self._used

    def wait(self, now: float, amount: float) -> float:
        if amount > self.limit:
            return math.inf
        return 0.0 if self.used(now) + amount <= self.limit else self._midnight - now

    def add(self, now: float, amount: float) -> None:
        self._used = self.used(now) + amount

    def clears(self, now: float) -> float:
        return self._midnight - now if self.used(now) else 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much faster than the real clock a provider's own runs: at ``scale`` 60 its minute takes one real second."""

    origin: float = 0.0
    scale: float = 1.0

    def provider(self, now: float) -> float:
        """The provider's time, in Unix seconds, at this real time."""
        return now if self.scale == 1.0 else self.origin + (now - self.origin) * self.scale

    def real(self, seconds: float) -> float:
        """Real seconds that so many of the provider's seconds take."""
        return seconds / self.scale


@dataclass(frozen=True, slots=True)
class Exceeded:
    """The limit that a request ran into. ``wait`` is in real seconds; infinity: it is larger than the limit itself."""

    metric: Metric
    period: Period
    limit: int
    used: int
    requested: int
    wait: float


@dataclass(frozen=True, slots=True)
class State:
    """One window, as a provider may report it. ``clears`` is in real seconds."""

    limit: int
    remaining: int
    clears: float


class Quota:
    """All windows of one key's bucket. Times that come in and go out are real ones; ``pace`` lies between."""

    def __init__(self, limits: Limits, window: Callable[[Period, int], Window], pace: Pace) -> None:
        self._pace = pace
        self._windows = {(metric, period): window(period, limit) for metric, period, limit in limits.given()}

    def admit(self, now: float, tokens: int, tokens_in: int = 0, tokens_out: int = 0) -> Exceeded | None:
        """Count a request of so many tokens in every window; or in none, and say which it has to wait longest for."""
        if not self._windows:
            return None
        there = self._pace.provider(now)
        amounts = {Metric.REQUESTS: 1, Metric.TOKENS: tokens, Metric.INPUT: tokens_in, Metric.OUTPUT: tokens_out}
        worst: Exceeded | None = None
        for (metric, period), window in self._windows.items():
            amount = amounts[metric]
            if (wait := self._pace.real(window.wait(there, amount))) > (worst.wait if worst else 0.0):
                worst = Exceeded(metric, period, window.limit, math.ceil(window.used(there)), amount, wait)
        if worst is None:
            for (metric, _), window in self._windows.items():
                window.add(there, amounts[metric])
        return worst

    def state(self, metric: Metric, period: Period, now: float) -> State | None:
        """How one window stands; None where there is no such limit."""
        window = self._windows.get((metric, period))
        if window is None:
            return None
        there = self._pace.provider(now)
        remaining = max(0, math.floor(window.limit - window.used(there) + _ROUNDING))
        return State(window.limit, remaining, self._pace.real(window.clears(there)))
