"""Long time-outs: they come at the tick after their time, and to nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from chain429.clock import SystemClock, Watch


class Loop:
    """The part of an event loop that a watch uses; time moves by ``pass_by``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        self.timers.append((self.now + delay, callback))
        return object()

    def pass_by(self, seconds: float) -> None:
        """Call what comes due, each at its time."""
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, callback = self.timers.pop(0)
            callback()
        self.now = end


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def watch(loop: Loop) -> Watch:
    return Watch(cast(asyncio.AbstractEventLoop, loop))


async def hang(watch: Watch, *seconds: float) -> Any:
    """Wait for ever within time-outs, the first outermost. Returns the time-out that ended it."""
    if not seconds:
        return await asyncio.Event().wait()
    try:
        async with watch.timeout(seconds[0]):
            return await hang(watch, *seconds[1:])
    except TimeoutError:
        return seconds[0]


async def started(coroutine: Any) -> asyncio.Task[Any]:
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    return task


async def test_it_comes_within_half_a_second_of_its_time(loop: Loop, watch: Watch) -> None:
    task = await started(hang(watch, 60.0))
    loop.pass_by(59.9)
    await asyncio.sleep(0)
    assert not task.done()
    loop.pass_by(0.6)
    assert await task == 60.0
    assert task.cancelling() == 0


async def test_the_shorter_of_two_comes_first_and_leaves_the_other_alone(loop: Loop, watch: Watch) -> None:
    inner, outer = await started(hang(watch, 60.0, 10.0)), await started(hang(watch, 10.0, 60.0))
    loop.pass_by(10.5)
    assert (await inner, await outer) == (10.0, 10.0)


async def test_what_ends_in_time_is_forgotten_and_nothing_ticks_on(loop: Loop, watch: Watch) -> None:
    async with watch.timeout(60.0), watch.timeout(70.0):
        pass
    loop.pass_by(1.0)
    assert loop.timers == []
    async with watch.timeout(60.0):
        assert len(loop.timers) == 1


async def test_being_cancelled_from_outside_wins(loop: Loop, watch: Watch) -> None:
    task = await started(hang(watch, 60.0))
    loop.pass_by(61.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_another_failure_is_passed_on(watch: Watch) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with watch.timeout(60.0):
            raise ValueError("mine")


@pytest.mark.parametrize("seconds", [None, 1.0, 60.0])
async def test_the_clock_has_time_outs_of_any_length(seconds: float | None) -> None:
    clock = SystemClock()
    async with clock.timeout(seconds):
        await asyncio.sleep(0)


async def test_the_clock_keeps_short_time_outs_to_the_moment() -> None:
    with pytest.raises(TimeoutError):
        async with SystemClock().timeout(0.0):
            await asyncio.Event().wait()
