"""The circuit breaker of a provider: closed, open, half-open.

It opens after ``failures`` failures in a row, lets exactly one probe through once ``seconds`` have passed, and closes
when that probe succeeds. Transitions are lazy: the state follows from what is stored and ``now``; there are no timers.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain429.routing.saved import Json, members, number, text
from chain429.routing.status import BreakerState


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """How soon it opens, and for how many seconds it stays open."""

    failures: int = 3
    seconds: float = 30.0


class Breaker:
    """One provider's breaker.

    Ask ``admits`` before a call; when the call goes out, ``start``; when it is over exactly one of ``succeeded``,
    ``failed`` and ``undecided`` (neither, such as a client that left). ``call`` is the very object that ``start`` got.
    While the breaker is not closed, only its probe counts: calls that were under way when it opened tell nothing new.
    """

    __slots__ = ("_opened", "_policy", "_probe", "_row", "last_reason")

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._row = 0
        self._opened: float | None = None
        self._probe: object = None
        self.last_reason = ""

    def state(self, now: float) -> BreakerState:
        if self._opened is None:
            return "closed"
        # A clock that was set back must not keep it open for longer than one period from now.
        if now < self._opened:
            self._opened = now
        return "half-open" if now >= self._opened + self._policy.seconds else "open"

    def admits(self, now: float) -> bool:
        """Whether a call may go out: always when closed, one at a time when half-open."""
        return self._opened is None or (self._probe is None and self.state(now) == "half-open")

    @property
    def until(self) -> float | None:
        """When it lets a probe through (Unix seconds), while it is not closed."""
        return None if self._opened is None else self._opened + self._policy.seconds

    def start(self, call: object, now: float) -> None:
        if self.state(now) == "half-open":
            self._probe = call

    def answering(self, call: object) -> None:
        """The call's answer has begun, though it may go on for minutes.

        A probe has then done its part and others may follow, but until one succeeds a single failure opens it again.
        """
        if call is self._probe:
            self._opened = self._probe = None

    def succeeded(self, call: object = None) -> None:
        if self._counts(call):
            self.reset()

    def failed(self, now: float, reason: str, call: object = None) -> None:
        if not self._counts(call):
            return
        self._row += 1
        self._probe = None
        self.last_reason = reason
        if self._opened is not None or self._row >= self._policy.failures:
            self._opened = now

    def undecided(self, call: object) -> None:
        if call is self._probe:
            self._probe = None

    def _counts(self, call: object) -> bool:
        return self._opened is None or (call is not None and call is self._probe)

    def reset(self) -> None:
        """Close it and forget every failure."""
        self._row = 0
        self._opened = self._probe = None
        self.last_reason = ""

    def adopt(self, policy: BreakerPolicy) -> None:
        """Go on with what was learned under new numbers (after a reload)."""
        self._policy = policy

    def saved(self) -> dict[str, Json]:
        """What a restart must not forget, for ``restore``; empty where that is nothing.

        A probe ends with the process that made it: the next call is the next one.
        """
        if not self._row and self._opened is None:
            return {}
        return {"row": self._row, "opened": self._opened, "reason": self.last_reason}

    def restore(self, saved: object) -> None:
        """Go on from what ``saved`` gave, as far as that is sound."""
        found = dict(members(saved))
        self._row = int(number(found.get("row"), most=1e6) or 0)
        self._opened = number(found.get("opened"))
        self.last_reason = text(found.get("reason"))
