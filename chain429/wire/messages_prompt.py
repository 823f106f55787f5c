"""A client's request in Anthropic's Messages dialect, read into the neutral one; ``write_body`` is the other way round.

The shapes are those of Anthropic's API reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from chain429.wire.loading import dumps
from chain429.wire.messages_body import write_body
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
    unmarked,
)

__all__ = [
    "BILLING", "client_tools", "plain_text", "read_prompt", "system_texts", "wanted_effort", "wanted_format",
    "write_body",
]  # fmt: skip

# What Claude Code says of itself to Anthropic's billing. It differs between conversations, so it would keep any other
# provider from recognizing a prompt, and it tells a model nothing.
BILLING = "x-anthropic-billing-header:"

# Top-level members that mean something beyond this dialect, or that are said to the gateway alone.
_READ = frozenset(
    {
        "max_tokens", "messages", "metadata", "model", "output_config", "output_format", "stop_sequences", "stream",
        "system", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p",
        # A provider that caches does it by itself.
        "cache_control",
    }
)  # fmt: skip
# A tool by which the client lets the model find those that are not loaded yet.
_DISCOVERS = re.compile(r"tool_?search", re.IGNORECASE)
# It only keeps the place of tools that may come; it can't be called.
_PLACEHOLDER = "DeferredToolPlaceholder"
_NO_SCHEMA: Mapping[str, Any] = MappingProxyType({"type": "object", "properties": {}})
# Tools that Anthropic's models know by heart but that the client runs: for other models they are spelled out.
_KNOWN_BY_HEART = {
    "bash_": (
        "Run a command in a persistent bash shell, and see what it prints.",
        {
            "type": "object",
            "properties": {
                "command": {"type": "string", "description": "The command to run."},
                "restart": {"type": "boolean", "description": "True starts the shell anew, without a command."},
            },
        },
    ),
    "text_editor_": (
        "View, create and edit text files.",
        {
            "type": "object",
            "properties": {
                "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert"]},
                "path": {"type": "string", "description": "The file or directory."},
                "view_range": {
                    "type": "array",
                    "items": {"type": "integer"},
                    "description": "For view: the first and the last line, from 1; -1 is the last of the file.",
                },
                "file_text": {"type": "string", "description": "For create: what the file is to hold."},
                "old_str": {"type": "string", "description": "For str_replace: the text; it must occur exactly once."},
                "new_str": {"type": "string", "description": "For str_replace: what stands there then."},
                "insert_line": {"type": "integer", "description": "For insert: after which line; 0 is the beginning."},
                "insert_text": {"type": "string", "description": "For insert: the new text."},
            },
            "required": ["command", "path"],
        },
    ),
}
_EFFORTS: Mapping[Any, Effort] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}


def read_prompt(values: Mapping[str, Any]) -> Prompt:
    """The neutral request of a client's body, as ``MessagesRequest`` has checked it."""
    lost: dict[str, None] = {name: None for name in values if name not in _READ}
    originals: dict[str, Original] = {}
    turns: list[Turn] = [SystemTurn(text) for text in system_texts(values.get("system"))]
    for message in values.get("messages") or ():
        content = message.get("content")
        if message["role"] == "assistant":
            turns.append(AssistantTurn(_assistant_parts(content, originals, lost)))
        elif message["role"] == "system":
            turns += [SystemTurn(text) for text in system_texts(content)]
        else:
            turns += _user_turns(content, lost)
    tools = tuple(_tools(values, originals, lost))
    choice, parallel = _choice(values.get("tool_choice"), tools, lost)
    effort, budget = _thinking(values)
    stop = values.get("stop_sequences")
    return Prompt(
        turns=fit(turns),
        tools=tools,
        choice=choice,
        parallel=parallel,
        max_tokens=_number(values.get("max_tokens")),
        temperature=_number(values.get("temperature")),
        top_p=_number(values.get("top_p")),
        top_k=_number(values.get("top_k")),
        stop=tuple(one for one in stop if isinstance(one, str) and one) if isinstance(stop, list) else (),
        effort=effort,
        budget=budget,
        format=_format(values),
        originals=originals,
        lost=tuple(lost),
    )


