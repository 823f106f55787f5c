"""What Anthropic refuses of a conversation, whose blocks are well formed: who says what, and in which order.

Each call of a tool is answered at the beginning of the very next message, and each answer belongs to a call of the very
message before; this is what those who translate get wrong most often.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chain429.simulator.anthropic_blocks import blocks_of
from chain429.simulator.seals import vouches

_ROLES = ("user", "assistant")
_THOUGHTS = ("thinking", "redacted_thinking")


def conversation_fault(
    body: Mapping[str, Any], owner: str, thinking: str | None, latest: bool, options: Mapping[str, bool]
) -> str | None:
    """What it says of the first thing that is wrong. ``latest``: as from version 2026-10-21 on."""
    messages = body["messages"]
    faults = (
        _roles(messages, options),
        _contents(body, messages, latest),
        _calls(messages),
        _thoughts(messages, owner, thinking),
    )
    return next((said for fault in faults for said in fault), None)


def _roles(messages: Sequence[Mapping[str, Any]], options: Mapping[str, bool]) -> Iterator[str]:
    for index, message in enumerate(messages):
        role = message["role"]
        if role == "system":
            if not options.get("system_in_messages") or index == 0 or messages[index - 1]["role"] == "system":
                yield (
                    'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
                    'not "system" as an input message role.'
                )
        elif role not in _ROLES:
            yield f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant"'
    if messages[0]["role"] != "user":
        yield 'messages: first message must use the "user" role'
    if messages[-1]["role"] == "assistant":
        yield ("This model does not support assistant message prefill. The conversation must end with a user message.")


def _contents(body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], latest: bool) -> Iterator[str]:
    yield from _texts("system", blocks_of(body.get("system")))
    for index, message in enumerate(messages):
        content, role = message["content"], message["role"]
        if not content:
            yield f"messages.{index}: all messages must have non-empty content"
        if isinstance(content, str) and content and not content.strip():
            yield "messages: text content blocks must contain non-whitespace text"
        for number, block in enumerate(blocks_of(content)):
            kind = block["type"]
            yield from _texts("messages", [block])
            yield from _texts("messages", blocks_of(block.get("content")))
            if kind in ("tool_use", *_THOUGHTS) and role != "assistant":
                yield f"messages.{index}: `{kind}` blocks can only be in `assistant` messages"
            if kind == "tool_result" and role != "user":
                yield f"messages.{index}: `tool_result` blocks can only be in `user` messages"
            if kind == "image" and role == "assistant":
                yield f"messages.{index}.content.{number}: `image` blocks are not permitted in `assistant` messages"
            if latest and kind == "document" and role == "assistant":
                yield f"messages.{index}.content.{number}: `document` blocks are not permitted in `assistant` messages"
            if latest and kind == "text" and role == "user" and block.get("citations"):
                yield f"messages.{index}.content.{number}.text.citations: not permitted in `user` messages"


def _texts(place: str, blocks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for block in blocks:
        if block["type"] != "text":
            continue
        if block.get("cache_control") and not block["text"]:
            yield f"{place}: cache_control cannot be set for empty text blocks"
        if not block["text"]:
            yield f"{place}: text content blocks must be non-empty"
        elif not block["text"].strip():
            yield f"{place}: text content blocks must contain non-whitespace text"


def _calls(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    seen: set[str] = set()
    due: list[str] = []  # ids of the calls that the message before made
    before = 0
    for index, message in enumerate(messages):
        blocks = blocks_of(message["content"])
        leading = [block["tool_use_id"] for block in _leading_results(blocks)]
        missing = [ident for ident in due if ident not in leading]
        if missing:
            yield _without_results(before, missing)
        for number, block in enumerate(blocks):
            if block["type"] == "tool_result":
                ident = block["tool_use_id"]
                if ident not in due:
                    yield (
                        f"messages.{index}.content.{number}: unexpected `tool_use_id` found in `tool_result` blocks: "
                        f"{ident}. Each `tool_result` block must have a corresponding `tool_use` block "
                        "in the previous message."
                    )
                if leading.count(ident) > 1:
                    yield (
                        f"messages.{index}.content.{number}: each tool_use must have a single result. "
                        f"Found multiple `tool_result` blocks with id: {ident}"
                    )
            elif block["type"] == "tool_use":
                if block["id"] in seen:
                    yield f"messages.{index}.content.{number}: `tool_use` ids must be unique"
                seen.add(block["id"])
        due = [block["id"] for block in blocks if block["type"] == "tool_use"]
        before = index
    if due:
        yield _without_results(before, due)


def _leading_results(blocks: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for block in blocks:
        if block["type"] != "tool_result":
            return
        yield block


def _without_results(index: int, idents: Sequence[str]) -> str:
    return (
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(idents)}. Each `tool_use` block must have a corresponding `tool_result` block "
        "in the next message."
    )


def _thoughts(messages: Sequence[Mapping[str, Any]], owner: str, thinking: str | None) -> Iterator[str]:
    for index, message in enumerate(messages):
        for number, block in enumerate(blocks_of(message["content"])):
            place = f"messages.{index}.content.{number}"
            if block["type"] == "thinking" and not vouches(owner, block["thinking"], block["signature"]):
                yield f"{place}: Invalid `signature` in `thinking` block"
            if block["type"] == "redacted_thinking" and not vouches(owner, "", block["data"]):
                yield f"{place}: Invalid `data` in `redacted_thinking` block"
    if thinking != "enabled":
        return
    said = [(index, message) for index, message in enumerate(messages) if message["role"] == "assistant"]
    if said:
        index, message = said[-1]
        kinds = [block["type"] for block in blocks_of(message["content"])]
        if "tool_use" in kinds and kinds[0] not in _THOUGHTS:
            yield (
                f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
                f"`{kinds[0]}`. When `thinking` is enabled, a final `assistant` message must start with a thinking "
                "block (preceding the lastmost set of `tool_use` and `tool_result` blocks)."
            )
