"""Neutral events, written as an answer in Anthropic's Messages dialect.

The shapes are those of Anthropic's API reference: an answer is a row of blocks, which a stream brings one after the
other, each opened, filled and closed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any, Literal

from chain429.errors import WireError
from chain429.wire import sse
from chain429.wire.dialect import Problem
from chain429.wire.events import (
    End,
    Event,
    Finish,
    Reasoning,
    Signature,
    Text,
    ToolArguments,
    ToolCall,
    Usage,
)
from chain429.wire.messages_body import arguments_of
from chain429.wire.messages_error import error_event
from chain429.wire.prompt import Original, call_id, marked

# Why an answer ended, where its words and calls do not tell.
_REASONS = {"length": "max_tokens", "content_filter": "refusal"}
# The delta of each kind, and the member that holds its words.
_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}

_DUMPS = json.JSONEncoder(separators=(",", ":")).encode

BlockKind = Literal["text", "thinking", "redacted", "tool", "foreign"]


class _Block:
    """One block of the answer that is written.

    ``pieces`` is what it holds, of which ``sent`` were sent; ``head`` is what is written before each.
    ``index`` is None until it is opened. ``signature``: what closes a thinking block, None as long as it is open.
    ``begun``: its beginning was sent by somebody else and is not in ``pieces``.
    """

    __slots__ = (
        "begun", "closed", "head", "id", "index", "kind", "name", "number", "pieces", "sent", "signature", "whole",
    )  # fmt: skip

    def __init__(self, kind: BlockKind, number: int = -1, identifier: str = "", name: str = "") -> None:
        self.kind = kind
        self.number = number
        self.id = identifier
        self.name = name
        self.pieces: list[str] = []
        self.sent = 0
        self.index: int | None = None
        self.head = b""
        self.signature: str | None = None
        self.closed = False
        self.begun = False
        # Whether arguments are sent only when all of them are there.
        self.whole = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def complete(self) -> bool:
        """Whether nothing more can belong to it, as soon as something else follows."""
        if self.kind != "tool" or self.begun:
            return True
        text = self.text.strip()
        if not text.endswith("}"):
            return False
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return False
        return True


class MessagesWriter:
    """Writes one answer for a client that speaks Messages. See ``dialect.Writer``.

    One block is open at a time. What belongs to a later one waits until the open one is complete: a call's arguments
    are when they are whole JSON, since pieces of several calls may come in turns. Text opens a block with its first
    word, so white space before a call makes none. The last event waits for the count of tokens.

    ``estimate`` is what the request's tokens are taken to be until they are counted.
    """

    __slots__ = (
        "_at", "_blocks", "_by_number", "_called", "_done", "_estimate", "_finish", "_id", "_ids", "_model", "_next",
        "_origin", "_originals", "_started", "_usage",
    )  # fmt: skip

    def __init__(
        self,
        identifier: str,
        model: str,
        at: int,
        originals: Mapping[str, Original] = {},
        origin: str = "",
        estimate: int = 0,
    ) -> None:
        self._id = identifier if identifier.startswith("msg_") else f"msg_{identifier}"
        self._model = model
        self._originals = originals
        self._origin = origin
        self._estimate = estimate
        self._blocks: list[_Block] = []
        self._by_number: dict[int, _Block] = {}
        self._ids: set[str] = set()
        self._at = 0  # the block that is open, or the next one to be
        self._next = 0
        self._started = False
        self._called = False  # whether somebody else has written calls before
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._done = False

    def go_on(self, index: int, kind: BlockKind | None, number: int, ids: Iterable[str]) -> None:
        """Take over a stream that was begun by somebody else: the next block is the one of ``index``.

        ``kind`` is that of the block which is still open before it, None where none is; ``number`` that of its call;
        ``ids`` are those of all calls so far.
        """
        self._started = True
        self._ids.update(ids)
        self._called = bool(self._ids)
        self._next = index
        if kind is not None:
            block = _Block(kind, number)
            block.index = index - 1
            block.head = _delta_head(block)
            block.begun = True
            self._blocks.append(block)
            self._by_number[number] = block

    def add(self, event: Event) -> bytes:
        if self._done:
            return b""
        if isinstance(event, Text):
            return self._say("text", event.text)
        if isinstance(event, ToolArguments):
            block = self._by_number.get(event.index)
            if block is None or block.closed:
                if block is not None and block.begun:
                    raise WireError("arguments of a tool call came after its block was closed")
                return b""
            block.pieces.append(event.text)
            if 0 < block.sent == len(block.pieces) - 1 and block is self._blocks[-1]:
                # Nearly all of a call: one more piece of the open block.
                block.sent += 1
                return _delta(block, event.text)
            return self._advance()
        if isinstance(event, Reasoning):
            return self._say("thinking", event.text)
        if isinstance(event, ToolCall):
            block = _Block("tool", event.index, self._call_id(event.id), self._name(event.name))
            self._by_number[event.index] = block
            self._blocks.append(block)
            return self._advance()
        if isinstance(event, Signature):
            return self._sign(event)
        if isinstance(event, Usage):
            self._usage = event
            return self.close() if self._finish is not None else b""
        if isinstance(event, Finish):
            self._finish = event
            return self._advance(to_end=True)
        return self.close() if isinstance(event, End) else b""

    def close(self) -> bytes:
        if self._done:
            return b""
        out = self._advance(to_end=True) or self._start()
        self._done = True
        delta = {"stop_reason": self._reason(), "stop_sequence": self._sequence()}
        ended = {"type": "message_delta", "delta": delta, "usage": self._counted()}
        return (
            out
            + sse.event(_DUMPS(ended).encode(), "message_delta")
            + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        )

    def fail(self, problem: Problem) -> bytes:
        """The error event alone: an open block is not closed.

        A client may act on a block as soon as it is closed, so half a tool call would be run. Clients take the error
        itself for the end: SDKs raise it, and Claude Code asks again.
        """
        if self._done:
            return b""
        self._done = True
        return error_event(problem)

    def whole(self) -> bytes:
        self.close()
        content = [self._content(block) for block in self._blocks if block.index is not None]
        return _DUMPS(
            {
                **self._message(),
                "content": content,
                "stop_reason": self._reason(),
                "stop_sequence": self._sequence(),
                "usage": self._counted(),
            }
        ).encode()

    def _say(self, kind: Literal["text", "thinking"], text: str) -> bytes:
        blocks = self._blocks
        block = blocks[-1] if blocks else None
        if block is None or block.kind != kind or block.closed:
            block = _Block(kind)
            blocks.append(block)
        elif block.index is not None and block.sent == len(block.pieces):
            # Nearly all of an answer: one more piece of the open block.
            block.pieces.append(text)
            block.sent += 1
            return _delta(block, text)
        block.pieces.append(text)
        return self._advance()

    def _sign(self, event: Signature) -> bytes:
        block = self._blocks[-1] if self._blocks else None
        if event.redacted:
            block = _Block("redacted")
            self._blocks.append(block)
        elif block is None or block.kind != "thinking" or block.closed:
            block = _Block("thinking")
            self._blocks.append(block)
        block.signature = event.data
        return self._advance()

    def _advance(self, *, to_end: bool = False) -> bytes:
        """Send what can be sent: of the open block, and of those after it as far as those before them are complete."""
        out: list[bytes] = []
        blocks = self._blocks
        while self._at < len(blocks):
            block = blocks[self._at]
            followed = to_end or self._at + 1 < len(blocks)
            if block.index is None:
                if block.kind == "text" and not any(piece.strip() for piece in block.pieces):
                    if not followed:
                        break
                    block.closed = True
                    self._at += 1
                    continue
                out.append(self._open(block))
            out.append(self._pieces(block))
            if not (block.signature is not None or (followed and (to_end or block.complete))):
                break
            out.append(self._close(block))
            self._at += 1
        return b"".join(out)

    def _open(self, block: _Block) -> bytes:
        begun = b"" if self._started else self._start()
        block.index = self._next
        self._next += 1
        block.head = _delta_head(block)
        content: dict[str, Any]
        if block.kind == "tool":
            content = {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}
        elif block.kind == "redacted":
            content = {"type": "redacted_thinking", "data": self._signed(block)}
        elif block.kind == "thinking":
            content = {"type": "thinking", "thinking": "", "signature": ""}
        else:
            content = {"type": "text", "text": ""}
        opened = {"type": "content_block_start", "index": block.index, "content_block": content}
        return begun + sse.event(_DUMPS(opened).encode(), "content_block_start")

    def _pieces(self, block: _Block) -> bytes:
        if block.sent == len(block.pieces) or block.whole:
            return b""
        text = "".join(block.pieces[block.sent :])
        if block.kind == "tool" and block.sent == 0:
            if not text.strip():
                return b""
            if not text.lstrip().startswith("{"):
                # What is no object must become one, so it is sent when all of it is there.
                block.whole = True
                return b""
        block.sent = len(block.pieces)
        return _delta(block, text)

    def _close(self, block: _Block) -> bytes:
        block.closed = True
        out = b""
        if block.whole:
            given = arguments_of(block.text)
            out = _delta(block, _DUMPS(given)) if given else b""
        elif block.kind == "thinking" and (block.signature is not None or self._origin):
            signed = {"type": "signature_delta", "signature": self._signed(block)}
            event = {"type": "content_block_delta", "index": block.index, "delta": signed}
            out = sse.event(_DUMPS(event).encode(), "content_block_delta")
        return (
            out
            + b'event: content_block_stop\ndata: {"type":"content_block_stop","index":'
            + str(block.index).encode()
            + b"}\n\n"
        )

    def _signed(self, block: _Block) -> str:
        signature = block.signature or ""
        return marked(self._origin, signature) if self._origin else signature

    def _content(self, block: _Block) -> dict[str, Any]:
        if block.kind == "tool":
            return {"type": "tool_use", "id": block.id, "name": block.name, "input": arguments_of(block.text)}
        if block.kind == "redacted":
            return {"type": "redacted_thinking", "data": self._signed(block)}
        if block.kind == "thinking":
            return {"type": "thinking", "thinking": block.text, "signature": self._signed(block)}
        return {"type": "text", "text": block.text}

    def _call_id(self, identifier: str) -> str:
        """An id that this client can send back to any provider: the provider's own, if it has one that is unique."""
        given = call_id(identifier) if identifier else ""
        if not given or given in self._ids:
            given = call_id(f"toolu_{self._id.removeprefix('msg_')}_{len(self._ids)}")
        self._ids.add(given)
        return given

    def _name(self, name: str) -> str:
        original = self._originals.get(name)
        return name if original is None else original.name

    def _message(self) -> dict[str, Any]:
        return {"id": self._id, "type": "message", "role": "assistant", "model": self._model}

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        usage = self._counted()
        message = {**self._message(), "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        return sse.event(_DUMPS({"type": "message_start", "message": message}).encode(), "message_start")

    def _reason(self) -> str:
        calls = [block for block in self._blocks if block.kind == "tool"]
        finish = self._finish
        if finish is not None and finish.reason in _REASONS:
            return _REASONS[finish.reason]
        if self._called and not calls:
            return "tool_use"
        if calls:
            # An end that nobody announced may have cut the last call, and half a call may not be run.
            whole = finish is not None or calls[-1].complete or not calls[-1].text.strip()
            return "tool_use" if whole else "max_tokens"
        return "stop_sequence" if finish is not None and finish.sequence is not None else "end_turn"

    def _sequence(self) -> str | None:
        return self._finish.sequence if self._finish is not None and self._reason() == "stop_sequence" else None

    def _counted(self) -> dict[str, Any]:
        usage = self._usage
        if usage is None:
            # Clients shorten a conversation by these, so a guess is better than nothing.
            made = sum(len(piece) for block in self._blocks for piece in block.pieces) // 4
            usage = Usage(self._estimate, made if self._done else 0)
        counted: dict[str, Any] = {
            "input_tokens": max(usage.input - usage.cached - usage.written, 0),
            "cache_creation_input_tokens": usage.written,
            "cache_read_input_tokens": usage.cached,
            "output_tokens": usage.output,
        }
        if usage.reasoning:
            counted["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
        return counted


def _delta_head(block: _Block) -> bytes:
    kind, member = _DELTAS.get(block.kind, ("input_json_delta", "partial_json"))
    return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":' % (
        block.index or 0,
        kind.encode(),
        member.encode(),
    )


def _delta(block: _Block, text: str) -> bytes:
    return block.head + encode_basestring_ascii(text).encode() + b"}}\n\n"