def system_texts(content: Any) -> list[str]:
    """The instructions in ``system``, or in the content of a turn of that role, but for what is for billing only."""
    texts = [content] if isinstance(content, str) else [block.get("text") for block in content or ()]
    return [text for text in texts if isinstance(text, str) and text.strip() and not text.startswith(BILLING)]


def _user_turns(content: Any, lost: dict[str, None]) -> Iterator[Turn]:
    results: list[Result] = []
    parts: list[UserPart] = []
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
        if block["type"] == "tool_result":
            given = tuple(_parts(block.get("content"), lost))
            results.append(Result(block["tool_use_id"], given, bool(block.get("is_error"))))
        else:
            parts += _part(block, lost)
    if results:
        yield ResultTurn(tuple(results))
    if parts:
        yield UserTurn(tuple(parts))


def _parts(content: Any, lost: dict[str, None]) -> list[UserPart]:
    if isinstance(content, str):
        return [TextPart(content)] if content else []
    return [part for block in content or () for part in _part(block, lost)]


def _part(block: Mapping[str, Any], lost: dict[str, None]) -> Iterator[UserPart]:
    kind = block.get("type")
    if kind == "text":
        text = block.get("text")
        if text and isinstance(text, str):
            yield TextPart(text)
    elif kind == "image":
        yield _image(block.get("source") or {}, lost)
    elif kind == "document":
        yield from _document(block, lost)
    else:
        text = plain_text(block)
        if text:
            yield TextPart(text)
        else:
            lost[f"messages[].{kind}"] = None


def plain_text(block: Mapping[str, Any]) -> str:
    """What a block that no other provider knows says in words; empty where it has none."""
    kind = block.get("type")
    if kind == "tool_reference":
        return f"The tool {block.get('tool_name')} can be called now."
    if kind == "search_result":
        content = block.get("content")
        texts = [str(one.get("text") or "") for one in content] if isinstance(content, list) else [str(content or "")]
        return "\n".join([str(block.get("title") or ""), str(block.get("source") or ""), "", *texts])
    # The summary of what a conversation was before it was shortened.
    return str(block.get("content") or "") if kind == "compaction" else ""


def _image(source: Mapping[str, Any], lost: dict[str, None]) -> ImagePart | TextPart:
    if source.get("type") == "base64":
        return ImagePart(media_type=str(source.get("media_type") or ""), data=str(source.get("data") or ""))
    if source.get("type") == "url":
        return ImagePart(url=str(source.get("url") or ""))
    lost["messages[].image.file"] = None
    return TextPart("(An image stood here, in a place that can't be reached.)")


def _document(block: Mapping[str, Any], lost: dict[str, None]) -> Iterator[UserPart]:
    source = block.get("source") or {}
    name, kind = str(block.get("title") or ""), source.get("type")
    if block.get("context"):
        yield TextPart(str(block["context"]))
    if kind == "base64":
        yield FilePart(name, media_type=str(source.get("media_type") or ""), data=str(source.get("data") or ""))
    elif kind == "url":
        yield FilePart(name, url=str(source.get("url") or ""))
    elif kind == "text":
        yield TextPart(f"{name}\n\n{source.get('data') or ''}" if name else str(source.get("data") or "(empty)"))
    elif kind == "content":
        yield from _parts(source.get("content"), lost)
    else:
        lost["messages[].document.file"] = None
        yield TextPart("(A document stood here, in a place that can't be reached.)")


def _assistant_parts(content: Any, originals: dict[str, Original], lost: dict[str, None]) -> tuple[AssistantPart, ...]:
    parts: list[AssistantPart] = []
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
        kind = block["type"]
        if kind == "tool_use":
            given = dumps(block.get("input") or {})
            parts.append(CallPart(block["id"], _named(block["name"], originals), given))
        elif kind == "thinking":
            origin, own = unmarked(str(block.get("signature") or ""))
            parts.append(ReasoningPart(str(block.get("thinking") or ""), own, origin))
        elif kind == "redacted_thinking":
            origin, own = unmarked(str(block.get("data") or ""))
            parts.append(ReasoningPart("", own, origin, redacted=True))
        else:
            text = block.get("text") if kind == "text" else plain_text(block)
            if text and isinstance(text, str):
                parts.append(TextPart(text))
            elif kind != "text":
                lost[f"messages[].{kind}"] = None
    return tuple(parts)


