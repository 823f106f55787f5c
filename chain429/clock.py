"""The only reader of time.

Decisions take ``now`` as an argument; whoever needs to know or to wait is given a ``Clock``. Tests give a clock that
moves only when they say so.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Clock(Protocol):
    """Time, as the rest of the package sees it."""

    def now(self) -> float:
        """Unix seconds; what limits, cooldowns and the log are written in."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, never going back; for durations only."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        """A context that raises ``TimeoutError`` when its body takes longer; ``None`` never does."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)
