"""How the engine tells of the attempts that it makes, to whoever looks at them.

What is told is raw: keys are in it. Whoever keeps or shows any of it takes them out first. Nobody is told anything but
while somebody looks, and what is told changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chain429.routing.chain import Target
from chain429.routing.outcome import Outcome
from chain429.upstream import Answer, UpstreamRequest
from chain429.wire.own import OwnKey


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes out in one attempt: the ``number``-th, from 1, of the request ``id``, which goes down ``chain``.

    ``streamed`` tells whether a stream is asked for; ``own`` is the caller's key, where the request brought one.
    """

    id: str
    number: int
    chain: str
    target: Target
    request: UpstreamRequest
    streamed: bool
    own: OwnKey | None = field(repr=False)


class Observed(Protocol):
    """One attempt under way. ``ended`` is told in any case and last; what comes before it, as far as the attempt came.

    None of these may raise or take long: a request waits.
    """

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """The head of the answer is here."""

    def received(self, piece: bytes) -> None:
        """More of its body is here."""

    def complete(self) -> None:
        """The body has come to its end, as far as that was waited for. May be told twice."""

    def ended(self, outcome: Outcome, reason: str) -> None:
        """What became of it. ``reason`` has no key in it."""


class Observer(Protocol):
    """Whoever looks at attempts."""

    def begins(self, sent: Sent) -> Observed:
        """An attempt is about to be sent."""


class ObservedAnswer:
    """An answer, whose reader is overheard; see ``Answer``."""

    __slots__ = ("_answer", "_observed", "headers", "status")

    def __init__(self, answer: Answer, observed: Observed) -> None:
        self._answer = answer
        self._observed = observed
        self.status = answer.status
        self.headers = answer.headers
        observed.answered(answer.status, answer.headers)

    async def read(self, limit: int) -> bytes:
        body = await self._answer.read(limit)
        self._observed.received(body)
        self._observed.complete()
        return body

    async def chunk(self) -> bytes:
        piece = await self._answer.chunk()
        if piece:
            self._observed.received(piece)
        else:
            self._observed.complete()
        return piece

    async def finish(self) -> None:
        await self._answer.finish()
        self._observed.complete()

    def close(self) -> None:
        self._answer.close()