def _named(name: str, originals: dict[str, Original]) -> str:
    fitting = tool_name(name)
    if fitting != name:
        originals[fitting] = Original(name)
    return fitting


def _tools(values: Mapping[str, Any], originals: dict[str, Original], lost: dict[str, None]) -> Iterator[Tool]:
    for tool in client_tools(values):
        schema = tool.get("input_schema")
        strict = tool.get("strict")
        yield Tool(
            _named(tool["name"], originals),
            str(tool.get("description") or ""),
            schema if isinstance(schema, Mapping) else _NO_SCHEMA,
            strict if isinstance(strict, bool) else None,
        )
    for tool in values.get("tools") or ():
        if not _by_client(tool):
            lost[f"tools[].{tool['type']}"] = None


def client_tools(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tools that any model can be offered: those that the client runs, each with its name and its schema.

    Tools whose definitions are to be loaded later count once the conversation refers to them, or where there is no
    other tool to find them by.
    """
    tools: Sequence[Mapping[str, Any]] = values.get("tools") or ()
    found = [_spelled_out(tool) for tool in tools if _by_client(tool) and tool["name"] != _PLACEHOLDER]
    if any(tool.get("defer_loading") for tool in found):
        loaded = [tool for tool in found if not tool.get("defer_loading")]
        if any(_DISCOVERS.search(tool["name"]) for tool in loaded):
            known = set(_referred(values.get("messages") or ()))
            found = [tool for tool in found if not tool.get("defer_loading") or tool["name"] in known]
    return found


def _by_client(tool: Mapping[str, Any]) -> bool:
    kind = tool.get("type")
    return kind is None or kind == "custom" or (isinstance(kind, str) and kind.startswith(tuple(_KNOWN_BY_HEART)))


def _spelled_out(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = tool.get("type")
    if not isinstance(kind, str):
        return tool
    for prefix, (description, schema) in _KNOWN_BY_HEART.items():
        if kind.startswith(prefix):
            return {"name": tool["name"], "description": description, "input_schema": schema}
    return tool


def _referred(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            inner = block.get("content") if block["type"] == "tool_result" else None
            for one in inner if isinstance(inner, list) else ():
                if one.get("type") == "tool_reference":
                    yield str(one.get("tool_name"))


def _choice(given: Any, tools: Sequence[Tool], lost: dict[str, None]) -> tuple[Choice | None, bool | None]:
    if not isinstance(given, Mapping) or not tools:
        return None, None
    parallel = False if given.get("disable_parallel_tool_use") is True else None
    kind = given.get("type")
    if kind == "auto":
        return Choice("auto"), parallel
    if kind == "any":
        return Choice("required"), parallel
    if kind == "none":
        return Choice("none"), None
    name = tool_name(str(given.get("name") or ""))
    if kind == "tool" and any(tool.name == name for tool in tools):
        return Choice("tool", name), parallel
    lost["tool_choice"] = None
    return None, parallel


def _thinking(values: Mapping[str, Any]) -> tuple[Effort | None, int | None]:
    """How much it may think: by a word, and in tokens."""
    thinking, effort = values.get("thinking"), wanted_effort(values)
    if not isinstance(thinking, Mapping):
        return effort, None
    if thinking.get("type") == "disabled":
        return "none", None
    return effort, _number(thinking.get("budget_tokens")) or None


def wanted_effort(values: Mapping[str, Any]) -> Effort | None:
    config = values.get("output_config")
    effort = config.get("effort") if isinstance(config, Mapping) else None
    return _EFFORTS.get(effort) if isinstance(effort, str) else None


def wanted_format(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema that the answer is to have, under its present name or under that of the beta."""
    config = values.get("output_config")
    given = config.get("format") if isinstance(config, Mapping) else None
    given = given or values.get("output_format")
    schema = given.get("schema") if isinstance(given, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def _format(values: Mapping[str, Any]) -> Format | None:
    schema = wanted_format(values)
    return Format(schema) if schema is not None else None


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
