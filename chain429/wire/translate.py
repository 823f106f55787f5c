"""One attempt across dialects: the neutral request out to a provider, and its answer back through neutral events.

One implementation for every pair. A whole answer is the fold of the same events as a streamed one, so both agree by
construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from chain429.wire import sse
from chain429.wire.cleanup import clean
from chain429.wire.dialect import Problem, Reader, Side, Writer
from chain429.wire.events import End, Seen
from chain429.wire.loading import dumps
from chain429.wire.members import DROP
from chain429.wire.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Upstream:
    """How a provider of one dialect is asked, and how its answer is read.

    ``write`` makes the body of a prompt, ``streamed`` are the members that ask for a stream. ``tuning``: members that
    an answer can do without; ``renames``: those that other providers know by another name.
    """

    path: str
    headers: Mapping[str, str]
    streamed: Mapping[str, Any]
    write: Callable[[Prompt, Side], dict[str, Any]]
    reader: Callable[[], Reader]
    tuning: frozenset[str] = frozenset()
    renames: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def values(self, prompt: Prompt, side: Side, refused: Iterable[str], *, stream: bool) -> dict[str, Any]:
        """The members of the body; those that are left out are there too, as ``DROP``. ``refused`` are members that the
        provider is known not to take."""
        values = self.write(prompt, side)
        if stream:
            values |= self.streamed
        if side.dialect == "chat":
            values |= clean(values, side.model, side.rules)
        for name in refused:
            other = self.renames.get(name)
            if other is not None and name in values and other not in values:
                values[other] = values[name]
            if name in values:
                values[name] = DROP
        return values

    def droppable(self, prompt: Prompt, side: Side, param: str, *, stream: bool) -> str | None:
        """The member that may be left out, or go by another name, after the provider refused ``param``; None where it
        is needed, or was not sent."""
        name = param.partition(".")[0].partition("[")[0]
        sent = {one for one, value in self.values(prompt, side, (), stream=stream).items() if value is not DROP}
        if name not in sent:
            return None
        if name in self.renames:
            return name if self.renames[name] not in sent else None
        return name if name in self.tuning else None


@dataclass(frozen=True, slots=True)
class Translated:
    """See ``dialect.Exchange``. ``reader`` and ``writer`` make those of one answer."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    lost: tuple[str, ...]
    reader: Callable[[], Reader]
    writer: Callable[[], Writer]

    def stream(self) -> TranslatedStream:
        return TranslatedStream(self.reader(), self.writer())

    def answer(self, body: bytes) -> tuple[Seen, bytes]:
        seen, writer = Seen(), self.writer()
        for event in self.reader().whole(body):
            seen.add(event)
            if seen.error is not None:
                return seen, b""
            writer.add(event)
        return seen, writer.whole()


def encoded(values: Mapping[str, Any]) -> bytes:
    """The body of ``values``, without what is dropped."""
    kept = {name: value for name, value in values.items() if value is not DROP}
    return dumps(kept).encode("utf-8", "replace")


class TranslatedStream:
    """See ``dialect.AnswerStream``.

    After an error nothing more is passed on: what becomes of it is not decided here. An answer that ends without being
    complete gets no ending. Raises WireError where the bytes are no event stream.
    """

    __slots__ = ("_parser", "_reader", "_unsent", "_writer", "seen")

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._parser = sse.EventParser()
        self._reader = reader
        self._writer = writer
        self._unsent: list[bytes] = []
        self.seen = Seen()

    def feed(self, chunk: bytes) -> bytes:
        return self._all_of(self._parser.feed(chunk))

    def _all_of(self, events: list[sse.ServerEvent]) -> bytes:
        # What was good before an error is still the client's: the end that follows must fit to it.
        for event in events:
            self._passed(event)
        out = b"".join(self._unsent)
        self._unsent.clear()
        return out

    def close(self) -> bytes:
        out = self._all_of(self._parser.close())
        if self.seen.complete and not self.seen.ended:
            self.seen.add(End())
            out += self._writer.close()
        return out

    def fail(self, problem: Problem) -> bytes:
        return self._all_of([]) + self._writer.fail(problem)

    def _passed(self, event: sse.ServerEvent) -> None:
        data, seen = event.data, self.seen
        if data is None:
            # Some break a stream with a bare JSON error, without "data:".
            if not event.raw.lstrip().startswith((b"{", b"[")):
                return
            data = event.raw
        if not data.strip() or seen.error is not None or seen.ended:
            return
        for item in self._reader.read(data, event.name):
            seen.add(item)
            if seen.error is not None:
                return
            self._unsent.append(self._writer.add(item))
            if seen.ended:
                return
