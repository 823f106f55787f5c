"""Server-sent events: bytes in, events out (WHATWG HTML, section 9.2.6), and back.

No I/O. The parser takes the stream cut at any byte and gives the same events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chain429.errors import WireError

MAX_EVENT = 16 * 1024 * 1024

# An event ends at an empty line; lines end in \n, \r\n or \r, as the standard allows.
_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n|\r\n\r|\n\r(?!\n)")
# What lines begin with that are no data.
FIELDS = (b":", b"event:", b"id:", b"retry:")
_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"\r\n|\n|\r")


@dataclass(slots=True)  # not frozen: that takes twice the time to make, and a stream is full of them
class ServerEvent:
    """One event, or one run of comment lines (then ``data`` is None). ``raw`` is what it was read from, end
    included."""

    data: bytes | None
    name: str
    raw: bytes

    @property
    def silence(self) -> bytes:
        """What of an event without data may be passed on: comments, which show that the stream lives. Clients are known
        to read data where there is only a name."""
        return self.raw if self.raw.lstrip().startswith(b":") else b""


class EventParser:
    """Cuts a byte stream into events.

    ``feed`` returns the events that became complete; ``close`` returns what an abrupt end left behind, for the caller
    to judge. ``feed`` raises WireError where one event outgrows ``MAX_EVENT``.
    """

    __slots__ = ("_buffer", "_first", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # up to here the buffer is known to hold no event's end
        self._first = True

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        buffer = self._buffer
        if self._first and chunk and not buffer and chunk[0] != _BOM[0]:
            self._first = False
        if not (buffer or self._first) and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            # The common case, whole events only, without a copy and a search; most often it is one.
            last = len(chunk) - 2
            if chunk.find(b"\n\n") == last:
                if chunk.startswith(b"data: ") and chunk.find(b"\n") == last:
                    return [ServerEvent(chunk[6:last], "", chunk)]
                return [_event(chunk)]
            if not chunk.endswith(b"\n\n\n"):
                return [_event(raw + b"\n\n") for raw in chunk[:last].split(b"\n\n")]
        buffer += chunk
        if self._first and buffer:
            # A byte order mark may precede the stream, and may itself arrive cut.
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                return []
            self._first = False
            if buffer.startswith(_BOM):
                del buffer[: len(_BOM)]
        events: list[ServerEvent] = []
        start = 0
        for end in _END.finditer(buffer, self._scanned):
            # A \r at the very end may be the first half of \r\n: the event is whole only when more has come.
            if end.end() == len(buffer) and buffer.endswith(b"\r"):
                break
            events.append(_event(bytes(buffer[start : end.end()])))
            start = end.end()
        self._scanned = max(len(buffer) - start - 3, 0)
        if start:
            self._buffer = buffer[start:]
        if len(self._buffer) > MAX_EVENT:
            raise WireError(f"an event of the stream is larger than {MAX_EVENT} bytes")
        return events

    @property
    def pending(self) -> bool:
        """Whether part of an event is waiting for the rest."""
        return bool(self._buffer)

    def close(self) -> list[ServerEvent]:
        """The stream has ended: the last event, when only its closing empty line is missing (``raw`` has one). The
        beginning of an event without data is none, whatever else it holds."""
        rest = bytes(self._buffer).rstrip(b"\r\n")
        self._buffer.clear()
        self._scanned = 0
        if not rest.strip():
            return []
        last = _event(rest + b"\n\n")
        return [] if last.data is None and rest.lstrip().startswith(FIELDS) else [last]


def _event(raw: bytes) -> ServerEvent:
    # The common case, one "data:" line, without a loop.
    if raw.startswith(b"data:") and raw.count(b"\n") == 2 and b"\r" not in raw:
        value = raw[5:-2]
        return ServerEvent(value[1:] if value.startswith(b" ") else value, "", raw)
    # The next common case, an "event:" line before it.
    if raw.startswith(b"event: ") and raw.endswith(b"\n\n") and raw.count(b"\n") == 3 and b"\r" not in raw:
        first, second, _, _ = raw.split(b"\n")
        if second.startswith(b"data: "):
            return ServerEvent(second[6:], first[7:].decode("utf-8", "replace"), raw)
    data: list[bytes] = []
    name = ""
    for line in _LINE.split(raw):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return ServerEvent(b"\n".join(data) if data else None, name, raw)


def event(data: bytes, name: str = "") -> bytes:
    """One event as bytes; ``data`` may hold line feeds."""
    head = b"event: " + name.encode("utf-8", "replace") + b"\n" if name else b""
    return head + b"".join(b"data: " + line + b"\n" for line in data.split(b"\n")) + b"\n"


def comment(text: str) -> bytes:
    """A comment, which every client ignores: it only shows that the stream lives."""
    return b": " + text.encode() + b"\n\n"
