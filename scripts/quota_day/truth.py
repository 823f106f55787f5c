"""What each account would really admit at this moment.

It counts what it is told was admitted, with the windows of the simulated providers but in copies of its own: the judge
keeps one beside the providers that the engine talks to, the oracle one for its own world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chain429.simulator.limits import Limits, Metric, Period, Window
from scripts.quota_day.world import ACCOUNTS, Account, Day

OUTAGE = "outage"


@dataclass(frozen=True, slots=True)
class Lack:
    """Why there is no room: which limit, or an outage; for how long, if nothing more comes; and how long it counts."""

    kind: str
    wait: float
    window: float


class Quota:
    """All windows of one account."""

    def __init__(self, limits: Limits, window: Callable[[Period, int], Window]) -> None:
        self._windows = [(metric, period, window(period, limit)) for metric, period, limit in limits.given()]

    def lack(self, requests: int, tokens: int, now: float) -> Lack | None:
        """Of the limits that these do not fit, the one with the longest wait (for ever, where it is too large)."""
        worst: Lack | None = None
        for metric, period, window in self._windows:
            wait = window.wait(now, requests if metric is Metric.REQUESTS else tokens)
            if wait > (worst.wait if worst else 0.0):
                worst = Lack(f"{metric} per {period}", wait, period.seconds)
        return worst

    def lower(self, limits: Limits) -> None:
        """Lower the limits; what was used of them stays used."""
        for metric, period, window in self._windows:
            limit = limits.of(metric, period)
            assert limit is not None
            window.limit = limit

    def add(self, tokens: int, now: float) -> None:
        for metric, _, window in self._windows:
            window.add(now, 1 if metric is Metric.REQUESTS else tokens)


class Truth:
    """Every account of a day. ``now`` (Unix seconds) never goes back from one call to the next."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._quotas = {account: Quota(account.site.limits, account.site.dialect.window) for account in ACCOUNTS}
        self._lowered = False

    def lack(self, account: Account, tokens: int, now: float, ahead: tuple[int, int] = (0, 0)) -> Lack | None:
        """Why a request of so many tokens is not admitted now, if so many requests and tokens come before it."""
        self._follow(now)
        found = self._quotas[account].lack(1 + ahead[0], tokens + ahead[1], now)
        if self._day.is_down(account.site, now):
            wait = self._day.down_until - now
            return found if found and found.wait > wait else Lack(OUTAGE, wait, 0.0)
        return found

    def take(self, account: Account, tokens: int, now: float) -> None:
        """It was admitted."""
        self._follow(now)
        self._quotas[account].add(tokens, now)

    def _follow(self, now: float) -> None:
        if not self._lowered and now >= self._day.lowers_at:
            self._lowered = True
            for account, quota in self._quotas.items():
                if account.site.name == self._day.lowers:
                    quota.lower(account.site.limits.changed(self._day.lowered))
