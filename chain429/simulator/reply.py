"""What a simulated provider does to one request, as a value: which bytes, at which pace, and how it ends.

Dialects make replies, faults bend them, the server plays them out; only the server knows sockets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

JSON_TYPE = "application/json"
# Made once: ``json.dumps`` with options makes a new one at every call, a third of what a chunk costs.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False)
DONE = b"data: [DONE]\n\n"


class Ending(StrEnum):
    """What happens after the last piece."""

    CLEAN = "clean"  # the answer ends as HTTP says it should
    CUT = "cut"  # the connection closes although the answer is not complete
    HANG = "hang"  # nothing more, until the caller leaves
    RESET = "reset"  # the connection is reset


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply.

    ``pieces`` are written one by one; ``prelude`` says how many of them come before anything meaningful (comments, a
    chunk that has only a role). ``streamed``: no length is announced. ``length``: what is announced where it is not the
    length of the pieces. ``head`` False: not even a status line is sent. ``pause``: seconds before each piece but the
    first.
    """

    status: int
    headers: Mapping[str, str]
    pieces: tuple[bytes, ...]
    streamed: bool = False
    prelude: int = 0
    length: int | None = None
    head: bool = True
    ending: Ending = Ending.CLEAN
    pause: float = 0.0

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


def encoded(value: object) -> bytes:
    """JSON as providers send it: without spaces, text unescaped."""
    return _ENCODER.encode(value).encode("utf-8", "replace")


def event(value: object) -> bytes:
    """One server-sent event."""
    return b"data: " + encoded(value) + b"\n\n"


def named_event(name: str, value: object) -> bytes:
    """One server-sent event with a name."""
    return b"event: " + name.encode() + b"\n" + event(value)


def json_reply(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, {"Content-Type": JSON_TYPE, **(headers or {})}, (encoded(value),))


def stream_reply(pieces: Iterable[bytes], headers: Mapping[str, str], prelude: int) -> Reply:
    return Reply(200, headers, tuple(pieces), streamed=True, prelude=prelude)
