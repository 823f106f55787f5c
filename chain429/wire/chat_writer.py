"""Neutral events, written as an answer in Chat Completions, for a client that speaks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

from chain429.wire import sse
from chain429.wire.dialect import Problem
from chain429.wire.events import End, Event, Finish, Reasoning, Text, ToolArguments, ToolCall, Usage
from chain429.wire.loading import dumps
from chain429.wire.prompt import Original

DONE = b"data: [DONE]\n\n"
# What is not whole may not be run.
_CUT = frozenset({"length", "content_filter"})
# A chunk of nothing but words, around them.
_WORDS = b'"choices":[{"index":0,"delta":{"content":'
_AFTER = b'},"finish_reason":null}]}\n\n'
# One of nothing but a piece of a call's arguments.
_PIECE = b'"choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"function":{"arguments":'
_AFTER_PIECE = b'}}]},"finish_reason":null}]}\n\n'


def error_body(problem: Problem) -> bytes:
    """The body of an error answer: ``{"error": {"message", "type", "param", "code"}}``."""
    kind = problem.kind or _TYPES.get(problem.status)
    kind = kind or ("server_error" if problem.status >= 500 else "invalid_request_error")
    error: dict[str, Any] = {
        "message": problem.message,
        "type": kind,
        "param": problem.param,
        "code": problem.code,
    }
    if problem.details:
        error["chain429"] = problem.details
    return json.dumps({"error": error}, separators=(",", ":")).encode()


# OpenAI's words for what went wrong, by HTTP status.
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large"}


class ChatWriter:
    """Writes one answer. See ``dialect.Writer``.

    ``include_usage``: the client asked for a last chunk with the count of tokens.
    """

    __slots__ = (
        "_arguments", "_at", "_calls", "_done", "_finish", "_head", "_id", "_ids", "_include_usage", "_model",
        "_numbers", "_originals", "_reasoning", "_started", "_text", "_usage",
    )  # fmt: skip

    def __init__(
        self,
        identifier: str,
        model: str,
        at: int,
        originals: Mapping[str, Original] = {},
        origin: str = "",
        *,
        include_usage: bool = False,
    ) -> None:
        self._id = f"chatcmpl-{identifier}"
        self._model = model
        self._at = at
        self._originals = originals
        self._include_usage = include_usage
        common = {"id": self._id, "object": "chat.completion.chunk", "created": at, "model": model}
        # What every chunk begins with, but for the end of the object.
        self._head = b"data: " + dumps(common)[:-1].encode() + b","
        self._started = False
        self._done = False
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCall] = []
        self._arguments: list[list[str]] = []
        self._numbers: dict[int, int] = {}
        self._ids: set[str] = set()
        self._finish: Finish | None = None
        self._usage: Usage | None = None

    def add(self, event: Event) -> bytes:
        if self._done:
            return b""
        if isinstance(event, Text):
            self._text.append(event.text)
            begun = b"" if self._started else self._delta({})
            return begun + self._head + _WORDS + _encoded(encode_basestring(event.text)) + _AFTER
        if isinstance(event, ToolArguments):
            number = self._numbers.get(event.index)
            if number is None:
                return b""
            self._arguments[number].append(event.text)
            return self._piece(number, event.text)
        if isinstance(event, Reasoning):
            self._reasoning.append(event.text)
            return self._delta({"reasoning_content": event.text})
        if isinstance(event, ToolCall):
            return self._call(event)
        if isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Finish):
            self._finish = event
        return self.close() if isinstance(event, End) else b""

    def _call(self, event: ToolCall) -> bytes:
        number = self._numbers[event.index] = len(self._calls)
        identifier = event.id
        if not identifier or identifier in self._ids:
            identifier = f"call_{self._id.removeprefix('chatcmpl-')}_{number}"
        self._ids.add(identifier)
        call = ToolCall(number, identifier, self._name(event.name))
        self._calls.append(call)
        self._arguments.append([])
        opened = {
            "index": number, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}
        }  # fmt: skip
        return self._delta({"tool_calls": [opened]})

    def _piece(self, number: int, text: str) -> bytes:
        return self._head + _PIECE % number + _encoded(encode_basestring(text)) + _AFTER_PIECE

    def _name(self, name: str) -> str:
        original = self._originals.get(name)
        return original.name if original else name

    def _delta(self, delta: dict[str, Any]) -> bytes:
        if self._started:
            return self._chunk(dumps([{"index": 0, "delta": delta, "finish_reason": None}]))
        self._started = True
        first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        return self._chunk(dumps([first])) + (self._delta(delta) if delta else b"")

    def _chunk(self, choices: str, rest: bytes = b"") -> bytes:
        return self._head + b'"choices":' + _encoded(choices) + rest + b"}\n\n"

    def close(self) -> bytes:
        if self._done:
            return b""
        out = [b"" if self._started else self._delta({})]
        reason = self._reason()
        if reason not in _CUT:
            # Clients read the arguments as JSON, which nothing at all is not.
            for number, pieces in enumerate(self._arguments):
                if not pieces:
                    pieces.append("{}")
                    out.append(self._piece(number, "{}"))
        self._done = True
        out.append(self._chunk(dumps([{"index": 0, "delta": {}, "finish_reason": reason}])))
        if self._include_usage and self._usage is not None:
            out.append(self._chunk("[]", b',"usage":' + dumps(_counted(self._usage)).encode()))
        return b"".join(out) + DONE

    def fail(self, problem: Problem) -> bytes:
        """The error. No [DONE] follows: the answer is not complete."""
        if self._done:
            return b""
        self._done = True
        return sse.event(error_body(problem))

    def whole(self) -> bytes:
        reason = self._reason()
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._text)}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["content"] = message["content"] or None
            nothing = "" if reason in _CUT else "{}"
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": "".join(self._arguments[call.index]) or nothing},
                }
                for call in self._calls
            ]
        body = {
            "id": self._id,
            "object": "chat.completion",
            "created": self._at,
            "model": self._model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        }
        if self._usage is not None:
            body["usage"] = _counted(self._usage)
        return _encoded(dumps(body))

    def _reason(self) -> str:
        """Calls were made, so it ended for them, unless it was cut: half a call must not be run."""
        reason = self._finish.reason if self._finish else None
        if reason in _CUT:
            return reason
        if self._calls:
            # An end that nobody announced may have cut the last call.
            return "tool_calls" if reason or _whole("".join(self._arguments[-1])) else "length"
        # An end for calls that nobody made is an ordinary one.
        return "stop"


def _whole(arguments: str) -> bool:
    try:
        json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return False
    return True


def _encoded(text: str) -> bytes:
    """As UTF-8; half a surrogate pair, which some models make of an emoji, can't be."""
    return text.encode("utf-8", "replace")


def _counted(usage: Usage) -> dict[str, Any]:
    given = {"cached_tokens": usage.cached}
    if usage.written:
        given["cache_write_tokens"] = usage.written
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": given,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
