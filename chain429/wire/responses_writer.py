"""Neutral events, written as an answer in OpenAI's Responses dialect.

The shapes are those of OpenAI's API reference: an answer is a list of items (a message, thoughts, tool calls), which a
stream opens, fills and closes, and then gives whole once more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii
from types import MappingProxyType
from typing import Any, Literal

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
from chain429.wire.prompt import Original, call_id
from chain429.wire.responses_error import failure
from chain429.wire.responses_reasoning import sealed

# Why an answer is not complete, where that is why it ended.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# Answers repeat what was asked for, but for what is long.
_REPEATED: Mapping[str, Any] = MappingProxyType(
    {
        "max_output_tokens": None, "metadata": {}, "parallel_tool_calls": True, "reasoning": None, "temperature": None,
        "text": None, "tool_choice": "auto", "top_p": None, "truncation": "disabled",
    }
)  # fmt: skip
_CONSTANT: Mapping[str, Any] = MappingProxyType(
    {"instructions": None, "previous_response_id": None, "store": False, "tools": []}
)
# The rest of an id is so long at most: OpenAI takes 64 characters back.
_LONGEST = 48

_DUMPS = json.JSONEncoder(separators=(",", ":")).encode

_Kind = Literal["message", "reasoning", "call", "custom"]
_PREFIXES: Mapping[_Kind, str] = {"message": "msg", "reasoning": "rs", "call": "fc", "custom": "ctc"}
_TYPES: Mapping[_Kind, str] = {
    "message": "message", "reasoning": "reasoning", "call": "function_call", "custom": "custom_tool_call",
}  # fmt: skip


class _Item:
    """One item of the answer; ``pieces`` is what it says. ``head`` is what is written before each piece.

    ``hidden`` is what thoughts are sent back with, ``original`` the tool that a call is for.
    """

    __slots__ = ("call_id", "closed", "head", "hidden", "id", "index", "kind", "original", "pieces", "status")

    def __init__(self, kind: _Kind, identifier: str, index: int) -> None:
        self.kind = kind
        self.id = f"{_PREFIXES[kind]}_{identifier}_{index}"
        self.index = index
        self.pieces: list[str] = []
        self.status = "in_progress"
        self.closed = False
        self.head = b""
        self.hidden: str | None = None
        self.call_id = ""
        self.original = Original("")

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def is_call(self) -> bool:
        return self.kind in ("call", "custom")

    def rendered(self) -> dict[str, Any]:
        """The item as it is now: nothing of what it says is in it while it is open."""
        item: dict[str, Any] = {"type": _TYPES[self.kind], "id": self.id}
        begun = self.status == "in_progress"
        text = "" if begun else self.text
        if self.kind == "reasoning":
            item["summary"] = [{"type": "summary_text", "text": text}] if text else []
            return {**item, "encrypted_content": self.hidden} if self.hidden is not None else item
        item["status"] = self.status
        if self.kind == "message":
            return {**item, "role": "assistant", "content": [] if begun else [_part(text)]}
        item |= {"call_id": self.call_id, "name": self.original.name}
        if self.original.namespace:
            item["namespace"] = self.original.namespace
        if self.kind == "call":
            return {**item, "arguments": text}
        return {**item, "input": "" if begun else free_text(text)}

    def whole(self) -> bool:
        """Whether a call's arguments are all there."""
        try:
            json.loads(self.text)
        except (ValueError, RecursionError):
            return False
        return True


