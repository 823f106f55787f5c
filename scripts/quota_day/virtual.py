"""Virtual time: an event loop that leaps to the next timer where a real one would wait, and a clock on it."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Nothing can go on, and nothing is scheduled: whoever is awaited will never be done."""


class _Leaps(selectors.DefaultSelector):
    """Looks at sockets without waiting for them; where it was to wait, the time is moved on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # The loop's own wake-up pipe is real: that is how Ctrl-C comes in.
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Deadlock("every task waits for another, and no timer is set")
            if timeout > 0:
                # A hair beyond the timer, or else it would not be due yet where floats are coarse.
                self.time = math.nextafter(self.time + timeout, math.inf)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time begins at 0 and passes only while everything waits."""

    def __init__(self) -> None:
        self._leaps = _Leaps()
        super().__init__(self._leaps)

    def time(self) -> float:
        return self._leaps.time


class VirtualClock:
    """A ``chain429.clock.Clock`` on a virtual loop; ``start`` is its first ``now``, in Unix seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: float) -> None:
        self._loop = loop
        self._start = start

    def now(self) -> float:
        return self._start + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def until(self, moment: float) -> None:
        """Wait for a moment in Unix seconds."""
        await asyncio.sleep(max(moment - self.now(), 0.0))

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)


def run(start: float, main: Callable[[VirtualClock], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` to its end on a virtual loop. Raises Deadlock."""

    async def on_its_clock() -> T:
        return await main(VirtualClock(asyncio.get_running_loop(), start))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(on_its_clock())
