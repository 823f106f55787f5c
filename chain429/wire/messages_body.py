"""The neutral request, written as the body of a request in Anthropic's Messages dialect.

The shapes are those of Anthropic's API reference.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from chain429.wire.dialect import Side
from chain429.wire.loading import dumps
from chain429.wire.prompt import (
    AssistantTurn,
    CallPart,
    Effort,
    ImagePart,
    Prompt,
    Result,
    ResultTurn,
    SystemTurn,
    TextPart,
    Tool,
    UserPart,
    call_id,
)

THOUGHTS = ("thinking", "redacted_thinking")
# Tokens of thinking for an effort, where a model takes them as a number.
BUDGETS: Mapping[Effort, int] = {"minimal": 1024, "low": 4096, "medium": 8192, "high": 24_576, "xhigh": 32_000}
LEAST_BUDGET = 1024
# Models that choose for themselves are told an effort; not all of them know words above "high".
EFFORT_WORDS: Mapping[Effort, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
}
# Where nobody says how long an answer may be: what every model makes, and what is enough where a model makes more.
_SHORT, _LONG = 8192, 32_000
_STRUCTURE = frozenset({"oneOf", "anyOf", "allOf", "$schema"})
_MARK: Mapping[str, Any] = {"type": "ephemeral"}


def write_body(prompt: Prompt, side: Side) -> dict[str, Any]:
    """The body for a provider that speaks Messages, but for ``stream``."""
    system, messages = _conversation(prompt, side)
    tools = _written_tools(prompt, messages)
    form = thinking_form(side)
    forced = bool(tools) and prompt.choice is not None and prompt.choice.kind in ("required", "tool")
    # A tool that must be called leaves no room for thinking: a provider refuses both together.
    budget = 0 if forced or form == "none" else _budget(prompt)
    if form == "budget" and budget and lacks_thoughts(messages):
        budget = 0
    most, budget = _lengths(prompt, side, budget, in_tokens=form == "budget")
    config: dict[str, Any] = {}
    body: dict[str, Any] = {"model": side.model, "max_tokens": most}
    if prompt.format is not None:
        # Only of a strict schema it is known that it is written as Anthropic wants it.
        if side.vendor and prompt.format.schema is not None and prompt.format.strict:
            config["format"] = {"type": "json_schema", "schema": prompt.format.schema}
        else:
            system.append(asked_in_words(prompt.format.schema))
    if system:
        body["system"] = [{"type": "text", "text": text} for text in system]
    body["messages"] = messages
    if tools:
        body["tools"] = tools
        choice = _written_choice(prompt)
        if choice is not None:
            body["tool_choice"] = choice
    if budget and form == "adaptive":
        body["thinking"] = {"type": "adaptive"}
        config["effort"] = _word(budget) if prompt.effort is None else EFFORT_WORDS[prompt.effort]
    elif budget:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:
        body |= _sampling(prompt)
    if config:
        body["output_config"] = config
    stop = [one for one in prompt.stop if one.strip()]
    if stop:
        body["stop_sequences"] = stop
    if side.vendor:
        _mark(body, prompt)
    return body


def thinking_form(side: Side) -> Literal["budget", "adaptive", "none"]:
    """How the model is told to think, as its provider's rules have it; the last that says so counts."""
    form: Literal["budget", "adaptive", "none"] = "budget"
    for rule in side.rules:
        if rule.thinking is not None and fnmatchcase(side.model, rule.models):
            form = rule.thinking
    return form