class ResponsesWriter:
    """Writes one answer for a client that speaks Responses. See ``dialect.Writer``.

    Calls stay open until the answer is complete: pieces of several may come in turns, and a client runs a call as soon
    as it is closed, so nothing is run of an answer that breaks off and is asked for again. The input of a tool that
    takes free text comes inside of JSON, and is sent when all of it is there.

    ``settings`` are what the client asked for, to be repeated in the answer; ``estimate`` is what the request's tokens
    are taken to be where nobody counts them.
    """

    __slots__ = (
        "_base", "_blank", "_by_number", "_current", "_done", "_estimate", "_finish", "_id", "_ids", "_items",
        "_origin", "_originals", "_sequence", "_started", "_usage",
    )  # fmt: skip

    def __init__(
        self,
        identifier: str,
        model: str,
        at: int,
        originals: Mapping[str, Original] = {},
        origin: str = "",
        *,
        settings: Mapping[str, Any] = {},
        estimate: int = 0,
    ) -> None:
        self._id = call_id(identifier, _LONGEST)
        self._base = {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": at,
            "model": model,
            **_CONSTANT,
            **_REPEATED,
            **{name: settings[name] for name in _REPEATED if settings.get(name) is not None},
        }
        self._originals = originals
        self._origin = origin
        self._estimate = estimate
        self._items: list[_Item] = []
        self._by_number: dict[int, _Item] = {}
        self._ids: set[str] = set()
        self._current: _Item | None = None  # the message or the thoughts that are being written
        self._blank = ""  # white space that may be the beginning of a message
        self._sequence = 0
        self._started = False
        self._done = False
        self._finish: Finish | None = None
        self._usage: Usage | None = None

    def go_on(self, response: Mapping[str, Any], sequence: int) -> None:
        """Take over a stream in which somebody else has begun ``response`` but none of its items.

        ``sequence`` is the number of the next event.
        """
        self._base = {**self._base, **response}
        self._sequence = sequence
        self._started = True

    def add(self, event: Event) -> bytes:
        if self._done:
            return b""
        if isinstance(event, Text):
            return self._say("message", event.text)
        if isinstance(event, ToolArguments):
            item = self._by_number.get(event.index)
            if item is None:
                return b""
            item.pieces.append(event.text)
            return self._piece(item, event.text) if item.kind == "call" else b""
        if isinstance(event, Reasoning):
            return self._say("reasoning", event.text)
        if isinstance(event, ToolCall):
            return self._call(event)
        if isinstance(event, Signature):
            return self._sign(event)
        if isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Finish):
            self._finish = event
        return self.close() if isinstance(event, End) else b""

    def close(self) -> bytes:
        if self._done:
            return b""
        self._done = True
        reason = self._reason()
        out = b"" if self._started else self._start()
        if self._current is not None and reason is not None:
            self._current.status = "incomplete"
        for item in self._items:
            if item.closed:
                continue
            if reason is not None and item.is_call() and not item.whole():
                # Half a call, which nobody may run.
                item.status = "incomplete"
            else:
                out += self._close(item)
        return out + self._event("response.incomplete" if reason else "response.completed", response=self._response())

    def fail(self, problem: Problem) -> bytes:
        """The answer as one that failed, with what was complete of it. What is open stays so."""
        if self._done:
            return b""
        self._done = True
        out = b"" if self._started else self._start()
        output = [item.rendered() for item in self._items if item.closed]
        return out + self._event("response.failed", response=failed(self._base, problem, output))

    def whole(self) -> bytes:
        self.close()
        return _DUMPS(self._response()).encode()

    def _say(self, kind: Literal["message", "reasoning"], text: str) -> bytes:
        item = self._current
        if item is not None and item.kind == kind:
            # Nearly all of an answer: one more piece of the open item.
            item.pieces.append(text)
            return self._piece(item, text)
        if kind == "message":
            text = self._blank + text
            if not text.strip():
                self._blank = text
                return b""
        out, item = self._open(kind)
        self._current = item
        place = {"item_id": item.id, "output_index": item.index}
        if kind == "message":
            out += self._event("response.content_part.added", **place, content_index=0, part=_part(""))
            item.head = _head("response.output_text.delta", {**place, "content_index": 0, "logprobs": []})
        else:
            part = {"type": "summary_text", "text": ""}
            out += self._event("response.reasoning_summary_part.added", **place, summary_index=0, part=part)
            item.head = _head("response.reasoning_summary_text.delta", {**place, "summary_index": 0})
        item.pieces.append(text)
        return out + self._piece(item, text)

    def _call(self, event: ToolCall) -> bytes:
        original = self._originals.get(event.name) or Original(event.name)
        call = self._call_id(event.id)
        out, item = self._open("custom" if original.free else "call", call, original)
        self._by_number[event.index] = item
        item.head = _head("response.function_call_arguments.delta", {"item_id": item.id, "output_index": item.index})
        return out

    def _sign(self, event: Signature) -> bytes:
        item, out = self._current, b""
        if event.redacted or item is None or item.kind != "reasoning":
            out, item = self._open("reasoning")
        item.hidden = self._hidden(item.text, event.data, redacted=event.redacted)
        self._current = None
        return out + self._close(item)

    def _open(self, kind: _Kind, call: str = "", original: Original | None = None) -> tuple[bytes, _Item]:
        """A new item, after the message or the thoughts before it, which end here."""
        out = b"" if self._started else self._start()
        if self._current is not None:
            out += self._close(self._current)
            self._current = None
        self._blank = ""
        item = _Item(kind, self._id, len(self._items))
        item.call_id = call
        item.original = original or item.original
        self._items.append(item)
        return out + self._event("response.output_item.added", output_index=item.index, item=item.rendered()), item

    def _piece(self, item: _Item, text: str) -> bytes:
        number = self._sequence
        self._sequence += 1
        return b'%b%b,"sequence_number":%d}\n\n' % (item.head, encode_basestring_ascii(text).encode(), number)

    def _close(self, item: _Item) -> bytes:
        item.closed = True
        if item.status == "in_progress":
            item.status = "completed"
        place: dict[str, Any] = {"item_id": item.id, "output_index": item.index}
        text, out = item.text, b""
        if item.kind == "message":
            place["content_index"] = 0
            out = self._event("response.output_text.done", **place, text=text, logprobs=[])
            out += self._event("response.content_part.done", **place, part=_part(text))
        elif item.kind == "reasoning":
            if item.hidden is None and self._origin:
                item.hidden = self._hidden(text, "")
            if text:
                place["summary_index"] = 0
                out = self._event("response.reasoning_summary_text.done", **place, text=text)
                part = {"type": "summary_text", "text": text}
                out += self._event("response.reasoning_summary_part.done", **place, part=part)
        elif item.kind == "call":
            if not text.strip():
                item.pieces.append("{}")
                out = self._piece(item, "{}")
            out += self._event("response.function_call_arguments.done", **place, arguments=item.text)
        else:
            given = free_text(text)
            if given:
                out = self._event("response.custom_tool_call_input.delta", **place, delta=given)
            out += self._event("response.custom_tool_call_input.done", **place, input=given)
        return out + self._event("response.output_item.done", output_index=item.index, item=item.rendered())

    def _hidden(self, text: str, signature: str, *, redacted: bool = False) -> str:
        return sealed(self._origin, text, signature, redacted=redacted) if self._origin else signature

    def _call_id(self, identifier: str) -> str:
        """An id that this client can send back to any provider: the provider's own, if it has one that is unique."""
        given = call_id(identifier) if identifier else ""
        if not given or given in self._ids:
            given = f"call_{self._id}_{len(self._ids)}"
        self._ids.add(given)
        return given

    def _start(self) -> bytes:
        self._started = True
        begun = {**self._base, "status": "in_progress", "error": None, "incomplete_details": None, "output": []}
        begun["usage"] = None
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def _event(self, kind: str, **members: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._sequence, **members}
        self._sequence += 1
        return sse.event(_DUMPS(event).encode(), kind)

    def _reason(self) -> str | None:
        """Why the answer is not complete; None where it is."""
        if self._finish is not None:
            return _INCOMPLETE.get(self._finish.reason)
        # An end that nobody announced may have cut the last call.
        last = self._items[-1] if self._items else None
        cut = last is not None and last.is_call() and last.text.strip() and not last.whole()
        return "max_output_tokens" if cut else None

    def _response(self) -> dict[str, Any]:
        reason = self._reason()
        return {
            **self._base,
            "status": "incomplete" if reason else "completed",
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "output": [item.rendered() for item in self._items],
            "usage": self._counted(),
        }

    def _counted(self) -> dict[str, Any] | None:
        usage = self._usage
        if usage is None:
            if not self._estimate:
                return None
            # Clients shorten a conversation by these, so a guess is better than nothing.
            usage = Usage(self._estimate, sum(len(piece) for item in self._items for piece in item.pieces) // 4)
        return {
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.written},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        }


def failed(response: Mapping[str, Any], problem: Problem, output: list[Any]) -> dict[str, Any]:
    """The ``response`` of the event that ends a stream which broke off."""
    failing = {"status": "failed", "error": failure(problem), "incomplete_details": None, "output": output}
    return {**response, **failing, "usage": None}


def free_text(arguments: str) -> str:
    """What a tool that takes free text is given: it was asked for as the one member of an object."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    if isinstance(value, dict) and len(value) <= 1:
        value = next(iter(value.values()), "")
    elif isinstance(value, dict):
        value = value.get("input")
    return value if isinstance(value, str) else arguments


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _head(kind: str, members: Mapping[str, Any]) -> bytes:
    """The beginning of an event that brings a piece."""
    begun = _DUMPS({"type": kind, **members, "delta": ""}).removesuffix('""}')
    return f"event: {kind}\ndata: {begun}".encode()
