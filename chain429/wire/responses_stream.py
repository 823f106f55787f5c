"""A streamed Responses answer, passed on to a client of the same dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from chain429.errors import WireError
from chain429.wire import sse
from chain429.wire.dialect import Problem
from chain429.wire.events import Event
from chain429.wire.passing import PassedStream
from chain429.wire.prompt import marked
from chain429.wire.responses_answer import ResponsesReader, joined, parsed
from chain429.wire.responses_reasoning import sealed
from chain429.wire.responses_writer import ResponsesWriter, failed

_DUMPS = json.JSONEncoder(separators=(",", ":")).encode
# Between an event's name and its data; a line feed can't be within either.
_PIECE = b".delta\ndata: {"
_ENDS = ("response.completed", "response.incomplete")
# Items that a neutral event stands for; others are the provider's own affair.
_NEUTRAL = ("message", "reasoning", "function_call", "custom_tool_call")
_HIDDEN = "encrypted_content"
# Stands for a beginning that the provider has left out.
_NAMELESS: Mapping[str, Any] = MappingProxyType({"id": "resp_passed", "object": "response"})


class ResponsesStream(PassedStream):
    """Passes one streamed answer on to a client of the same dialect. See ``dialect.AnswerStream``.

    Only whole events are passed on, as they came. A provider that leaves out the beginnings of items has its answer
    written anew; items that it leaves open are closed before the end, for a client acts on what is closed; items that
    it does not count are counted. After an error or the answer's end nothing more is passed on. Raises WireError where
    the bytes are no event stream, or where events make no sense one after the other.

    ``origin``: the provider, where what it hides has to be marked; empty for the one that made the dialect.
    """

    __slots__ = (
        "_begun", "_count", "_ended", "_numbers", "_open", "_origin", "_place", "_reader", "_response", "_taken",
        "_told", "_writer",
    )  # fmt: skip

    def __init__(self, origin: str = "") -> None:
        super().__init__()
        self._origin = origin
        self._reader = ResponsesReader()
        self._writer: ResponsesWriter | None = None
        self._count = 0  # events that were passed on
        self._begun = False  # whether one of them belongs to an item
        self._taken: set[int] = set()  # the places of all items that began
        self._numbers: dict[Any, int] = {}  # by what the provider calls an item's place; some call all of them the same
        self._open: set[Any] = set()
        # Places and names of all items that were told of, and of those that ended.
        self._told: set[tuple[Any, str]] = set()
        self._ended: set[tuple[Any, str]] = set()
        self._place = b""  # how the one open item is named in its pieces
        self._response = _NAMELESS  # as it stood at the beginning

    def feed(self, chunk: bytes) -> bytes:
        if not self._parser.pending and self._only_pieces(chunk):
            return chunk
        return self._all_of(self._parser.feed(chunk))

    def _only_pieces(self, chunk: bytes) -> bool:
        """Whether ``chunk``, which begins with an event, is whole events that are pieces of the one open item.

        This is the hot path: nearly all of an answer is that, and need not be taken apart.
        """
        seen = self.seen
        if not (seen.meaningful and chunk.startswith(b"event: response.") and chunk.endswith(b"}\n\n")):
            return False
        if seen.ended or seen.error is not None or self._writer is not None:
            return False
        pieces = chunk.count(_PIECE)
        if not pieces or chunk.count(b"\n") != 3 * pieces or b"\r" in chunk:
            return False
        if not self._place or chunk.count(self._place) != pieces:
            return False
        self._count += pieces
        return True

    def close(self) -> bytes:
        """The upstream's stream has ended; what is left for the client. ``seen.complete`` tells whether it may."""
        return self._all_of(self._parser.close())

    def fail(self, problem: Problem) -> bytes:
        """See ``ResponsesWriter.fail``."""
        unsent = self._all_of([])
        if self._writer is not None:
            return unsent + self._writer.fail(problem)
        return unsent + self._event("response.failed", response=failed(self._response, problem, []))

    def _passed(self, event: sse.ServerEvent) -> bytes:
        """What the client gets of one event."""
        seen, raw = self.seen, event.raw
        if seen.error is not None or seen.ended:
            return b""
        if event.data is None:
            if raw.lstrip().startswith(sse.FIELDS) or not raw.strip():
                return event.silence
            message = parsed(raw)  # a bare error, without "data:"
        elif not event.data.strip() or event.data.startswith(b"[DONE]"):
            return b""
        else:
            message = parsed(event.data)
        events = self._reader.take(message)
        for item in events:
            seen.add(item)
        if seen.error is not None:
            return b""
        if self._writer is not None:
            return self._written(events)
        return self._in_order(message, events, event)

    def _in_order(self, message: dict[str, Any], events: list[Event], event: sse.ServerEvent) -> bytes:
        kind, index = message.get("type"), message.get("output_index")
        if index is not None and not isinstance(index, int):
            raise WireError("an output_index is no number")
        before = b""
        if kind == "response.created":
            if self._response is not _NAMELESS:
                return b""
            response = message.get("response")
            self._response = response if isinstance(response, dict) else _NAMELESS
        elif kind == "response.output_item.added":
            if (index, _name(message.get("item"))) in self._told:
                return b""
            self._count_in(index)
            self._open.add(index)
            self._notice(index, message.get("item"), event.raw)
        elif kind == "response.output_item.done":
            if (index, _name(message.get("item"))) in self._ended:
                return b""  # nothing may be done twice
            if index not in self._open:
                self._count_in(index)
            self._open.discard(index)
            self._ended.add((index, _name(message.get("item"))))
            self._notice(index, message.get("item"), event.raw)
        elif index not in self._open and (index is not None or str(kind).endswith(".delta")):
            if not self._begun:
                return self._take_over(events)
            if events:
                raise WireError(f"{kind} belongs to no item that is open")
            return b""
        elif kind in _ENDS:
            before = self._closed(message)
        passed = self._signed(message)
        if "response" not in message and self._numbers.get(index, index) != index:
            passed = {**passed, "output_index": self._numbers[index]}
        if passed is message and not before and event.name == kind:
            number = message.get("sequence_number")
            self._count = max(self._count, number if isinstance(number, int) else 0) + 1
            return event.raw
        members = {name: value for name, value in passed.items() if name not in ("type", "sequence_number")}
        return before + self._event(str(kind), **members)

    def _count_in(self, index: int | None) -> None:
        """An item takes its place; another one where the provider calls none, or one that is taken already."""
        number = index
        if number is None or number in self._taken:
            number = max(self._taken, default=-1) + 1
        self._numbers[index] = number
        self._taken.add(number)

    def _notice(self, index: int | None, item: Any, raw: bytes) -> None:
        self._begun = True
        # Quotes inside of JSON strings are escaped, so words of the model can't be taken for a place.
        form = b'"output_index": %d,' if b'"output_index": ' in raw else b'"output_index":%d,'
        (only,) = self._open if len(self._open) == 1 else (None,)
        self._place = b"" if only is None or self._numbers[only] != only else form % only
        self._told.add((index, _name(item)))
        if isinstance(item, dict) and item.get("type") not in _NEUTRAL:
            # It stands for nothing that is translated, but it is for the client.
            self.seen.meaningful = True

    def _closed(self, message: Mapping[str, Any]) -> bytes:
        """The ends of items that were never closed, and all of those that were never told of, as the whole answer has
        them."""
        response = message.get("response")
        output = response.get("output") if isinstance(response, dict) else None
        out = b""
        for index in sorted(self._open, key=str):
            number = self._numbers[index]
            if not (isinstance(output, list) and number < len(output)):
                raise WireError("an item of the answer was never closed")
            out += self._event(
                "response.output_item.done", output_index=number, item=signed(output[number], self._origin)
            )
        names = {name for _, name in self._told}
        for index, item in enumerate(output if isinstance(output, list) else ()):
            # What has no name may have been told of.
            if index not in self._taken and _name(item) and _name(item) not in names:
                out += self._event("response.output_item.added", output_index=index, item=_empty(item))
                out += self._event("response.output_item.done", output_index=index, item=signed(item, self._origin))
        return out

    def _take_over(self, events: list[Event]) -> bytes:
        """Somebody who writes the rest of the answer, from where it stands: no item has begun yet."""
        self._writer = ResponsesWriter("passed", "", 0, origin=self._origin)
        if self._response is not _NAMELESS:
            self._writer.go_on(self._response, self._count)
        return self._written(events)

    def _written(self, events: list[Event]) -> bytes:
        assert self._writer is not None
        return b"".join([self._writer.add(item) for item in events])

    def _event(self, kind: str, **members: Any) -> bytes:
        self._count += 1
        event = {"type": kind, "sequence_number": self._count - 1, **members}
        return sse.event(_DUMPS(event).encode(), kind)

    def _signed(self, message: dict[str, Any]) -> dict[str, Any]:
        """The event with marks on what is hidden: the very same where there is nothing to mark."""
        item, response = message.get("item"), message.get("response")
        if not self._origin:
            return message
        if message.get("type") == "response.output_item.done":
            marked_item = signed(item, self._origin)
            return message if marked_item is item else {**message, "item": marked_item}
        if isinstance(response, dict):
            marked_response = with_marks(response, self._origin)
            return message if marked_response is response else {**message, "response": marked_response}
        # The beginning of an item need not tell what its end does.
        if isinstance(item, dict) and _HIDDEN in item:
            return {**message, "item": {name: value for name, value in item.items() if name != _HIDDEN}}
        return message


