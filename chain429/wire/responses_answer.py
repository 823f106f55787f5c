"""A provider's answer in OpenAI's Responses dialect, read into neutral events; ``ResponsesWriter`` is the other way
round.

The shapes are those of OpenAI's API reference. Whatever a stream says piece by piece it says again when an item is
done, and once more at its end; some providers leave out the first, some the second.
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
from chain429.wire.prompt import tool_name
from chain429.wire.responses_writer import ResponsesWriter

__all__ = ["ResponsesReader", "ResponsesWriter", "joined", "parsed"]

_DUMPS = json.JSONEncoder(separators=(",", ":")).encode

# Why an answer is not complete, in Chat Completions' words; any other reason cut it, too.
_FINISHES = {"content_filter": "content_filter", "steered": "stop", "max_messages": "stop"}
_ENDS = ("response.completed", "response.incomplete")
_FAILURES = ("response.failed", "response.cancelled", "error")
_CALLS = ("function_call", "custom_tool_call")
# A tool that takes free text is asked for in JSON elsewhere, so its input is told as that.
_BEFORE_INPUT, _AFTER_INPUT = '{"input":"', '"}'


class _Item:
    """An item that is being read. ``said``: some of its words, or of its arguments, were told.

    ``number``: that of a call which was told. ``member`` and ``part`` are the place of thoughts that were told last.
    ``closed`` names the item once it is done, until then it is None.
    """

    __slots__ = ("closed", "custom", "held", "member", "number", "part", "said")

    def __init__(self) -> None:
        self.closed: str | None = None
        self.said = False
        self.number: int | None = None
        self.custom = False
        self.held = ""  # arguments that came with a call's beginning, unless others follow
        self.member = ""
        self.part: Any = None


class ResponsesReader:
    """Reads one answer of a provider that speaks Responses. See ``dialect.Reader``.

    Items of kinds that have no neutral event (those of tools that the provider runs itself) are passed over.
    """

    __slots__ = ("_calls", "_items", "_told")

    def __init__(self) -> None:
        self._items: dict[Any, _Item] = {}
        self._calls = 0
        self._told = False  # whether anything of the answer was told

    def read(self, data: bytes, name: str = "") -> list[Event]:
        if not data.startswith(b"{") and data.lstrip().startswith(b"[DONE]"):
            # This dialect has no such mark; without an end of its own the answer is not complete.
            return []
        return self.take(parsed(data))

    def whole(self, body: bytes) -> list[Event]:
        response = parsed(body)
        status = response.get("status", "completed")
        if response.get("error") or not isinstance(response.get("output"), list):
            return [Error(response.get("error") or response)]
        if status not in ("completed", "incomplete"):
            return [Error({"message": f"the answer is {status}"})]
        return self._end(response)

    def take(self, message: Mapping[str, Any]) -> list[Event]:
        """The events of one event that is parsed already."""
        events = self._taken(message)
        self._told = self._told or bool(events)
        return events

    def _taken(self, message: Mapping[str, Any]) -> list[Event]:
        kind = message.get("type")
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            text = message.get("delta")
            if not text or not isinstance(text, str):
                return []
            self._item(message).said = True
            return [Text(text)]
        if kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            return self._arguments(self._item(message), message.get("delta"))
        if kind == "response.reasoning_summary_text.delta":
            return self._thought(message, "summary", message.get("summary_index"))
        if kind == "response.reasoning_text.delta":
            return self._thought(message, "content", message.get("content_index"))
        if kind in ("response.output_item.added", "response.output_item.done"):
            item = message.get("item")
            if not isinstance(item, dict):
                return []
            return self._opened(message, item) if kind == "response.output_item.added" else self._ended(message, item)
        if kind in _ENDS or kind in _FAILURES:
            response = message.get("response")
            response = response if isinstance(response, dict) else {}
            if kind in _ENDS and not response.get("error"):
                return self._end(response, "incomplete" if kind == "response.incomplete" else "")
            return [Error(_reported(message, response))]
        return [] if isinstance(kind, str) else [Error(message.get("error") or message)]

    def _item(self, message: Mapping[str, Any]) -> _Item:
        key = _key(message)
        state = self._items.get(key)
        if state is None:
            state = self._items[key] = _Item()
        return state

    def _opened(self, message: Mapping[str, Any], item: Mapping[str, Any]) -> list[Event]:
        """An item begins. Where its place is taken already, the provider does not count them."""
        before = self._items.get(_key(message, item))
        state = self._items[_key(message, item)] = _Item()
        return [*(self._flushed(before) if before is not None else ()), *self._begun(state, item)]

    def _ended(self, message: Mapping[str, Any], item: Mapping[str, Any]) -> list[Event]:
        key, name = _key(message, item), str(item.get("call_id") or item.get("id"))
        state = self._items.get(key)
        if state is not None and state.closed == name:
            return []  # said twice, and nothing may be done twice
        if state is None or state.closed is not None:
            state = self._items[key] = _Item()
        state.closed = name
        return self._done(state, item)

    def _thought(self, message: Mapping[str, Any], member: str, part: Any) -> list[Event]:
        text, state = message.get("delta"), self._item(message)
        if not text or not isinstance(text, str) or (state.said and state.member != member):
            # Whoever tells both the thoughts and their summary says the same twice.
            return []
        if state.said and state.part != part:
            text = f"\n\n{text}"
        state.said, state.member, state.part = True, member, part
        return [Reasoning(text)]

    def _begun(self, state: _Item, item: Mapping[str, Any]) -> list[Event]:
        """The beginning of a call, if it is one and says what is called."""
        kind, name = item.get("type"), item.get("name")
        if kind not in _CALLS or not name or state.number is not None:
            return []
        state.number = self._calls
        self._calls += 1
        identifier = str(item.get("call_id") or item.get("id") or "")
        events: list[Event] = [
            ToolCall(state.number, identifier, tool_name(str(name), str(item.get("namespace") or "")))
        ]
        state.custom = kind == "custom_tool_call"
        state.held = _string(item.get("input" if state.custom else "arguments"))
        if state.custom:
            events.append(ToolArguments(state.number, _BEFORE_INPUT))
        return events

    def _arguments(self, state: _Item, text: Any) -> list[Event]:
        if state.number is None or not text or not isinstance(text, str):
            return []
        state.said = True
        return [ToolArguments(state.number, _DUMPS(text)[1:-1] if state.custom else text)]

    def _done(self, state: _Item, item: Mapping[str, Any]) -> list[Event]:
        """What an item says that was not told before."""
        kind = item.get("type")
        if kind == "message":
            content = item.get("content")
            return [] if state.said or not isinstance(content, list) else _texts(content)
        if kind == "reasoning":
            return self._thoughts(state, item)
        if kind not in _CALLS:
            return []
        events = self._begun(state, item)
        if not state.said:
            given = item.get("input" if state.custom else "arguments")
            # Without any, an item that is complete has none: clients read them as JSON when the next one begins.
            none = "{}" if item.get("status") == "completed" and not state.custom else ""
            events += self._arguments(state, _string(given) or state.held or none)
            state.held = ""
        return events + self._flushed(state)

    def _flushed(self, state: _Item) -> list[Event]:
        """What a call still holds."""
        events: list[Event] = []
        if state.number is not None:
            events = [] if state.said else self._arguments(state, state.held)
            if state.custom:
                state.custom = False
                events.append(ToolArguments(state.number, _AFTER_INPUT))
        return events

    def _thoughts(self, state: _Item, item: Mapping[str, Any]) -> list[Event]:
        summary, content = item.get("summary"), item.get("content")
        text = "" if state.said else joined(summary) or joined(content)
        hidden = item.get("encrypted_content")
        events: list[Event] = [Reasoning(text)] if text else []
        if hidden and isinstance(hidden, str):
            events.append(Signature(hidden))
        return events

    def _end(self, response: Mapping[str, Any], status: str = "") -> list[Event]:
        events: list[Event] = []
        output = response.get("output")
        for index, item in enumerate(output if isinstance(output, list) and not self._told else ()):
            if isinstance(item, dict):
                events += self._ended({"output_index": index}, item)
        for state in self._items.values():
            events += self._flushed(state)
        events.append(Finish(self._reason(response, status or str(response.get("status")))))
        usage = _usage(response.get("usage"))
        return [*events, usage, End()] if usage is not None else [*events, End()]

    def _reason(self, response: Mapping[str, Any], status: str) -> str:
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = details.get("reason") if isinstance(details, dict) else None
            return _FINISHES.get(str(reason), "length")
        return "tool_calls" if self._calls else "stop"


def _key(message: Mapping[str, Any], item: Mapping[str, Any] = {}) -> int | str:
    index = message.get("output_index")
    return index if isinstance(index, int) else str(message.get("item_id") or item.get("id"))


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object that an event or a body is; raises WireError where it is not one."""
    try:
        value = loads(str(data, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError("not JSON") from error
    if not isinstance(value, dict):
        raise WireError("not a JSON object")
    return value


def _reported(message: Mapping[str, Any], response: Mapping[str, Any]) -> Any:
    """The error that a stream reports, in whichever of the places it stands."""
    told = response.get("error") or message.get("error")
    if told:
        return told
    flat = {name: message[name] for name in ("code", "message", "param") if message.get(name)}
    return flat or {"message": "the provider ended the answer without saying why"}


def _texts(content: list[Any]) -> list[Event]:
    texts = [part.get("text") or part.get("refusal") for part in content if isinstance(part, dict)]
    return [Text(text) for text in texts if text and isinstance(text, str)]


def joined(parts: Any) -> str:
    """The words of thoughts, or of their summary."""
    texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return "\n\n".join([text for text in texts if text and isinstance(text, str)])


def _string(value: Any) -> str:
    if isinstance(value, dict):
        return _DUMPS(value)
    return value if isinstance(value, str) else ""


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    read, made = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    read, made = read if isinstance(read, dict) else {}, made if isinstance(made, dict) else {}
    return Usage(
        _count(usage.get("input_tokens")),
        _count(usage.get("output_tokens")),
        _count(read.get("cached_tokens")),
        _count(made.get("reasoning_tokens")),
        _count(read.get("cache_write_tokens")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
