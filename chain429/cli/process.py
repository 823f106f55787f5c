"""How a command runs that waits for something: its event loop, and the signals that end it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


def run(make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """What it comes to. Ends the process with status 130 at Ctrl-C, as shells do."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(make())
    except KeyboardInterrupt:
        sys.exit(130)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: it needs a tenth less CPU for a request. None for Python's own."""
    try:
        import uvloop
    except ImportError:  # as on Windows
        return None
    return uvloop.new_event_loop


def stop_event() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; the second one ends the process as it would without us."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, asked, number)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt instead.
            break
    return stop
