"""A streamed Messages answer, passed on to a client of the same dialect."""

from __future__ import annotations

import json
import re
from typing import Any

from chain429.wire import sse
from chain429.wire.dialect import Problem
from chain429.wire.events import End, Event, Finish
from chain429.wire.messages_answer import MessagesReader, parsed
from chain429.wire.messages_error import error_event
from chain429.wire.messages_writer import BlockKind, MessagesWriter
from chain429.wire.passing import PassedStream
from chain429.wire.prompt import marked

_DUMPS = json.JSONEncoder(separators=(",", ":")).encode
# What the words of a delta are written after; the order of members is up to the provider.
_WORDS = re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"')
_KINDS: dict[Any, BlockKind] = {"text": "text", "thinking": "thinking", "tool_use": "tool"}
# The deltas that a block may have; those of other blocks are the provider's own affair.
_DELTAS = {
    "text": ("text_delta", "citations_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "tool": ("input_json_delta",),
}
# Ends that leave a tool's call without an answer, though it was made.
_PLAIN_ENDS = ("end_turn", "stop", "stop_sequence", "")
# Ends for calls, though none was made.
_ENDS_FOR_CALLS = ("tool_use", "tool_calls")
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class MessagesStream(PassedStream):
    """Passes one streamed answer on to a client of the same dialect. See ``dialect.AnswerStream``.

    Only whole events are passed on, as they came, as long as they make sense one after the other. Where they do not
    (blocks that overlap, are not opened, or are not counted), the rest of the answer is written anew. After an error or
    the answer's end nothing more is passed on. Raises WireError where the bytes are no event stream.

    ``origin``: the provider, where its signatures have to be marked; empty for the one that made the dialect.
    """

    __slots__ = (
        "_begun", "_ids", "_index", "_kind", "_next", "_number", "_open", "_origin", "_prefix", "_reader", "_writer",
    )  # fmt: skip

    def __init__(self, origin: str = "") -> None:
        super().__init__()
        self._origin = origin
        self._reader = MessagesReader()
        self._writer: MessagesWriter | None = None
        self._begun = False
        self._next = 0  # the index of the next block
        self._open = False  # whether the block before that is open
        self._kind: BlockKind = "foreign"
        self._index: Any = None  # what the provider calls the open block
        self._ids: set[str] = set()  # of calls
        # An event that begins like this is a piece of the open block, and nothing else.
        self._prefix = b""

    def feed(self, chunk: bytes) -> bytes:
        pieces = 0 if self._parser.pending else self._pieces(chunk)
        if pieces == len(chunk):
            return chunk
        if pieces:
            self._unsent.append(chunk[:pieces])
        return self._all_of(self._parser.feed(chunk[pieces:]))

    def _pieces(self, chunk: bytes) -> int:
        """How much of ``chunk``, which begins with an event, is whole events that are pieces of the open block.

        This is the hot path: nearly all of an answer is that, and need not be taken apart. The beginning that such an
        event has holds a line feed, so no words of the model can be taken for it.
        """
        prefix = self._prefix
        if not prefix or not chunk.startswith(prefix):
            return 0
        count = chunk.count(prefix)
        if chunk.endswith(b"}\n\n") and chunk.count(b"\n") == 3 * count:
            return len(chunk)
        at = 0
        while chunk.startswith(prefix, at):
            end = chunk.find(b"\n", at + len(prefix))
            if end < 0 or not chunk.startswith(b"\n\n", end):
                break
            at = end + 2
        return at

    def fail(self, problem: Problem) -> bytes:
        """See ``MessagesWriter.fail``."""
        return self._all_of([]) + error_event(problem)

    def close(self) -> bytes:
        """The upstream's stream has ended; what is left for the client. ``seen.complete`` tells whether it may."""
        self._prefix = b""  # it may be half of a piece, so it is read
        rest = self._all_of(self._parser.close())
        if self.seen.complete and not self.seen.ended:
            self.seen.add(End())
            rest += self._ending()
        return rest

    def _ending(self) -> bytes:
        if self._writer is not None:
            return self._writer.close()
        return (_STOP % (self._next - 1) if self._open else b"") + _MESSAGE_STOP

    def _passed(self, event: sse.ServerEvent) -> bytes:
        """What the client gets of one event."""
        seen = self.seen
        if seen.error is not None or seen.ended:
            return b""
        raw = event.raw
        if self._pieces(raw) == len(raw):
            return raw
        if event.data is None:
            if raw.lstrip().startswith(sse.FIELDS) or not raw.strip():
                return event.silence
            message = parsed(raw)  # a bare error, without "data:"
        elif not event.data.strip():
            return b""
        elif event.data.startswith(b"[DONE]"):
            # This dialect has no such mark; whoever sends it has come to the end.
            seen.add(End())
            return self._ending()
        else:
            message = parsed(event.data)
        events = self._reader.take(message)
        for item in events:
            seen.add(item)
        if seen.error is not None:
            return b""
        if self._writer is None:
            passed = self._in_order(message, event)
            if passed is not None:
                return passed
            self._writer, self._prefix = self._take_over(), b""
        return self._written(events)

    def _written(self, events: list[Event]) -> bytes:
        assert self._writer is not None
        return b"".join([self._writer.add(item) for item in events])

    def _in_order(self, message: dict[str, Any], event: sse.ServerEvent) -> bytes | None:
        """The event as it is passed on, or None where it can't follow those before it."""
        kind = message.get("type")
        if kind == "message_start":
            if self._begun:
                return b""
            self._begun = True
        elif kind == "content_block_delta":
            return self._delta(message, event)
        elif kind == "content_block_start":
            return self._start(message, event)
        elif kind == "content_block_stop":
            if not self._open:
                return b""
            if message.get("index") != self._index:
                return None
            self._open, self._prefix = False, b""
        elif kind == "message_delta":
            if self._open or not self._begun:
                return None
            delta = message.get("delta")
            reason = delta.get("stop_reason") if isinstance(delta, dict) else None
            if isinstance(delta, dict) and reason in (_PLAIN_ENDS if self._ids else _ENDS_FOR_CALLS):
                self.seen.add(Finish("tool_calls" if self._ids else "stop"))
                told = {"stop_reason": "tool_use" if self._ids else "end_turn", "stop_sequence": None}
                return _rewritten({**message, "delta": {**delta, **told}})
        elif kind == "message_stop" and (self._open or not self._begun or self.seen.finish is None):
            return None
        return event.raw if event.name == kind else _rewritten(message)

    def _start(self, message: dict[str, Any], event: sse.ServerEvent) -> bytes | None:
        if self._open or not self._begun or message.get("index") != self._next:
            return None
        block = message.get("content_block")
        if not isinstance(block, dict):
            return None
        kind, identifier = _KINDS.get(str(block.get("type")), "foreign"), block.get("id")
        if kind == "tool" and (not identifier or not isinstance(identifier, str) or identifier in self._ids):
            return None
        self._index = self._next
        self._next += 1
        self._open, self._prefix = True, b""
        self._kind = kind
        if kind == "tool":
            self._ids.add(str(identifier))
        if self._kind == "foreign":
            # It stands for nothing that is translated, but it is for the client.
            self.seen.meaningful = True
            if self._origin and block.get("type") == "redacted_thinking":
                block = {**block, "data": marked(self._origin, str(block.get("data") or ""))}
                return _rewritten({**message, "content_block": block})
        elif self._origin and self._kind == "thinking" and block.get("signature"):
            block = {**block, "signature": marked(self._origin, str(block["signature"]))}
            return _rewritten({**message, "content_block": block})
        return event.raw if event.name == "content_block_start" else _rewritten(message)

    def _delta(self, message: dict[str, Any], event: sse.ServerEvent) -> bytes | None:
        delta = message.get("delta")
        if not isinstance(delta, dict):
            return None
        kind = delta.get("type")
        if not self._open or message.get("index") != self._index or kind not in _DELTAS.get(self._kind, (kind,)):
            return None
        if self._origin and kind == "signature_delta":
            signed = {**delta, "signature": marked(self._origin, str(delta.get("signature") or ""))}
            return _rewritten({**message, "delta": signed})
        if event.name != "content_block_delta":
            return _rewritten(message)
        if not self._prefix and kind in ("text_delta", "thinking_delta", "input_json_delta") and self.seen.meaningful:
            self._learn(event.raw)
        return event.raw

    def _learn(self, raw: bytes) -> None:
        """How this provider begins a piece of the open block, if all that matters stands before the words."""
        words = _WORDS.search(raw)
        prefix = raw[: words.end()] if words is not None else b""
        if b'"index"' in prefix and b'_delta"' in prefix and raw.count(b"\n") == 3 and raw.endswith(b"}\n\n"):
            self._prefix = prefix

    def _take_over(self) -> MessagesWriter:
        """Somebody who writes the rest of the answer, from where it stands."""
        writer = MessagesWriter("passed", "", 0, origin=self._origin)
        if self._begun:
            writer.go_on(self._next, self._kind if self._open else None, len(self._ids) - 1, self._ids)
        if self.seen.usage is not None:
            writer.add(self.seen.usage)
        return writer


def _rewritten(message: dict[str, Any]) -> bytes:
    return sse.event(_DUMPS(message).encode(), str(message.get("type")))
