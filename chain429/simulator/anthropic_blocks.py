"""The content blocks of a Messages request: what each may have in it, what is wrong with one, and what they say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from chain429.simulator.answers import text_of

_CACHED = frozenset({"type", "cache_control"})
_FIELDS = {
    "text": _CACHED | {"text", "citations"},
    "image": _CACHED | {"source"},
    "document": _CACHED | {"source", "title", "context", "citations"},
    "search_result": _CACHED | {"source", "title", "content", "citations"},
    "tool_use": _CACHED | {"id", "name", "input", "caller"},
    "tool_result": _CACHED | {"tool_use_id", "content", "is_error"},
    "tool_reference": _CACHED | {"tool_name"},
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
    "server_tool_use": _CACHED | {"id", "name", "input"},
    "web_search_tool_result": _CACHED | {"tool_use_id", "content"},
}
# What a block can't do without, and what it has to be.
_REQUIRED: dict[str, dict[str, type]] = {
    "text": {"text": str},
    "image": {"source": dict},
    "document": {"source": dict},
    "tool_use": {"id": str, "name": str, "input": dict},
    "tool_result": {"tool_use_id": str},
    "thinking": {"thinking": str, "signature": str},
    "redacted_thinking": {"data": str},
}
_KINDS: dict[type, str] = {str: "a valid string", dict: "a valid dictionary"}
_ID = re.compile(r"[a-zA-Z0-9_-]+")
# What a client puts into the turn of a tool's result by itself; that is no new question.
_REMINDER = "<system-reminder>"
_MEDIA = ("image/jpeg", "image/png", "image/gif", "image/webp")


def extra(place: str) -> str:
    return f"{place}: Extra inputs are not permitted"


def blocks_of(content: object) -> list[dict[str, Any]]:
    """The blocks of a content that is well formed; none where it is text."""
    return content if isinstance(content, list) else []


def malformed_block(block: object, place: str, role: str) -> Iterator[str]:
    """Everything that is wrong with one block's form."""
    if not isinstance(block, dict):
        yield f"{place}: Input should be an object"
        return
    kind = block.get("type")
    if not isinstance(kind, str):
        yield f"{place}.type: Field required"
        return
    if kind not in _FIELDS:
        expected = ", ".join(f"'{name}'" for name in _FIELDS)
        yield (f"{place}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {expected}")
        return
    for field, wanted in _REQUIRED.get(kind, {}).items():
        if field not in block:
            yield f"{place}.{kind}.{field}: Field required"
        elif not isinstance(block[field], wanted):
            yield f"{place}.{kind}.{field}: Input should be {_KINDS[wanted]}"
    yield from (extra(f"{place}.{kind}.{field}") for field in block if field not in _FIELDS[kind])
    mark = block.get("cache_control")
    if mark is not None and not (isinstance(mark, dict) and mark.get("type") == "ephemeral"):
        yield f"{place}.{kind}.cache_control: Input should be an ephemeral cache control"
    for field in ("id", "tool_use_id"):
        if isinstance(block.get(field), str) and not _ID.fullmatch(block[field]):
            yield f"{place}.{kind}.{field}: String should match pattern '^[a-zA-Z0-9_-]+$'"
    match block:
        case {"type": "tool_result", "content": content}:
            if isinstance(content, list):
                for index, inner in enumerate(content):
                    yield from malformed_block(inner, f"{place}.tool_result.content.{index}", role)
            elif not isinstance(content, str):
                yield f"{place}.tool_result.content: Input should be a valid list"
        case {"type": "image", "source": {"type": "base64"} as source}:
            if source.get("media_type") not in _MEDIA:
                yield f"{place}.image.source.base64.media_type: Input should be {' or '.join(map(repr, _MEDIA))}"
            elif not isinstance(source.get("data"), str) or not source["data"]:
                yield f"{place}.image.source.base64.data: Field required"


def messages_in_chat(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The messages as Chat Completions would have them; what a client reminds of comes before a tool's results."""
    if system := text_of(body.get("system")):
        yield {"role": "system", "content": system}
    for message in body["messages"]:
        role, content = message["role"], message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        if role == "assistant":
            calls = [
                {"id": block["id"], "function": {"name": block["name"], "arguments": json.dumps(block["input"])}}
                for block in blocks
                if block["type"] == "tool_use"
            ]
            yield {"role": role, "content": "".join(texts), **({"tool_calls": calls} if calls else {})}
            continue
        results = [
            {"role": "tool", "tool_call_id": block["tool_use_id"], "content": text_of(block.get("content"))}
            for block in blocks
            if block["type"] == "tool_result"
        ]
        said = [{"role": role, "content": "".join(texts)}] if texts or not results else []
        reminded = bool(results) and all(text.lstrip().startswith(_REMINDER) for text in texts)
        yield from said + results if reminded else results + said
