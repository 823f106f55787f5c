"""The items and tools of a Responses request, wherever they lie, and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chain429.simulator.answers import text_of

_FREE_TEXT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def offered(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All tools of a request: also those that come as an item of its input."""
    items = body.get("input")
    tools = list(body.get("tools") or ())
    if isinstance(items, list):
        for item in items:
            if isinstance(item, dict) and item.get("type") == "additional_tools":
                tools.extend(item.get("tools") or ())
    return tools


def item_type(item: Mapping[str, Any]) -> Any:
    """What an item is; one that has only a role is a message."""
    return item.get("type") or ("message" if "role" in item else None)


def messages_in_chat(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The input as Chat Completions would have it; calls that follow each other are one message's."""
    if body.get("instructions"):
        yield {"role": "system", "content": body["instructions"]}
    items = body["input"]
    if isinstance(items, str):
        yield {"role": "user", "content": items}
        return
    calls: list[dict[str, Any]] = []
    for item in items:
        kind = item_type(item)
        if kind in ("function_call", "custom_tool_call"):
            arguments = item.get("arguments", item.get("input"))
            calls.append({"id": item["call_id"], "function": {"name": item["name"], "arguments": arguments}})
            continue
        if calls:
            yield {"role": "assistant", "content": None, "tool_calls": calls}
            calls = []
        if kind == "message":
            role = "system" if item["role"] == "developer" else item["role"]
            yield {"role": role, "content": text_of(item["content"])}
        elif kind in ("function_call_output", "custom_tool_call_output"):
            yield {"role": "tool", "tool_call_id": item["call_id"], "content": text_of(item["output"])}
    if calls:
        yield {"role": "assistant", "content": None, "tool_calls": calls}


def functions_among(tools: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Everything that can be called, under its own name, wherever it lies."""
    for tool in tools:
        match tool.get("type"):
            case "function":
                yield {"name": tool["name"], "parameters": tool.get("parameters") or {"type": "object"}}
            case "custom":
                yield {"name": tool["name"], "parameters": _FREE_TEXT}
            case "namespace":
                yield from functions_among(tool.get("tools") or [])


def tool_named(tools: list[dict[str, Any]], name: str) -> tuple[str | None, dict[str, Any]]:
    """A tool, and the namespace in which it lies."""
    for tool in tools:
        if tool.get("type") == "namespace":
            for inner in tool.get("tools") or ():
                if inner.get("name") == name:
                    return tool["name"], inner
        elif tool.get("name") == name:
            return None, tool
    return None, {}
