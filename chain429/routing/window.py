"""The windows that limits are counted over, and when a day begins anew."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from enum import StrEnum


class Window(StrEnum):
    """What a limit counts over."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    @property
    def seconds(self) -> float:
        """Its length in seconds; a month is taken as 31 days, the longest there is."""
        return _SECONDS[self]


_SECONDS = {
    Window.SECOND: 1.0,
    Window.MINUTE: 60.0,
    Window.HOUR: 3600.0,
    Window.DAY: 86400.0,
    Window.WEEK: 7 * 86400.0,
    Window.MONTH: 31 * 86400.0,
}


class Refill(StrEnum):
    """How what was used comes back."""

    WINDOW = "window"  # each amount once it is as old as the window
    STEADY = "steady"  # bit by bit, the whole limit within one window


@dataclass(frozen=True, slots=True)
class DayReset:
    """When daily limits begin anew: at midnight of ``zone``, or never all at once (a rolling day) where it is None."""

    zone: datetime.tzinfo | None = None

    def after(self, now: float) -> float | None:
        """The first reset after ``now`` (both Unix seconds), or None for a rolling day."""
        if self.zone is None:
            return None
        # Tomorrow's midnight is built from the calendar, not by adding 86400 s: days of 23 and 25 hours exist.
        today = datetime.datetime.fromtimestamp(now, self.zone).date()
        midnight = datetime.datetime.combine(today + datetime.timedelta(days=1), datetime.time(), self.zone)
        return midnight.timestamp()

    def month_after(self, now: float) -> float:
        """The first of the next month, at midnight of the zone (UTC for a rolling day), in Unix seconds."""
        zone = self.zone or datetime.UTC
        today = datetime.datetime.fromtimestamp(now, zone).date()
        year, month = (today.year + 1, 1) if today.month == 12 else (today.year, today.month + 1)
        return datetime.datetime(year, month, 1, tzinfo=zone).timestamp()
