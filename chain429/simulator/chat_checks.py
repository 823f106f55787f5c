"""What providers of Chat Completions refuse of a conversation, in the words of OpenAI, whom the others follow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_PARTS = ("text", "image_url", "input_audio", "refusal", "audio", "file")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_LONGEST_ID = 64


def malformation(body: Mapping[str, Any]) -> str | None:
    """What is wrong when messages are no objects with a role, or tools or calls no functions with a name."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(_is_message(message) for message in messages):
        return "messages must be a list of at least one message, each with a role."
    tools = body.get("tools")
    if tools is not None and not _all_functions(tools):
        return "tools must be a list of functions."
    return None


def conversation_fault(body: Mapping[str, Any], *, sees: bool) -> str | None:
    """The first thing that is wrong with a request which is not malformed. ``sees``: the model takes images."""
    for index, tool in enumerate(body.get("tools") or ()):
        if not _NAME.fullmatch(tool["function"]["name"]):
            return (
                f"Invalid 'tools[{index}].function.name': string does not match pattern. "
                "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            )
    messages = body["messages"]
    for faults in (_contents(messages, sees), _calls(messages)):
        if said := next(faults, None):
            return said
    return None


def _contents(messages: Sequence[Message], sees: bool) -> Iterator[str]:
    for index, message in enumerate(messages):
        role, content = message["role"], message.get("content")
        place = f"messages[{index}].content"
        if role not in _ROLES:
            yield f"Invalid value: '{role}'. Supported values are: {', '.join(map(repr, _ROLES))}."
        if content is None:
            if not (role == "assistant" and message.get("tool_calls")):
                yield f"Invalid value for '{place}': expected a string, got null."
        elif not isinstance(content, str | list):
            yield f"Invalid type for '{place}': expected one of a string or array of objects."
        elif isinstance(content, list):
            for number, part in enumerate(content):
                yield from _part(part, f"{place}[{number}]", role, sees)


def _part(part: object, place: str, role: str, sees: bool) -> Iterator[str]:
    if not isinstance(part, dict):
        yield f"Invalid type for '{place}': expected an object."
        return
    kind = part.get("type")
    if kind not in _PARTS:
        yield f"Invalid value: '{kind}'. Supported values are: {', '.join(map(repr, _PARTS))}."
    elif kind == "text" and not isinstance(part.get("text"), str):
        yield f"Missing required parameter: '{place}.text'."
    elif kind == "image_url":
        if role != "user":
            yield (
                "Image URLs are only allowed for messages with role 'user', "
                f"but this message with role '{role}' contains an image URL."
            )
        if not isinstance(part.get("image_url"), dict) or not isinstance(part["image_url"].get("url"), str):
            yield f"Invalid type for '{place}.image_url': expected an object with a URL."
        if not sees:
            yield "Invalid content type. image_url is only supported by certain models."


def _calls(messages: Sequence[Message]) -> Iterator[str]:
    """Each call has its result in the ``tool`` messages that follow, and each result its call."""
    due: list[str] = []  # ids of calls whose results are still to come
    known: set[str] = set()  # all ids of the assistant's message before
    for index, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            ident = message.get("tool_call_id")
            if not isinstance(ident, str):
                yield "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'."
            if not known:
                yield (
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding message "
                    f"with 'tool_calls'. (messages[{index}])"
                )
            if ident not in known:
                yield f"Invalid parameter: 'tool_call_id' of '{ident}' not found in 'tool_calls' of previous message."
            due = [each for each in due if each != ident]
            continue
        if due:
            yield _unanswered(due)
        due = []
        for number, call in enumerate(message.get("tool_calls") or ()):
            place = f"messages[{index}].tool_calls[{number}]"
            ident = call.get("id")
            if not isinstance(ident, str):
                yield f"Missing required parameter: '{place}.id'."
            elif len(ident) > _LONGEST_ID:
                yield (
                    f"Invalid '{place}.id': string too long. Expected a string with maximum length {_LONGEST_ID}, "
                    f"but got a string with length {len(ident)} instead."
                )
            if not isinstance(call["function"].get("arguments"), str):
                yield f"Invalid type for '{place}.function.arguments': expected a string."
            if not _NAME.fullmatch(call["function"]["name"]):
                yield f"Invalid '{place}.function.name': string does not match pattern '^[a-zA-Z0-9_-]+$'."
            due.append(str(ident))
        known = set(due)
    if due:
        yield _unanswered(due)


def _unanswered(idents: Sequence[str]) -> str:
    return (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(idents)}"
    )


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    calls = message.get("tool_calls")
    return calls is None or _all_functions(calls)


def _all_functions(entries: object) -> bool:
    """Whether this is a list of tools, or of their calls: objects with a named ``function``."""
    return isinstance(entries, list) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("function"), dict)
        and isinstance(entry["function"].get("name"), str)
        for entry in entries
    )
