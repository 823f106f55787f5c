"""Amounts and times in words, as tables show them."""

from __future__ import annotations

from datetime import datetime

NOTHING = "-"


def span(seconds: float) -> str:
    """How long it is from now, in at most two units: ``41 s``, ``3 h 12 min``."""
    whole = max(round(seconds), 0)
    if whole < 100:
        return f"{whole} s"
    minutes = -(-whole // 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes // 1440} days"


def local(at: float) -> str:
    """Unix seconds as the time of this machine's zone: ``2026-11-21 12:30:05``."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006  people read their own clock


def count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"