def _name(item: Any) -> str:
    """What an item is called, if it is; a call by what its result is sent back with."""
    return str(item.get("call_id") or item.get("id") or "") if isinstance(item, dict) else ""


def _empty(item: Any) -> Any:
    """An item as it is told of at its beginning."""
    empty: dict[str, Any] = {"content": [], "summary": [], "arguments": "", "input": ""}
    begun = {name: empty.get(name, value) for name, value in item.items() if name != _HIDDEN}
    return {**begun, "status": "in_progress"} if "status" in begun else begun


def with_marks(response: dict[str, Any], origin: str) -> dict[str, Any]:
    """A whole answer, with marks on what is hidden: the very same where there is nothing to mark."""
    output = response.get("output")
    if not isinstance(output, list):
        return response
    marked_output = [signed(item, origin) for item in output]
    same = all(new is old for new, old in zip(marked_output, output, strict=True))
    return response if same else {**response, "output": marked_output}


def signed(item: Any, origin: str) -> Any:
    """An item, with the mark of its provider on what it hides. Thoughts that hide nothing are hidden beside themselves:
    so they are known again, and are there when a client keeps only what is hidden."""
    if not origin or not isinstance(item, dict):
        return item
    hidden = item.get(_HIDDEN)
    if hidden and isinstance(hidden, str):
        return {**item, _HIDDEN: marked(origin, hidden)}
    if item.get("type") != "reasoning":
        return item
    text = joined(item.get("content")) or joined(item.get("summary"))
    return {**item, _HIDDEN: sealed(origin, text, "")} if text else item
