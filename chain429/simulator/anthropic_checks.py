"""What Anthropic refuses of a request besides its conversation, in its own words, as far as they are known.

Each function gives the message of the refusal, or None. ``malformation`` goes through the structure; what is left can
be read without asking again. ``refusal`` knows the model, and what may not be said together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from chain429.simulator.anthropic_blocks import blocks_of, extra, malformed_block
from chain429.simulator.anthropic_conversation import conversation_fault

VERSIONS = ("2023-01-01", "2023-06-01", "2026-10-21")
# Tokens that a model can make, and those that it can read.
MAX_OUTPUT: Mapping[str, int] = MappingProxyType(
    {
        "claude-opus-4-8": 128_000,
        "claude-sonnet-5": 128_000,
        "claude-haiku-4-5": 64_000,
        "claude-haiku-4-5-20251001": 64_000,
    }
)
CONTEXT: Mapping[str, int] = MappingProxyType(dict.fromkeys(MAX_OUTPUT, 200_000) | {"claude-sonnet-5": 1_000_000})
# From this version on, sampling is the model's own business.
_NO_SAMPLING = "2026-10-21"
_SAMPLING = ("temperature", "top_p", "top_k")
_KNOWN = frozenset(
    [
        "cache_control",
        "container",
        "inference_geo",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    ]
)
# Taken only together with a header ``anthropic-beta`` that names a beta which begins like this.
_BETA = {
    "context_management": "context-management-",
    "diagnostics": "",
    "mcp_servers": "mcp-client-",
    "output_format": "structured-outputs-",
    "speed": "fast-mode-",
}
_TOOL_FIELDS = frozenset(
    ["type", "name", "description", "input_schema", "cache_control", "strict", "eager_input_streaming"]
)
_BETA_TOOL_FIELDS = frozenset(["defer_loading", "input_examples", "allowed_callers"])
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MOST_MARKS = 4
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_LEAST_BUDGET = 1024


def thinking_kind(body: Mapping[str, Any]) -> str | None:
    """How the request wants the model to think: ``enabled``, ``adaptive``, ``disabled`` or not said."""
    thinking = body.get("thinking")
    return thinking.get("type") if isinstance(thinking, dict) else None


def malformation(body: Mapping[str, Any], headers: Mapping[str, str], *, counting: bool) -> str | None:
    return next(_malformations(body, headers, counting), None)


def _malformations(body: Mapping[str, Any], headers: Mapping[str, str], counting: bool) -> Iterator[str]:
    version = headers.get("anthropic-version")
    if version is None:
        yield "anthropic-version: header is required"
    elif version not in VERSIONS:
        yield f'anthropic-version: "{version}" is not a valid version'
    betas = headers.get("anthropic-beta", "")
    for field in body:
        if field not in _KNOWN and not (field in _BETA and betas and _BETA[field] in betas):
            yield extra(field)
    most = body.get("max_tokens")
    if counting:
        if most is not None:
            yield extra("max_tokens")
    elif "max_tokens" not in body:
        yield "max_tokens: Field required"
    elif not isinstance(most, int) or isinstance(most, bool):
        yield "max_tokens: Input should be a valid integer"
    elif most < 1:
        yield "max_tokens: Input should be greater than or equal to 1"
    if "stream" in body and not isinstance(body["stream"], bool):
        yield "stream: Input should be a valid boolean"
    stops = body.get("stop_sequences", [])
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        yield "stop_sequences: Input should be a valid list"
    elif not all(stop.strip() for stop in stops):
        yield "stop_sequences: each stop sequence must contain non-whitespace"
    yield from _system(body.get("system", ""))
    yield from _messages(body)
    yield from _tools(body.get("tools"), bool(betas))
    choice = body.get("tool_choice")
    if "tool_choice" in body:
        if not isinstance(choice, dict) or choice.get("type") not in ("auto", "any", "tool", "none"):
            yield "tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'"
        elif choice["type"] == "tool" and not isinstance(choice.get("name"), str):
            yield "tool_choice.tool.name: Field required"
    if "output_config" in body:
        yield from _output(body["output_config"])
    if "thinking" in body and thinking_kind(body) not in ("enabled", "adaptive", "disabled"):
        yield "thinking: Input tag does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'"


def _output(config: object) -> Iterator[str]:
    """How hard to try, and in which form to answer: no header has to name a beta for these."""
    if not isinstance(config, dict):
        yield "output_config: Input should be an object"
        return
    for field in config:
        if field not in ("effort", "format"):
            yield extra(f"output_config.{field}")
    if config.get("effort") not in (None, *_EFFORTS):
        yield "output_config.effort: Input should be " + " or ".join(repr(effort) for effort in _EFFORTS)
    form = config.get("format")
    if form is not None and not (
        isinstance(form, dict) and form.get("type") == "json_schema" and isinstance(form.get("schema"), dict)
    ):
        yield "output_config.format: Input should be of type 'json_schema', with a schema"


def _system(system: object) -> Iterator[str]:
    if isinstance(system, str):
        return
    if not isinstance(system, list):
        yield "system: Input should be a valid list"
        return
    for index, block in enumerate(system):
        place = f"system.{index}"
        if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
            yield f"{place}: Input should be a text block"
        else:
            yield from malformed_block(block, place, "user")


def _messages(body: Mapping[str, Any]) -> Iterator[str]:
    messages = body.get("messages")
    if "messages" not in body:
        yield "messages: Field required"
    if not isinstance(messages, list):
        yield "messages: Input should be a valid list"
        return
    if not messages:
        yield "messages: at least one message is required"
    for index, message in enumerate(messages):
        place = f"messages.{index}"
        if not isinstance(message, dict):
            yield f"{place}: Input should be an object"
            continue
        if "role" not in message:
            yield f"{place}.role: Field required"
        yield from (extra(f"{place}.{field}") for field in message if field not in ("role", "content"))
        content = message.get("content")
        if "content" not in message:
            yield f"{place}.content: Field required"
        elif isinstance(content, list):
            for number, block in enumerate(content):
                yield from malformed_block(block, f"{place}.content.{number}", str(message.get("role")))
        elif not isinstance(content, str):
            yield f"{place}.content: Input should be a valid list"


def _tools(tools: object, beta: bool) -> Iterator[str]:
    if tools is None:
        return
    if not isinstance(tools, list):
        yield "tools: Input should be a valid list"
        return
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            yield f"tools.{index}: Input should be an object"
            continue
        kind = tool.get("type") or "custom"
        place = f"tools.{index}.{kind}"
        if kind == "custom":
            known = _TOOL_FIELDS | _BETA_TOOL_FIELDS if beta else _TOOL_FIELDS
            yield from (extra(f"{place}.{field}") for field in tool if field not in known)
            schema = tool.get("input_schema")
            if "input_schema" not in tool:
                yield f"{place}.input_schema: Field required"
            elif not isinstance(schema, dict):
                yield f"{place}.input_schema: Input should be an object"
            elif "type" not in schema:
                yield f"{place}.input_schema.type: Field required"
            elif schema["type"] != "object":
                yield f"{place}.input_schema.type: Input should be 'object'"
        elif kind == "function":
            yield f"tools.{index}: Input tag 'function' found using 'type' does not match any of the expected tags"
        name = tool.get("name")
        if not isinstance(name, str):
            yield f"{place}.name: Field required"
        elif not _TOOL_NAME.fullmatch(name):
            yield f"{place}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        elif name in names:
            yield "tools: Tool names must be unique."
        else:
            names.add(name)


def refusal(
    body: Mapping[str, Any], headers: Mapping[str, str], model: str, owner: str, options: Mapping[str, bool]
) -> str | None:
    """Its refusal of a request that is well formed. ``owner``: whose signatures are genuine."""
    return next(_refusals(body, headers, model), None) or conversation_fault(
        body, owner, thinking_kind(body), headers.get("anthropic-version") == _NO_SAMPLING, options
    )


def _refusals(body: Mapping[str, Any], headers: Mapping[str, str], model: str) -> Iterator[str]:
    most = body["max_tokens"]
    if most > MAX_OUTPUT[model]:
        yield (
            f"max_tokens: {most} > {MAX_OUTPUT[model]}, "
            f"which is the maximum allowed number of output tokens for {model}"
        )
    given = [field for field in _SAMPLING if field in body]
    if given and headers.get("anthropic-version") == _NO_SAMPLING:
        yield f"{given[0]}: not supported with anthropic-version {_NO_SAMPLING}"
    temperature = body.get("temperature")
    if "temperature" in body:
        if not isinstance(temperature, int | float) or isinstance(temperature, bool):
            yield "temperature: Input should be a valid number"
        elif not 0 <= temperature <= 1:
            yield "temperature: range: 0..1"
        elif "top_p" in body:
            yield "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    if "tool_choice" in body and not body.get("tools"):
        yield "tool_choice: may only be specified while providing tools"
    marks = _marks(body)
    if marks > _MOST_MARKS:
        yield f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {marks}."
    yield from _thinking(body, model)


def _thinking(body: Mapping[str, Any], model: str) -> Iterator[str]:
    kind, thinking = thinking_kind(body), body.get("thinking") or {}
    if kind == "adaptive" and model.startswith("claude-haiku-4-5"):
        yield "adaptive thinking is not supported on this model"
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if not model.startswith("claude-haiku-4-5"):
            yield (
                '"thinking.type.enabled" is not supported for this model. '
                'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
            )
        elif not isinstance(budget, int) or isinstance(budget, bool):
            yield "thinking.enabled.budget_tokens: Field required"
        elif budget < _LEAST_BUDGET:
            yield f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_LEAST_BUDGET}"
        elif budget >= body["max_tokens"]:
            yield "`max_tokens` must be greater than `thinking.budget_tokens`."
    if kind in ("enabled", "adaptive"):
        if body.get("tool_choice", {}).get("type") in ("any", "tool"):
            yield "Thinking may not be enabled when tool_choice forces tool use."
        if body.get("temperature", 1) != 1:
            yield "`temperature` may only be set to 1 when thinking is enabled."


def _marks(body: Mapping[str, Any]) -> int:
    """How many ``cache_control`` there are, wherever one may stand."""
    marked: list[Any] = [body, *(body.get("tools") or ())]
    for content in (body.get("system"), *(message["content"] for message in body["messages"])):
        for block in blocks_of(content):
            marked.append(block)
            marked.extend(blocks_of(block.get("content")))
    return sum(bool(each.get("cache_control")) for each in marked)


def too_long_a_prompt(model: str, tokens: int) -> str | None:
    most = CONTEXT[model]
    return f"prompt is too long: {tokens} tokens > {most} maximum" if tokens > most else None
