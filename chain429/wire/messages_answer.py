"""A provider's answer in Anthropic's Messages dialect, read into neutral events; ``MessagesWriter`` is the other way
round.

The shapes are those of Anthropic's API reference: an answer is a row of blocks, which a stream brings one after the
other, each opened, filled and closed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chain429.errors import WireError
from chain429.wire.events import (
    End,
    Error,
    Event,
    Finish,
    Reasoning,
    Signature,
    Text,
    ToolArguments,
    ToolCall,
    Usage,
)
from chain429.wire.loading import loads
from chain429.wire.messages_writer import MessagesWriter

__all__ = ["MessagesReader", "MessagesWriter", "parsed"]

# Why an answer ended, in Chat Completions' words. What no table knows is an ordinary end.
_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "length": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
    "content_filter": "content_filter",
}
_TOKENS = (
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "thinking_tokens",
)  # fmt: skip

_DUMPS = json.JSONEncoder(separators=(",", ":")).encode


class _Call:
    """A tool call that is being read. ``held``: arguments that came with its beginning, unless others follow;
    ``said``: whether they have."""

    __slots__ = ("held", "number", "said")

    def __init__(self, number: int, held: str) -> None:
        self.number = number
        self.held = held
        self.said = False


class MessagesReader:
    """Reads one answer of a provider that speaks Messages. See ``dialect.Reader``.

    Blocks of kinds that have no neutral event (those of tools that the provider runs itself) are passed over.
    """

    __slots__ = ("_bare", "_calls", "_count", "_signature", "_tokens")

    def __init__(self) -> None:
        self._calls: dict[Any, _Call] = {}
        self._count = 0
        self._bare: int | None = None  # a call that is over, and had no arguments
        self._signature = ""
        self._tokens: dict[str, int] = {}

    def read(self, data: bytes, name: str = "") -> list[Event]:
        if not data.startswith(b"{") and data.lstrip().startswith(b"[DONE]"):
            return [End()]
        return self.take(parsed(data))

    def whole(self, body: bytes) -> list[Event]:
        message = parsed(body)
        content = message.get("content")
        if message.get("type") == "error" or message.get("error") or not isinstance(content, list):
            return [Error(message.get("error") or message)]
        events: list[Event] = []
        for index, block in enumerate(content):
            if isinstance(block, dict):
                events += self._start(index, block)
                events += self._stop(index)
        events += self._finish(message, message.get("usage"))
        return [*events, End()]

    def take(self, message: Mapping[str, Any]) -> list[Event]:
        """The events of one event that is parsed already."""
        kind = message.get("type")
        if kind == "content_block_delta":
            return self._delta(message)
        if kind == "content_block_start":
            block = message.get("content_block")
            return self._start(_index(message), block) if isinstance(block, dict) else []
        if kind == "content_block_stop":
            return self._stop(_index(message))
        if kind == "message_start":
            begun = message.get("message")
            usage = self._usage(begun.get("usage")) if isinstance(begun, dict) else None
            # Zeros at the beginning mean that it does not know yet.
            return [usage] if usage is not None and usage.input else []
        if kind == "message_delta":
            delta = message.get("delta")
            return [*self._flush(), *self._finish(delta if isinstance(delta, dict) else {}, message.get("usage"))]
        if kind == "message_stop":
            return [*self._flush(), End()]
        if kind == "error" or message.get("error") or not isinstance(kind, str):
            return [Error(message.get("error") or message)]
        return []

    def _start(self, index: Any, block: Mapping[str, Any]) -> list[Event]:
        events = self._flush(index)
        if self._bare is not None:
            # Something follows, so it was not cut before its arguments: it has none.
            events.append(ToolArguments(self._bare, "{}"))
            self._bare = None
        kind, name = block.get("type"), block.get("name")
        if kind == "tool_use" and name and isinstance(name, str):
            given = block.get("input")
            call = self._calls[index] = _Call(self._count, _DUMPS(given) if given else "")
            self._count += 1
            events.append(ToolCall(call.number, str(block.get("id") or ""), name))
        elif kind == "text":
            events += _words(Text, block.get("text"))
        elif kind == "thinking":
            events += _words(Reasoning, block.get("thinking"))
            self._signature = str(block.get("signature") or "")
        elif kind == "redacted_thinking":
            events.append(Signature(str(block.get("data") or ""), redacted=True))
        return events

    def _delta(self, message: Mapping[str, Any]) -> list[Event]:
        delta = message.get("delta")
        if not isinstance(delta, dict):
            return []
        kind = delta.get("type")
        if kind == "text_delta":
            return _words(Text, delta.get("text"))
        if kind == "input_json_delta":
            text = delta.get("partial_json")
            call = self._calls.get(_index(message))
            if call is None or not text or not isinstance(text, str):
                # Without a call these belong to a tool that the provider runs itself.
                return []
            call.held, call.said = "", True
            return [ToolArguments(call.number, text)]
        if kind == "thinking_delta":
            return _words(Reasoning, delta.get("thinking"))
        if kind == "signature_delta":
            self._signature = str(delta.get("signature") or "")
        return []

    def _stop(self, index: Any) -> list[Event]:
        events: list[Event] = []
        if self._signature:
            events.append(Signature(self._signature))
            self._signature = ""
        call = self._calls.pop(index, None)
        if call is not None and call.held:
            events.append(ToolArguments(call.number, call.held))
        elif call is not None and not call.said:
            self._bare = call.number
        return events

    def _flush(self, index: Any = None) -> list[Event]:
        """What blocks that were never closed still hold: all of them, or that of ``index``."""
        if not self._signature and not self._calls:
            return []
        return [event for one in ([*self._calls] if index is None else [index]) or [None] for event in self._stop(one)]

    def _finish(self, ended: Mapping[str, Any], usage: Any) -> list[Event]:
        events: list[Event] = []
        reason = ended.get("stop_reason")
        if reason and isinstance(reason, str):
            sequence = ended.get("stop_sequence")
            events.append(Finish(_FINISHES.get(reason, "stop"), sequence if isinstance(sequence, str) else None))
        counted = self._usage(usage)
        return [*events, counted] if counted is not None else events

    def _usage(self, usage: Any) -> Usage | None:
        """What was counted so far. Counts only grow, and some are told at the beginning only."""
        if not isinstance(usage, dict):
            return None
        details = usage.get("output_tokens_details")
        given = {**usage, **details} if isinstance(details, dict) else usage
        tokens = self._tokens
        for name in _TOKENS:
            value = given.get(name)
            if isinstance(value, int) and value > tokens.get(name, 0):
                tokens[name] = value
        cached, written = tokens.get("cache_read_input_tokens", 0), tokens.get("cache_creation_input_tokens", 0)
        return Usage(
            tokens.get("input_tokens", 0) + cached + written,
            tokens.get("output_tokens", 0),
            cached,
            tokens.get("thinking_tokens", 0),
            written,
        )


def _index(message: Mapping[str, Any]) -> int | None:
    index = message.get("index")
    return index if isinstance(index, int) else None


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object that an event or a body is; raises WireError where it is not one."""
    try:
        value = loads(str(data, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError("not JSON") from error
    if not isinstance(value, dict):
        raise WireError("not a JSON object")
    return value


def _words(kind: type[Text] | type[Reasoning], text: Any) -> list[Event]:
    return [kind(text)] if text and isinstance(text, str) else []
