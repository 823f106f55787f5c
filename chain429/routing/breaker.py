"""The circuit breaker of a provider: closed, open, half-open.

It opens after ``failures`` failures in a row, lets exactly one probe through once ``seconds`` have passed, and closes
when a call succeeds. Transitions are lazy: the state follows from what is stored and ``now``; there are no timers.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain429.routing.status import BreakerState


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """How soon it opens, and for how many seconds it stays open."""

    failures: int = 3
    seconds: float = 30.0


class Breaker:
    """One provider's breaker.

    Ask ``state`` before a call; when the call goes out, ``start``; when it is over exactly one of ``succeeded``,
    ``failed`` and ``undecided`` (neither: a 429, a client that left).
    """

    __slots__ = ("_opened", "_policy", "_probing", "_row", "last_reason")

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._row = 0
        self._opened: float | None = None
        self._probing = False
        self.last_reason = ""

    def state(self, now: float) -> BreakerState:
        if self._opened is None:
            return "closed"
        # A clock that was set back must not keep it open for longer than one period from now.
        if now < self._opened:
            self._opened = now
        return "half-open" if now - self._opened >= self._policy.seconds else "open"

    def admits(self, now: float) -> bool:
        """Whether a call may go out: always when closed, one at a time when half-open."""
        state = self.state(now)
        return state == "closed" or (state == "half-open" and not self._probing)

    @property
    def until(self) -> float | None:
        """When it lets a probe through (Unix seconds), while it is not closed."""
        return None if self._opened is None else self._opened + self._policy.seconds

    def start(self, now: float) -> None:
        if self.state(now) == "half-open":
            self._probing = True

    def succeeded(self) -> None:
        self._row = 0
        self._opened = None
        self._probing = False
        self.last_reason = ""

    def failed(self, now: float, reason: str) -> None:
        self._row += 1
        self._probing = False
        self.last_reason = reason
        if self._opened is not None or self._row >= self._policy.failures:
            self._opened = now

    def undecided(self) -> None:
        self._probing = False

    def adopt(self, policy: BreakerPolicy) -> None:
        """Go on with what was learned under new numbers (after a reload)."""
        self._policy = policy
