"""What is changed in a client's Responses body before a provider that speaks Responses too sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from chain429.wire.cleanup import clean
from chain429.wire.dialect import Side
from chain429.wire.members import DROP
from chain429.wire.responses_body import LEAST_TOKENS
from chain429.wire.responses_prompt import TOOL_LISTS, tools_in
from chain429.wire.responses_reasoning import opened

# Parameters whose members can be left out one by one.
NESTED = ("reasoning", "text")
# A refusal of this names what is hidden in thoughts, as a parameter of the request would be named.
HIDDEN = "encrypted_content"
# What Codex notes for itself in each item.
_NOTES = "internal_chat_message_metadata_passthrough"
# What says who the client is, for the one that made it.
_OF_THE_VENDOR = ("client_metadata",)
_FOREIGN_ITEMS = frozenset({"custom_tool_call", "custom_tool_call_output", *TOOL_LISTS})
_FOREIGN_TOOLS = ("namespace", "custom")

_Item = Mapping[str, Any]


def passes(values: Mapping[str, Any], side: Side) -> bool:
    """Whether a provider understands a body as it is. Who made the dialect does; others know plain functions only."""
    if side.vendor:
        return True
    if any(tool.get("type") in _FOREIGN_TOOLS for tools in tools_in(values) for tool in tools):
        return False
    given = values["input"]
    items = given if isinstance(given, list) else ()
    return not any(item.get("type") in _FOREIGN_ITEMS or item.get("namespace") for item in items)


def fitted(values: Mapping[str, Any], side: Side, refused: Collection[str]) -> dict[str, Any]:
    """The changes (member name -> new value or DROP) for one provider; ``refused`` are parameters that it refuses."""
    changes: dict[str, Any] = {"model": side.model}
    given = values["input"]
    if isinstance(given, list):
        items = _items(given, side, HIDDEN in refused)
        if len(items) != len(given) or any(new is not old for new, old in zip(items, given, strict=True)):
            changes["input"] = items
    most = values.get("max_output_tokens")
    if most is not None:
        fitting = max(min(most, side.max_output or most), LEAST_TOKENS)
        if fitting != most:
            changes["max_output_tokens"] = fitting
    if not side.vendor:
        changes |= {name: DROP for name in _OF_THE_VENDOR if name in values}
    for name in refused:
        outer, _, inner = name.partition(".")
        value = changes.get(outer, values.get(outer))
        if inner and isinstance(value, dict):
            left = {member: one for member, one in value.items() if member != inner}
            changes[outer] = left or DROP
        elif name in values:
            changes[name] = DROP
    if side.rules:
        current = {name: value for name, value in {**values, **changes}.items() if value is not DROP}
        changes |= clean(current, side.model, side.rules)
    return changes


def _items(items: list[Any], side: Side, none: bool) -> list[_Item]:
    """The items that this provider may see: the very same objects where nothing changes."""
    kept: list[_Item] = []
    for item in items:
        if _NOTES in item:
            item = _without(item, _NOTES)
        new = _hidden(item, side, none) if item.get("type") == "reasoning" or HIDDEN in item else item
        if new is not None:
            kept.append(new)
    if len(kept) == len(items):
        return kept
    # A provider that knows an item by its id misses the thoughts which were before it.
    return [_without(item, "id") if "id" in item else item for item in kept]


def _hidden(item: _Item, side: Side, none: bool) -> _Item | None:
    """Only what this provider has hidden may go back to it; what carries no mark of ours is that of who made the
    dialect. Thoughts that hide nothing were to be found by their id, where nothing is kept."""
    content = item.get(HIDDEN)
    content = content if isinstance(content, str) else ""
    if none or not content:
        return None
    origin, text, signature, _ = opened(content)
    if not origin:
        return item if side.vendor else None
    if origin != side.provider:
        return None
    if signature:
        return {**item, HIDDEN: signature}
    if not text or side.vendor:
        return None
    return {**_without(item, HIDDEN), "content": [{"type": "reasoning_text", "text": text}]}


def _without(item: _Item, member: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != member}
