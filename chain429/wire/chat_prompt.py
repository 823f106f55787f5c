"""A client's request in Chat Completions, read into the neutral one; ``write_body`` is the other way round.

The shapes are those of OpenAI's API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from chain429.wire.chat_body import write_body
from chain429.wire.loading import dumps
from chain429.wire.prompt import (
    AssistantPart,
    AssistantTurn,
    CallPart,
    Choice,
    Effort,
    FilePart,
    Format,
    ImagePart,
    Original,
    Prompt,
    ReasoningPart,
    Result,
    ResultTurn,
    SystemTurn,
    TextPart,
    Tool,
    Turn,
    UserPart,
    UserTurn,
    fit,
    tool_name,
)

__all__ = ["read_prompt", "write_body"]

# Members that other dialects have words for, or that are said to the gateway alone.
_READ = frozenset(
    {
        "max_completion_tokens", "max_tokens", "messages", "model", "n", "parallel_tool_calls", "reasoning_effort",
        "response_format", "stop", "stream", "stream_options", "temperature", "tool_choice", "tools", "top_k", "top_p",
    }
)  # fmt: skip
# Members that a provider of another dialect may know under the same name, or may do without.
_TUNING = frozenset({"frequency_penalty", "logit_bias", "presence_penalty", "prompt_cache_key", "seed", "verbosity"})
# What is read of a message, or says nothing that another dialect would have to know.
_READ_IN_MESSAGES = frozenset(
    {
        "annotations", "content", "function_call", "reasoning", "reasoning_content", "reasoning_details", "refusal",
        "role", "tool_call_id", "tool_calls",
    }
)  # fmt: skip
_EFFORTS: Mapping[Any, Effort] = MappingProxyType(
    {"none": "none", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
)
# The second is how results were given before there could be several.
_ANSWERING = ("tool", "function")
_INSTRUCTING = ("system", "developer")


def read_prompt(values: Mapping[str, Any]) -> Prompt:
    """The neutral request of a client's body, as ``ChatRequest`` has checked it."""
    reading = _Reading()
    reading.lost |= {
        name: None for name, value in values.items() if name not in _READ and name not in _TUNING and value is not None
    }
    if values.get("n") not in (None, 1):
        reading.lost["n"] = None
    turns = [_turn(message, reading) for message in values["messages"]]
    tools = _tools(values.get("tools"), reading)
    effort = values.get("reasoning_effort")
    return Prompt(
        turns=fit(turns),
        tools=tools,
        choice=_choice(values.get("tool_choice"), reading) if tools else None,
        parallel=_flag(values.get("parallel_tool_calls")) if tools else None,
        max_tokens=_whole(values.get("max_completion_tokens")) or _whole(values.get("max_tokens")),
        temperature=_number(values.get("temperature")),
        top_p=_number(values.get("top_p")),
        top_k=_whole(values.get("top_k")),
        stop=tuple(_stop(values.get("stop"))),
        effort=_EFFORTS.get(effort) if isinstance(effort, str) else None,
        format=_format(values.get("response_format")),
        tuning={name: values[name] for name in _TUNING if values.get(name) is not None},
        originals=reading.originals,
        lost=tuple(reading.lost),
    )


class _Reading:
    """What is gathered on the way. ``told``: how often each function was called, and answered, without an id."""

    __slots__ = ("lost", "originals", "told")

    def __init__(self) -> None:
        self.originals: dict[str, Original] = {}
        self.lost: dict[str, None] = {}
        self.told: dict[tuple[str, str], int] = {}

    def number(self, role: str, name: str) -> str:
        """The id of a call, or of its result, that is known by the function's name and by order alone."""
        count = self.told[role, name] = self.told.get((role, name), 0) + 1
        return f"call_{name}_{count}"


def _turn(message: Mapping[str, Any], reading: _Reading) -> Turn:
    """One message; what says nothing is left to ``fit``."""
    role, content = message["role"], message.get("content")
    if not message.keys() <= _READ_IN_MESSAGES:
        for name, value in message.items():
            if name not in _READ_IN_MESSAGES and value is not None and not (name == "name" and role in _ANSWERING):
                reading.lost[f"messages[].{name}"] = None
    if role == "assistant":
        return AssistantTurn(_assistant(message, reading))
    if role in _ANSWERING:
        identifier = str(message.get("tool_call_id") or reading.number("function", str(message.get("name") or "")))
        return ResultTurn((Result(identifier, _user_parts(content, reading)),))
    return SystemTurn(_text(content)) if role in _INSTRUCTING else UserTurn(_user_parts(content, reading))