def lacks_thoughts(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether results are given to calls whose thinking is no longer there: then a budget for it is refused."""
    if len(messages) < 2 or not isinstance(messages[-1]["content"], list):
        return False
    if not any(block["type"] == "tool_result" for block in messages[-1]["content"]):
        return False
    content = messages[-2]["content"]
    first = content[0]["type"] if isinstance(content, list) and content else None
    return first not in THOUGHTS


def folded(text: str) -> dict[str, Any]:
    """Instructions that came in the middle of a conversation, where only the user and the model may speak."""
    return {"type": "text", "text": f"<system>\n{text}\n</system>"}


def asked_in_words(schema: Mapping[str, Any] | None) -> str:
    """The instruction to answer with JSON, for models that can't be held to it."""
    words = "Answer with one JSON object and nothing else: no words around it, no code fence."
    return words if schema is None else f"{words} It must fit this JSON schema:\n{dumps(_plain(schema))}"


def arguments_of(text: str) -> dict[str, Any]:
    """A call's arguments as the object that this dialect wants; what is not one is kept as it was said."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {"arguments": text}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"arguments": value}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _conversation(prompt: Prompt, side: Side) -> tuple[list[str], list[dict[str, Any]]]:
    """The instructions that come first, and the messages: the user begins, and nobody speaks twice in a row."""
    turns = list(prompt.turns)
    system: list[str] = []
    while turns and isinstance(turns[0], SystemTurn):
        if turns[0].text.strip():
            system.append(turns[0].text)
        del turns[0]
    messages: list[dict[str, Any]] = []
    free = {tool.name for tool in prompt.tools if tool.free}
    free |= {name for name, original in prompt.originals.items() if original.free}
    for turn in turns:
        if isinstance(turn, AssistantTurn):
            role, blocks = "assistant", list(_assistant_blocks(turn, side, free))
        elif isinstance(turn, ResultTurn):
            role, blocks = "user", [_result(result) for result in turn.results]
        elif isinstance(turn, SystemTurn):
            role, blocks = "user", [folded(turn.text)]
        else:
            role, blocks = "user", [block for part in turn.parts for block in _user_blocks(part)]
        if not blocks:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": blocks})
    if not messages or messages[0]["role"] == "assistant":
        # Somebody has to begin; where there are only instructions, they are what is asked.
        text = system.pop() if system and not messages else "(The conversation begins.)"
        messages.insert(0, {"role": "user", "content": [{"type": "text", "text": text}]})
    last = messages[-1]
    if last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        # An answer that is to be continued may not end in white space.
        last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
    return system, messages


def _assistant_blocks(turn: AssistantTurn, side: Side, free: set[str]) -> Iterator[dict[str, Any]]:
    for part in turn.parts:
        if isinstance(part, TextPart):
            if part.text.strip():
                yield {"type": "text", "text": part.text}
        elif isinstance(part, CallPart):
            given = {"input": part.arguments} if part.name in free else arguments_of(part.arguments)
            yield {"type": "tool_use", "id": call_id(part.id), "name": part.name, "input": given}
        elif part.origin == side.provider:
            if part.redacted:
                yield {"type": "redacted_thinking", "data": part.signature}
            elif part.signature or not side.vendor:
                yield {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _result(result: Result) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id(result.id)}
    content = [inner for part in result.parts for inner in _user_blocks(part)]
    if content:
        block["content"] = content
    if result.failed:
        block["is_error"] = True
    return block


def _user_blocks(part: UserPart) -> Iterator[dict[str, Any]]:
    if isinstance(part, TextPart):
        if part.text.strip():
            yield {"type": "text", "text": part.text}
    elif isinstance(part, ImagePart):
        yield {"type": "image", "source": _source(part.url, part.media_type or "image/png", part.data)}
    elif part.data and part.media_type.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": _decoded(part.data)}
        yield _titled({"type": "document", "source": source}, part.name)
    elif part.data or part.url:
        source = _source(part.url, part.media_type or "application/pdf", part.data)
        yield _titled({"type": "document", "source": source}, part.name)
    else:
        # Another provider's id says nothing to this one.
        yield {"type": "text", "text": f"(The file {part.name or part.id} stood here, where it can't be reached.)"}


def _source(url: str, media_type: str, data: str) -> dict[str, Any]:
    if data or not url:
        return {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "url", "url": url}


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        return data


def _titled(block: dict[str, Any], name: str) -> dict[str, Any]:
    return {**block, "title": name} if name else block


def _written_tools(prompt: Prompt, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    tools = [_tool(tool) for tool in prompt.tools]
    if not tools:
        # Calls in the conversation are refused where no tool is declared.
        called = {
            block["name"]: None for message in messages for block in message["content"] if block["type"] == "tool_use"
        }
        tools = [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in called]
    return tools


def _tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    if tool.free:
        schema: dict[str, Any] = {
            "type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"],
        }  # fmt: skip
    else:
        # Alternatives at the top level are refused; what stands beside them says enough.
        schema = {name: value for name, value in tool.schema.items() if name not in _STRUCTURE}
        schema["type"] = "object"
    written["input_schema"] = schema
    return written


def _written_choice(prompt: Prompt) -> dict[str, Any] | None:
    if not prompt.tools:
        return {"type": "none"}
    choice = prompt.choice
    if choice is None or choice.kind == "auto":
        written = {"type": "auto"} if choice is not None or prompt.parallel is False else None
    elif choice.kind == "none":
        return {"type": "none"}
    else:
        written = {"type": "any"} if choice.kind == "required" else {"type": "tool", "name": choice.name}
    if written is not None and prompt.parallel is False:
        return {**written, "disable_parallel_tool_use": True}
    return written


def _budget(prompt: Prompt) -> int:
    """Tokens to think with; 0 where it was not asked to think."""
    if prompt.effort == "none":
        return 0
    return prompt.budget or (BUDGETS[prompt.effort] if prompt.effort is not None else 0)


def _word(budget: int) -> str:
    return "low" if budget <= BUDGETS["low"] else "medium" if budget <= BUDGETS["medium"] else "high"


def _lengths(prompt: Prompt, side: Side, budget: int, *, in_tokens: bool) -> tuple[int, int]:
    """How long the answer may be, thinking included, and how much of it may be thinking."""
    most = prompt.max_tokens or min(side.max_output or _SHORT, _LONG)
    if budget and not prompt.max_tokens:
        most = max(most, budget + _SHORT)
    if side.max_output is not None:
        most = min(most, side.max_output)
    if budget and in_tokens:
        budget = min(budget, most * 3 // 4)
        if budget < LEAST_BUDGET:
            budget = 0
    return most, budget


def _sampling(prompt: Prompt) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if prompt.temperature is not None:
        found["temperature"] = min(max(prompt.temperature, 0.0), 1.0)
    elif prompt.top_p is not None:
        # Newer models refuse the two together.
        found["top_p"] = prompt.top_p
    if prompt.top_k is not None:
        found["top_k"] = prompt.top_k
    return found


def _mark(body: dict[str, Any], prompt: Prompt) -> None:
    """Mark what may be cached: the instructions, the tools, and all that was said so far.

    A cache costs a quarter more to write and a tenth to read, and what is read from it does not count towards most
    limits. That pays where the same beginning comes again, which is what agents and conversations do; a single question
    is left without.
    """
    if not prompt.tools and not any(isinstance(turn, AssistantTurn) for turn in prompt.turns):
        return
    for place in (body.get("tools"), body.get("system"), body["messages"][-1]["content"]):
        if place and place[-1].get("type") not in THOUGHTS:
            place[-1] = {**place[-1], "cache_control": dict(_MARK)}
