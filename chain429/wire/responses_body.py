"""The neutral request, written as the body of a request in OpenAI's Responses dialect.

The shapes are those of OpenAI's API reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chain429.wire.cleanup import clean
from chain429.wire.dialect import Side
from chain429.wire.loading import dumps
from chain429.wire.members import DROP
from chain429.wire.prompt import (
    AssistantTurn,
    CallPart,
    Effort,
    FilePart,
    ImagePart,
    Prompt,
    ReasoningPart,
    Result,
    SystemTurn,
    TextPart,
    Tool,
    Turn,
    UserPart,
    UserTurn,
    call_id,
)

# OpenAI refuses to be asked for less.
LEAST_TOKENS = 16
# Words that every model which can be told an effort knows.
_EFFORTS: Mapping[Effort, str] = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
# Up to so many tokens of thinking are this effort.
_BUDGETS: Sequence[tuple[int, Effort]] = ((4096, "low"), (12_288, "medium"))
# What this dialect knows by the same name as Chat Completions.
_TUNING = ("prompt_cache_key", "service_tier")
_FREE_TEXT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input, as free text."}},
    "required": ["input"],
}


def write_body(prompt: Prompt, side: Side) -> dict[str, Any]:
    """The body for a provider that speaks Responses, but for ``stream``. Nothing is to be kept there."""
    turns = list(prompt.turns)
    first = turns.pop(0) if turns and isinstance(turns[0], SystemTurn) else None
    free = _Free(prompt, side)
    body: dict[str, Any] = {"model": side.model, "store": False}
    if isinstance(first, SystemTurn):
        body["instructions"] = first.text
    body["input"] = [item for turn in turns for item in _items(turn, side, free)]
    if prompt.tools:
        body["tools"] = [_tool(tool, side) for tool in prompt.tools]
        if prompt.choice is not None:
            kind = "custom" if side.vendor and prompt.choice.name in free.names else "function"
            named = {"type": kind, "name": prompt.choice.name}
            body["tool_choice"] = named if prompt.choice.kind == "tool" else prompt.choice.kind
        if prompt.parallel is not None:
            body["parallel_tool_calls"] = prompt.parallel
    if prompt.max_tokens is not None:
        body["max_output_tokens"] = max(min(prompt.max_tokens, side.max_output or prompt.max_tokens), LEAST_TOKENS)
    sampling = {"temperature": prompt.temperature, "top_p": prompt.top_p}
    body |= {name: value for name, value in sampling.items() if value is not None}
    effort = _EFFORTS.get(_effort(prompt) or "none")
    if effort:
        body["reasoning"] = {"effort": effort}
        if side.vendor:
            # Models that do not think refuse to be asked for their thoughts.
            body["include"] = ["reasoning.encrypted_content"]
    text = _text(prompt)
    if text:
        body["text"] = text
    body |= {name: prompt.tuning[name] for name in _TUNING if name in prompt.tuning}
    body |= clean(body, side.model, side.rules)
    return {name: value for name, value in body.items() if value is not DROP}


class _Free:
    """Which tools take free text, and which calls were theirs. ``custom``: the provider knows such tools."""

    __slots__ = ("calls", "custom", "names")

    def __init__(self, prompt: Prompt, side: Side) -> None:
        self.custom = side.vendor
        self.names = {tool.name for tool in prompt.tools if tool.free}
        self.names |= {name for name, original in prompt.originals.items() if original.free}
        self.calls: set[str] = set()


def _effort(prompt: Prompt) -> Effort | None:
    if prompt.effort is not None or not prompt.budget:
        return prompt.effort
    return next((effort for most, effort in _BUDGETS if prompt.budget <= most), "high")


def _text(prompt: Prompt) -> dict[str, Any]:
    text: dict[str, Any] = {}
    wanted = prompt.format
    if wanted is not None and wanted.schema is None:
        text["format"] = {"type": "json_object"}
    elif wanted is not None:
        text["format"] = {"type": "json_schema", "name": wanted.name, "schema": wanted.schema}
        if wanted.strict is not None:
            text["format"]["strict"] = wanted.strict
    if "verbosity" in prompt.tuning:
        text["verbosity"] = prompt.tuning["verbosity"]
    return text


def _tool(tool: Tool, side: Side) -> dict[str, Any]:
    custom = tool.free and side.vendor
    written: dict[str, Any] = {"type": "custom" if custom else "function", "name": tool.name}
    if tool.description:
        written["description"] = tool.description
    if not custom:
        written["parameters"] = dict(_FREE_TEXT if tool.free else tool.schema)
        # Where nothing is said a schema is taken for a strict one, which few are.
        written["strict"] = bool(tool.strict) and not tool.free
    return written


def _items(turn: Turn, side: Side, free: _Free) -> Iterator[dict[str, Any]]:
    if isinstance(turn, SystemTurn):
        yield _message("developer" if side.vendor else "system", [{"type": "input_text", "text": turn.text}])
    elif isinstance(turn, UserTurn):
        yield _message("user", [_part(part) for part in turn.parts])
    elif isinstance(turn, AssistantTurn):
        for part in turn.parts:
            if isinstance(part, TextPart):
                yield _message("assistant", [{"type": "output_text", "text": part.text}])
            elif isinstance(part, CallPart):
                yield _call(part, free)
            elif part.origin == side.provider:
                yield from _thoughts(part, side)
    else:
        for result in turn.results:
            yield _result(result, free)


def _message(role: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def _thoughts(part: ReasoningPart, side: Side) -> Iterator[dict[str, Any]]:
    if part.signature:
        summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        yield {"type": "reasoning", "summary": summary, "encrypted_content": part.signature}
    elif part.text and not side.vendor:
        content = [{"type": "reasoning_text", "text": part.text}]
        yield {"type": "reasoning", "summary": [], "content": content}


def _call(part: CallPart, free: _Free) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "function_call", "call_id": call_id(part.id), "name": part.name}
    if part.name not in free.names:
        return {**item, "arguments": part.arguments.strip() or "{}"}
    if not free.custom:
        return {**item, "arguments": dumps({"input": part.arguments})}
    free.calls.add(part.id)
    return {**item, "type": "custom_tool_call", "input": part.arguments}


def _result(result: Result, free: _Free) -> dict[str, Any]:
    kind = "custom_tool_call_output" if result.id in free.calls else "function_call_output"
    texts = [part.text for part in result.parts if isinstance(part, TextPart)]
    output: str | list[dict[str, Any]]
    if len(texts) == len(result.parts):
        # Not every provider takes a list.
        text = "\n".join(texts)
        output = f"Error: {text}" if result.failed else text
    else:
        output = [_part(part) for part in ((TextPart("Error:"), *result.parts) if result.failed else result.parts)]
    return {"type": kind, "call_id": call_id(result.id), "output": output}


def _part(part: UserPart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    url = f"data:{part.media_type};base64,{part.data}" if part.data else part.url
    if isinstance(part, ImagePart):
        image = {"type": "input_image", "image_url": url}
        return {**image, "detail": part.detail} if part.detail else image
    return _file(part, url)


def _file(part: FilePart, url: str) -> dict[str, Any]:
    if part.data:
        return {"type": "input_file", "filename": part.name or "file", "file_data": url}
    if part.url:
        return {"type": "input_file", "file_url": part.url}
    return {"type": "input_file", "file_id": part.id}
