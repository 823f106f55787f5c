"""The only reader of time.

Decisions take ``now`` as an argument; whoever needs to know or to wait is given a ``Clock``. Tests give a clock that
moves only when they say so.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol

# From so many seconds on a time-out may be late by a tick. The time-out of a provider that says nothing for a minute is
# entered and left for each piece of each answer; it is never about half a second.
_LONG = 5.0
_TICK = 0.5


class Clock(Protocol):
    """Time, as the rest of the package sees it."""

    def now(self) -> float:
        """Unix seconds; what limits, cooldowns and the log are written in."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, never going back; for durations only."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        """A context that raises ``TimeoutError`` when its body takes longer; ``None`` never does.

        It is to be entered at once. One of many seconds may be late by half a second.
        """


class Watch:
    """The long time-outs of one event loop, looked at once a tick: a timer for each would cost far more."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._due: dict[_LongTimeout, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """A context like ``Clock.timeout``."""
        return _LongTimeout(self, seconds)

    def add(self, timeout: _LongTimeout, seconds: float) -> None:
        self._due[timeout] = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_later(_TICK, self._look)

    def remove(self, timeout: _LongTimeout) -> None:
        self._due.pop(timeout, None)

    def _look(self) -> None:
        now = self.loop.time()
        for timeout in [timeout for timeout, due in self._due.items() if due <= now]:
            del self._due[timeout]
            timeout.expire()
        # Nothing ticks while there is nothing to wait for.
        self._timer = self.loop.call_later(_TICK, self._look) if self._due else None


class _LongTimeout:
    """What ``asyncio.timeout`` is, but for the timer."""

    __slots__ = ("_cancelling", "_expired", "_seconds", "_task", "_watch")

    def __init__(self, watch: Watch, seconds: float) -> None:
        self._watch = watch
        self._seconds = seconds
        self._expired = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task
        self._task = task
        self._cancelling = task.cancelling()
        self._watch.add(self, self._seconds)

    def expire(self) -> None:
        self._expired = True
        self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.remove(self)
        # Where the task is cancelled from outside as well, that wins.
        if self._expired and self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error


class SystemClock:
    """The machine's own clock."""

    def __init__(self) -> None:
        self._watch: Watch | None = None

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        if seconds is None or seconds < _LONG:
            return asyncio.timeout(seconds)
        loop = asyncio.get_running_loop()
        if self._watch is None or self._watch.loop is not loop:
            self._watch = Watch(loop)
        return self._watch.timeout(seconds)
