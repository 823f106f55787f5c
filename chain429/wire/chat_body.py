"""The neutral request, written as the body of a request in Chat Completions.

The shapes are those of OpenAI's API reference, in their oldest form that all providers know.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from chain429.wire.dialect import Side
from chain429.wire.loading import dumps
from chain429.wire.prompt import (
    AssistantTurn,
    CallPart,
    Effort,
    FilePart,
    Prompt,
    Result,
    SystemTurn,
    TextPart,
    Tool,
    Turn,
    UserPart,
    UserTurn,
    call_id,
)

# OpenAI takes no more of them.
_MOST_STOPS = 4
# Words that every model which can be told an effort knows.
_EFFORTS: Mapping[Effort, str] = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
# Up to so many tokens of thinking are this effort.
_BUDGETS: Sequence[tuple[int, Effort]] = ((4096, "low"), (12_288, "medium"))
_FREE_TEXT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input, as free text."}},
    "required": ["input"],
}
# Tools can't give back pictures here: they follow as if the user had sent them.
_SEE_BELOW = "(see the attachment that follows)"


def write_body(prompt: Prompt, side: Side) -> dict[str, Any]:
    """The body for a provider that speaks Chat Completions, but for ``stream``."""
    body: dict[str, Any] = {"model": side.model, "messages": _messages(prompt, side)}
    if prompt.tools:
        body["tools"] = [_tool(tool) for tool in prompt.tools]
        if prompt.choice is not None:
            named = {"type": "function", "function": {"name": prompt.choice.name}}
            body["tool_choice"] = named if prompt.choice.kind == "tool" else prompt.choice.kind
        if prompt.parallel is not None:
            body["parallel_tool_calls"] = prompt.parallel
    if prompt.max_tokens is not None:
        # The older name: whoever wants the newer one says so in the catalog.
        body["max_tokens"] = min(prompt.max_tokens, side.max_output or prompt.max_tokens)
    sampling = {"temperature": prompt.temperature, "top_p": prompt.top_p, "top_k": prompt.top_k}
    body |= {name: value for name, value in sampling.items() if value is not None}
    stops = [stop for stop in prompt.stop if stop.strip(" ")][:_MOST_STOPS]
    if stops:
        body["stop"] = stops
    effort = _EFFORTS.get(_effort(prompt) or "none")
    if effort:
        body["reasoning_effort"] = effort
    if prompt.format is not None:
        body["response_format"] = _format(prompt)
    return {**body, **prompt.tuning}


def _effort(prompt: Prompt) -> Effort | None:
    if prompt.effort is not None or not prompt.budget:
        return prompt.effort
    return next((effort for most, effort in _BUDGETS if prompt.budget <= most), "high")


def _format(prompt: Prompt) -> dict[str, Any]:
    wanted = prompt.format
    assert wanted
    if wanted.schema is None:
        return {"type": "json_object"}
    inner: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema}
    if wanted.strict is not None:
        inner["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": inner}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = _FREE_TEXT if tool.free else dict(tool.schema)
    if tool.strict is not None and not tool.free:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


class _Writing:
    """What is known while messages are written.

    ``free``: the tools that take free text. ``shown``: what results showed, for the user's turn after them.
    ``member``: where thoughts go back, None where they don't; those of turns before ``since`` are over and done with.
    ``signed``: whether a call carries the proof of them.
    """

    __slots__ = ("free", "member", "provider", "shown", "signed", "since")

    def __init__(self, prompt: Prompt, side: Side) -> None:
        self.free = {tool.name for tool in prompt.tools if tool.free}
        self.free |= {name for name, original in prompt.originals.items() if original.free}
        self.shown: list[UserPart] = []
        self.provider = side.provider
        rules = [rule for rule in side.rules if fnmatchcase(side.model, rule.models)]
        self.member = next((rule.reasoning_back for rule in rules if rule.reasoning_back), None)
        asked = [index for index, turn in enumerate(prompt.turns) if isinstance(turn, UserTurn)]
        self.since = 0 if any(rule.reasoning_due for rule in rules) or not asked else asked[-1]
        self.signed = any(rule.signed_calls for rule in rules)


def _messages(prompt: Prompt, side: Side) -> list[dict[str, Any]]:
    writing = _Writing(prompt, side)
    messages: list[dict[str, Any]] = []
    for index, turn in enumerate(prompt.turns):
        if isinstance(turn, UserTurn):
            messages.append({"role": "user", "content": _content([*writing.shown, *turn.parts])})
            writing.shown = []
            continue
        if writing.shown:
            messages.append({"role": "user", "content": _content(writing.shown)})
            writing.shown = []
        messages += _written(turn, writing, index >= writing.since)
    if writing.shown:
        messages.append({"role": "user", "content": _content(writing.shown)})
    return messages


def _written(turn: Turn, writing: _Writing, thinking: bool) -> Iterable[dict[str, Any]]:
    if isinstance(turn, SystemTurn):
        return [{"role": "system", "content": turn.text}]
    if isinstance(turn, AssistantTurn):
        message = _assistant(turn, writing, thinking)
        return [message] if message else []
    assert not isinstance(turn, UserTurn)
    return [_result(result, writing.shown) for result in turn.results]


def _assistant(turn: AssistantTurn, writing: _Writing, thinking: bool) -> dict[str, Any] | None:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    proof = ""
    for part in turn.parts:
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, CallPart):
            call = _call(part, writing.free)
            if proof and writing.signed:
                call["extra_content"] = {"google": {"thought_signature": proof}}
            calls.append(call)
            proof = ""
        elif part.origin == writing.provider:
            if part.redacted:
                proof = part.signature
            else:
                thoughts.append(part.text)
    text = "".join(texts)
    if not text and not calls:
        return None  # thoughts alone are no message
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if writing.member and thinking and any(thoughts):
        message[writing.member] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _call(part: CallPart, free: set[str]) -> dict[str, Any]:
    arguments = dumps({"input": part.arguments}) if part.name in free else part.arguments.strip() or "{}"
    return {"id": call_id(part.id), "type": "function", "function": {"name": part.name, "arguments": arguments}}


def _result(result: Result, shown: list[UserPart]) -> dict[str, Any]:
    texts = [part.text for part in result.parts if isinstance(part, TextPart)]
    others = [part for part in result.parts if not isinstance(part, TextPart)]
    if others:
        shown += others
        texts.append(_SEE_BELOW)
    text = "\n".join(texts)
    content = f"Error: {text}" if result.failed else text
    return {"role": "tool", "tool_call_id": call_id(result.id), "content": content}


def _content(parts: Sequence[UserPart]) -> str | list[dict[str, Any]]:
    """A plain string where it is only text: not every provider takes a list."""
    said = [_words(part) if isinstance(part, FilePart) else part for part in parts]
    texts = [part.text for part in said if isinstance(part, TextPart)]
    if len(texts) == len(said):
        return "\n\n".join(texts)
    return [_part(part) for part in said]


def _words(file: FilePart) -> TextPart | FilePart:
    """What can be said of a file in words: all of it, if it is text, and what it was, if it can't be sent."""
    if file.data and file.media_type.startswith("text/"):
        text = _decoded(file.data)
        return TextPart(f"{file.name}:\n{text}" if file.name else text)
    if file.data:
        return file
    # Another provider's id says nothing to this one.
    where = f" at {file.url}" if file.url else ""
    return TextPart(f"(The file {file.name or file.id}{where} stood here, where it can't be read.)")


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        return data


def _part(part: UserPart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    url = f"data:{part.media_type};base64,{part.data}" if part.data else part.url
    if isinstance(part, FilePart):
        return {"type": "file", "file": {"filename": part.name or "file", "file_data": url}}
    image = {"url": url, "detail": part.detail} if part.detail else {"url": url}
    return {"type": "image_url", "image_url": image}
