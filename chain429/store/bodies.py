"""What a client sent and was sent, where the log is to keep that: no more of it than is kept in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

# So many bytes more are taken than are kept: a key that the limit cuts in two is still recognised.
_MORE = 4096


class KeptBodies(NamedTuple):
    """What is kept of a client's request and of its answer, and how many bytes they had."""

    asked: str
    asked_size: int
    answered: str
    answered_size: int


class Bodies:
    """Takes the bodies of one request; ``limit`` is how many bytes of each are kept. ``answer`` takes piece by piece,
    until the request is recorded."""

    __slots__ = ("_answered", "_answered_size", "_asked", "_asked_size", "_limit")

    def __init__(self, limit: int, asked: bytes) -> None:
        self._limit = limit
        self._asked = asked[: limit + _MORE]
        self._asked_size = len(asked)
        self._answered = bytearray()
        self._answered_size = 0

    def answer(self, piece: bytes) -> None:
        room = self._limit + _MORE - len(self._answered)
        if room > 0:
            self._answered += piece[:room]
        self._answered_size += len(piece)

    def kept(self, redact: Callable[[str], str]) -> KeptBodies:
        """As it goes into the log."""
        return KeptBodies(
            self._text(self._asked, self._asked_size, redact),
            self._asked_size,
            self._text(bytes(self._answered), self._answered_size, redact),
            self._answered_size,
        )

    def _text(self, taken: bytes, size: int, redact: Callable[[str], str]) -> str:
        text = redact(taken.decode("utf-8", "replace"))
        # Where not all was taken, its end may be half a key, wherever that has moved to by what was redacted.
        whole = len(text) if len(taken) == size else max(0, len(text) - _MORE)
        return text[: min(self._limit, whole)]
