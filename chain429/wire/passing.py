"""What all streams have in common that stay in their dialect: event by event, what is good goes on as it came."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from chain429.wire import sse
from chain429.wire.events import Seen


class PassedStream(ABC):
    """See ``dialect.AnswerStream``; what is left to a dialect is ``_passed`` and the end."""

    __slots__ = ("_parser", "_unsent", "seen")

    def __init__(self) -> None:
        self._parser = sse.EventParser()
        self._unsent: list[bytes] = []
        self.seen = Seen()

    def _all_of(self, events: Iterable[sse.ServerEvent]) -> bytes:
        # What was good before an error is still the client's: the end that follows must fit to it.
        for event in events:
            self._unsent.append(self._passed(event))
        out = b"".join(self._unsent)
        self._unsent.clear()
        return out

    @abstractmethod
    def _passed(self, event: sse.ServerEvent) -> bytes:
        """What the client gets of one event. Raises WireError."""