def _assistant(message: Mapping[str, Any], reading: _Reading) -> tuple[AssistantPart, ...]:
    parts: list[AssistantPart] = []
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if reasoning and isinstance(reasoning, str):
        # Clients of this dialect don't tell whose it is.
        parts.append(ReasoningPart(reasoning))
    text = _text(message.get("content")) or _text(message.get("refusal"))
    if text:
        parts.append(TextPart(text))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            identifier = str(call.get("id") or reading.number("assistant", str(function.get("name") or "")))
            parts.append(CallPart(identifier, _named(function, reading), _arguments(function)))
        else:
            reading.lost["messages[].tool_calls"] = None
    function = message.get("function_call")
    if isinstance(function, dict):
        identifier = reading.number("assistant", str(function.get("name") or ""))
        parts.append(CallPart(identifier, _named(function, reading), _arguments(function)))
    return tuple(parts)


def _named(function: Mapping[str, Any], reading: _Reading) -> str:
    name = str(function.get("name") or "")
    fitting = tool_name(name)
    if fitting != name:
        reading.originals[fitting] = Original(name)
    return fitting


def _arguments(function: Mapping[str, Any]) -> str:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        return arguments
    return dumps(arguments) if isinstance(arguments, dict) else ""


def _user_parts(content: Any, reading: _Reading) -> tuple[UserPart, ...]:
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    parts: list[UserPart] = []
    for part in content if isinstance(content, list) else ():
        found = _part(part) if isinstance(part, dict) else None
        if found is not None:
            parts.append(found)
        elif not (isinstance(part, dict) and part.get("type") == "text"):
            reading.lost[f"messages[].{part.get('type') if isinstance(part, dict) else 'content'}"] = None
    return tuple(parts)


def _part(part: Mapping[str, Any]) -> UserPart | None:
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str) and part["text"]:
        return TextPart(part["text"])
    if kind == "image_url":
        image = part.get("image_url")
        image = {"url": image} if isinstance(image, str) else image
        if isinstance(image, dict) and isinstance(image.get("url"), str):
            media_type, data = split_data_url(image["url"])
            detail = image["detail"] if isinstance(image.get("detail"), str) else ""
            return ImagePart("" if data else image["url"], media_type, data, detail)
    if kind == "file" and isinstance(part.get("file"), dict):
        return _file(part["file"])
    return None


def _file(file: Mapping[str, Any]) -> FilePart:
    name, identifier, given = [str(file.get(member) or "") for member in ("filename", "file_id", "file_data")]
    media_type, data = split_data_url(given)
    if given.startswith(("http://", "https://")):
        return FilePart(name, url=given)
    if given and not data:  # Some give the base64 alone.
        media_type, data = "application/pdf", given
    return FilePart(name, media_type=media_type, data=data, id=identifier)


def split_data_url(url: str) -> tuple[str, str]:
    """Media type and base64 of a ``data:`` URL (RFC 2397); two empty strings for anything else."""
    if url[:5].lower() != "data:":
        return "", ""
    head, comma, data = url[5:].partition(",")
    media_type, _, coding = head.rpartition(";")
    return (media_type, data) if comma and coding.lower() == "base64" else ("", "")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    texts = [part.get("text") or part.get("refusal") for part in parts]
    return "\n".join([text for text in texts if isinstance(text, str) and text])


def _tools(tools: Any, reading: _Reading) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            reading.lost["tools"] = None
            continue
        schema, strict = function.get("parameters"), function.get("strict")
        name, description = _named(function, reading), function.get("description")
        description = description if isinstance(description, str) else ""
        strict = strict if isinstance(strict, bool) else None
        if schema and isinstance(schema, dict):
            found.append(Tool(name, description, schema, strict))
        else:
            found.append(Tool(name, description, strict=strict))
    return tuple(found)


def _choice(choice: Any, reading: _Reading) -> Choice | None:
    if choice in ("auto", "none", "required"):
        return Choice(choice)
    if isinstance(choice, dict):
        function = choice.get("function")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            return Choice("tool", tool_name(function["name"]))
        allowed = choice.get("allowed_tools")
        mode = allowed.get("mode") if isinstance(allowed, dict) else None
        reading.lost["tool_choice"] = None
        return Choice("required") if mode == "required" else None
    return None


def _format(value: Any) -> Format | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "json_object":
        return Format()
    inner = value.get("json_schema") if kind == "json_schema" else None
    if not isinstance(inner, dict):
        return None
    schema, strict = inner.get("schema"), inner.get("strict")
    return Format(
        schema if isinstance(schema, dict) else None,
        str(inner.get("name") or "answer"),
        strict if isinstance(strict, bool) else None,
    )


def _stop(stop: Any) -> list[str]:
    found = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    return [one for one in found if isinstance(one, str) and one]


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
