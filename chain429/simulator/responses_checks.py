"""What OpenAI's Responses API refuses of a request, in its own words, as far as they are known.

``fault`` goes through a request in the order in which it is read; what it finds nothing wrong with can be read without
asking again. Nothing is kept from one request to the next, so whatever refers to an earlier answer is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from chain429.simulator.responses_items import item_type
from chain429.simulator.seals import unwrap

_KNOWN = frozenset(
    [
        "background",
        "client_metadata",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ]
)
# Where Chat Completions has something that is elsewhere here.
_MOVED = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}
_ROLES = ("assistant", "system", "developer", "user")
_CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
_OUTPUTS = {output: call for call, output in _CALLS.items()}
_PREFIXES = {"function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs", "message": "msg"}
_ITEMS = (
    "message",
    "reasoning",
    *_CALLS,
    *_OUTPUTS,
    "item_reference",
    "additional_tools",
    "compaction",
    "web_search_call",
    "local_shell_call",
    "local_shell_call_output",
)
_ASKED = ("input_text", "input_image", "input_file")
_SAID = ("output_text", "refusal")
_TOOLS = (
    "function",
    "custom",
    "namespace",
    "web_search",
    "web_search_preview",
    "local_shell",
    "image_generation",
    "mcp",
)
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_LONGEST_ID = 64
_LEAST_OUTPUT = 16


class Fault(NamedTuple):
    """One refusal."""

    message: str
    param: str | None
    code: str | None


def fault(body: Mapping[str, Any], owner: str, *, reasoning_model: bool) -> Fault | None:
    """The first thing that is wrong. ``owner``: whose encrypted reasoning is genuine."""
    return next(_faults(body, owner, reasoning_model), None)


def _faults(body: Mapping[str, Any], owner: str, reasoning_model: bool) -> Iterator[Fault]:
    for field in body:
        if field in _MOVED:
            text = (
                f"Unsupported parameter: '{field}'. In the Responses API, this parameter has moved to "
                f"'{_MOVED[field]}'."
            )
            yield Fault(text, field, "unsupported_parameter")
        elif field not in _KNOWN:
            yield Fault(f"Unknown parameter: '{field}'.", field, "unknown_parameter")
    for field in ("temperature", "top_p"):
        if reasoning_model and body.get(field) is not None:
            text = f"Unsupported parameter: '{field}' is not supported with this model."
            yield Fault(text, field, "unsupported_parameter")
    most = body.get("max_output_tokens")
    if most is not None:
        if not isinstance(most, int) or isinstance(most, bool):
            yield _wrong_type("max_output_tokens", "an integer", most)
        elif most < _LEAST_OUTPUT:
            text = (
                "Invalid 'max_output_tokens': integer below minimum value. "
                f"Expected a value >= {_LEAST_OUTPUT}, but got {most} instead."
            )
            yield Fault(text, "max_output_tokens", "integer_below_min_value")
    if (earlier := body.get("previous_response_id")) is not None:
        text = f"Previous response with id '{earlier}' not found."
        yield Fault(text, "previous_response_id", "previous_response_not_found")
    if body.get("instructions") is not None and not isinstance(body["instructions"], str):
        yield _wrong_type("instructions", "a string", body["instructions"])
    yield from _tools(body.get("tools"), "tools")
    items = body.get("input")
    if items is None or items == []:
        text = "One of 'input', 'previous_response_id', 'prompt' or 'conversation' must be provided."
        yield Fault(text, "input", "missing_required_parameter")
    elif isinstance(items, list):
        for index, item in enumerate(items):
            yield from _item(item, f"input[{index}]", owner)
        yield from _pairs(items)
    elif not isinstance(items, str):
        yield _wrong_type("input", "a string or an array", items)


def _wrong_type(place: str, wanted: str, value: object) -> Fault:
    names = {str: "a string", bool: "a boolean", list: "an array", dict: "an object", type(None): "null"}
    got = names.get(type(value), "a number")
    return Fault(f"Invalid type for '{place}': expected {wanted}, but got {got} instead.", place, "invalid_type")


def _not_among(place: str, value: object, known: Sequence[str]) -> Fault:
    *others, last = (f"'{each}'" for each in known)
    supported = f"{', '.join(others)}, and {last}"
    return Fault(f"Invalid value: '{value}'. Supported values are: {supported}.", place, "invalid_value")


def _missing(place: str) -> Fault:
    return Fault(f"Missing required parameter: '{place}'.", place, "missing_required_parameter")


def _item(item: object, place: str, owner: str) -> Iterator[Fault]:
    if not isinstance(item, dict):
        yield _wrong_type(place, "an object", item)
        return
    kind = item_type(item)
    if kind not in _ITEMS:
        yield _not_among(f"{place}.type", kind, _ITEMS)
        return
    ident, prefix = item.get("id"), _PREFIXES.get(kind)
    if prefix and isinstance(ident, str) and not ident.startswith(prefix):
        text = f"Invalid '{place}.id': '{ident}'. Expected an ID that begins with '{prefix}'."
        yield Fault(text, f"{place}.id", "invalid_value")
    if kind in _CALLS or kind in _OUTPUTS:
        yield from _call(item, place, kind)
    elif kind == "message":
        yield from _message(item, place)
    elif kind == "item_reference":
        text = f"Item with id '{ident}' not found. Items are not persisted when `store` is set to false."
        yield Fault(text, "input", None)
    elif kind == "additional_tools":
        yield from _tools(item.get("tools"), f"{place}.tools")
    elif kind == "reasoning":
        summary = item.get("summary")
        if "summary" not in item:
            yield _missing(f"{place}.summary")
        elif not isinstance(summary, list):
            yield _wrong_type(f"{place}.summary", "an array", summary)
        sealed = item.get("encrypted_content")
        if sealed is not None and unwrap(owner, sealed) is None:
            text = (
                f"The encrypted content for item {ident} could not be verified. "
                "Reason: Encrypted content could not be decrypted or parsed."
            )
            yield Fault(text, None, "invalid_encrypted_content")


def _call(item: Mapping[str, Any], place: str, kind: str) -> Iterator[Fault]:
    fields = {
        "function_call": ("call_id", "name", "arguments"),
        "custom_tool_call": ("call_id", "name", "input"),
    }.get(kind, ("call_id",))
    for field in fields:
        if field not in item:
            yield _missing(f"{place}.{field}")
        elif not isinstance(item[field], str):
            yield _wrong_type(f"{place}.{field}", "a string", item[field])
        elif field == "name" and not _NAME.fullmatch(item[field]):
            yield _bad_name(f"{place}.name")
        elif field == "call_id" and len(item[field]) > _LONGEST_ID:
            text = (
                f"Invalid '{place}.call_id': string too long. Expected a string with maximum length {_LONGEST_ID}, "
                f"but got a string with length {len(item[field])} instead."
            )
            yield Fault(text, f"{place}.call_id", "string_above_max_length")
    if kind in _OUTPUTS:
        output = item.get("output")
        if "output" not in item:
            yield _missing(f"{place}.output")
        elif isinstance(output, list):
            yield from _parts(output, f"{place}.output", _ASKED)
        elif not isinstance(output, str):
            yield _wrong_type(f"{place}.output", "a string", output)


def _message(item: Mapping[str, Any], place: str) -> Iterator[Fault]:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        yield _not_among(f"{place}.role", role, _ROLES)
    if "content" not in item:
        yield _missing(f"{place}.content")
    elif isinstance(content, list):
        yield from _parts(content, f"{place}.content", _SAID if role == "assistant" else _ASKED)
    elif not isinstance(content, str):
        yield _wrong_type(f"{place}.content", "an array of objects or a string", content)


def _parts(parts: Sequence[Any], place: str, known: Sequence[str]) -> Iterator[Fault]:
    for index, part in enumerate(parts):
        here = f"{place}[{index}]"
        if not isinstance(part, dict):
            yield _wrong_type(here, "an object", part)
        elif part.get("type") not in known:
            yield _not_among(f"{here}.type", part.get("type"), known)
        elif part["type"] in ("input_text", "output_text") and not isinstance(part.get("text"), str):
            yield _missing(f"{here}.text")
        elif part["type"] == "input_image" and isinstance(part.get("image_url"), dict):
            yield _wrong_type(f"{here}.image_url", "an image URL", part["image_url"])


def _bad_name(place: str) -> Fault:
    text = (
        f"Invalid '{place}': string does not match pattern. "
        "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
    )
    return Fault(text, place, "invalid_value")


def _tools(tools: object, place: str) -> Iterator[Fault]:
    if tools is None:
        return
    if not isinstance(tools, list):
        yield _wrong_type(place, "an array", tools)
        return
    for index, tool in enumerate(tools):
        here = f"{place}[{index}]"
        if not isinstance(tool, dict):
            yield _wrong_type(here, "an object", tool)
        elif tool.get("type") not in _TOOLS:
            yield _not_among(f"{here}.type", tool.get("type"), _TOOLS)
        elif tool["type"] in ("function", "custom", "namespace"):
            if not isinstance(tool.get("name"), str):
                yield _missing(f"{here}.name")
            elif not _NAME.fullmatch(tool["name"]):
                yield _bad_name(f"{here}.name")
            if tool["type"] == "namespace":
                yield from _tools(tool.get("tools"), f"{here}.tools")


def _pairs(items: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    """Calls without outputs, and outputs without calls before them."""
    made: dict[tuple[str, str], int] = {}
    answered: set[tuple[str, str]] = set()
    for item in items:
        kind = item_type(item)
        if kind in _CALLS:
            made[_CALLS[kind], item["call_id"]] = 1
        elif kind in _OUTPUTS:
            key = (kind, item["call_id"])
            if key not in made:
                what = _OUTPUTS[kind].replace("_", " ")
                text = f"No tool call found for {what} output with call_id {item['call_id']}."
                yield Fault(text, "input", None)
            answered.add(key)
    for kind, ident in made:
        if (kind, ident) not in answered:
            text = f"No tool output found for {_OUTPUTS[kind].replace('_', ' ')} {ident}."
            yield Fault(text, "input", None)
