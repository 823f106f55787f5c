"""What Anthropic's Messages API refuses, each refusal by its words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.simulator.anthropic import Anthropic
from chain429.simulator.seals import seal
from tests.simulator.fakes import NOON, body_of, provider

OLD, NEW = {"anthropic-version": "2023-06-01"}, {"anthropic-version": "2026-10-21"}
TOOL: dict[str, Any] = {"name": "ls", "input_schema": {"type": "object"}}
TEXT = {"type": "text", "text": "Hi"}
USER = {"role": "user", "content": "Hi"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a.txt"}
CALLED = [USER, {"role": "assistant", "content": [USE]}]
MARK = {"cache_control": {"type": "ephemeral"}}
EXTRA = "Extra inputs are not permitted"


def refused(fields: dict[str, Any], headers: dict[str, str] | None = None, **options: bool) -> str | None:
    """What is said of a small request with these fields; None when it is taken. A None takes a field out."""
    asked = provider(Anthropic())
    asked.set_options(options)
    body = {"model": "claude-haiku-4-5", "max_tokens": 2000, "messages": [USER], "tools": [TOOL], **fields}
    body = {name: value for name, value in body.items() if value is not None}
    reply = asked.respond("sim-1", body, NOON, OLD if headers is None else headers)
    assert reply.status in (200, 400)
    message: str | None = None if reply.status == 200 else body_of(reply)["error"]["message"]
    return message


def said(*blocks: object, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "anthropic-version: header is required"),
        ({"anthropic-version": "1"}, 'anthropic-version: "1" is not a valid version'),
        (OLD, None),
        (NEW, None),
    ],
)
def test_versions(headers: dict[str, str], says: str | None) -> None:
    assert refused({}, headers) == says


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"max_tokens": None}, "max_tokens: Field required", id="no max_tokens"),
        pytest.param({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1", id="nothing"),
        pytest.param(
            {"max_tokens": 64_001},
            "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for claude-haiku-4-5",
            id="above the model's most",
        ),
        pytest.param({"stream_options": {}}, f"stream_options: {EXTRA}", id="unknown"),
        pytest.param({"context_management": {}}, f"context_management: {EXTRA}", id="a beta without its header"),
        pytest.param({"output_config": "low"}, "output_config: Input should be an object", id="output as text"),
        pytest.param({"output_config": {"effort": "minimal"}}, "output_config.effort: Input should be", id="effort"),
        pytest.param({"output_config": {"format": {"type": "json_object"}}}, "output_config.format: Input", id="form"),
        pytest.param({"output_config": {"verbosity": "low"}}, f"output_config.verbosity: {EXTRA}", id="output extra"),
        pytest.param({"stop_sequences": [" "]}, "each stop sequence must contain non-whitespace", id="blank stop"),
        pytest.param({"temperature": 1.5}, "temperature: range: 0..1", id="hot"),
        pytest.param({"temperature": 1, "top_p": 1}, "`temperature` and `top_p` cannot both be", id="both samplings"),
        pytest.param({"tools": None, "tool_choice": {"type": "auto"}}, "while providing tools", id="choice of nothing"),
        pytest.param({"tool_choice": "auto"}, "tool_choice: Input tag does not match", id="choice as text"),
        pytest.param({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be", id="system"),
        pytest.param({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.custom.name: String", id="name"),
        pytest.param({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique.", id="twice"),
        pytest.param({"tools": [{"name": "a"}]}, "tools.0.custom.input_schema: Field required", id="no schema"),
        pytest.param({"tools": [{**TOOL, "parameters": {}}]}, f"tools.0.custom.parameters: {EXTRA}", id="tool extra"),
        pytest.param({"tools": [{"type": "function", "function": {}}]}, "Input tag 'function' found", id="chat tool"),
        pytest.param({"thinking": {"type": "adaptive"}}, "adaptive thinking is not supported", id="adaptive"),
        pytest.param(
            {"thinking": {"type": "enabled", "budget_tokens": 1000}},
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            id="small budget",
        ),
        pytest.param(
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
            id="large budget",
        ),
        pytest.param(
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "tool_choice": {"type": "any"}},
            "Thinking may not be enabled when tool_choice forces tool use.",
            id="forced while thinking",
        ),
        pytest.param(
            {"model": "claude-sonnet-5", "thinking": {"type": "enabled", "budget_tokens": 1024}},
            '"thinking.type.enabled" is not supported for this model.',
            id="budget at a newer model",
        ),
        pytest.param(
            {"messages": [said(*[{**TEXT, **MARK}] * 3)], "tools": [{**TOOL, **MARK}], "system": [{**TEXT, **MARK}]},
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
            id="marks",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": "a" * 800_004}]},
            "prompt is too long: 200022 tokens > 200000 maximum",
            id="too long",
        ),
    ],
)
def test_requests_that_it_refuses(fields: dict[str, Any], says: str) -> None:
    assert says in str(refused(fields))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"temperature": 0, "top_k": 5, "stop_sequences": ["END"]}, id="sampling"),
        pytest.param({"system": [TEXT], "metadata": {"user_id": "a"}, "service_tier": "auto"}, id="usual"),
        pytest.param(
            {"output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {}}}}, id="effort and form"
        ),
        pytest.param({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, id="a tool of its own"),
        pytest.param({"model": "claude-sonnet-5", "thinking": {"type": "adaptive"}}, id="adaptive at a newer model"),
        pytest.param({"messages": [said({**TEXT, **MARK})] * 2, "system": [{**TEXT, **MARK}] * 2}, id="four marks"),
    ],
)
def test_requests_that_it_takes(fields: dict[str, Any]) -> None:
    assert refused(fields) is None


def test_a_beta_is_taken_with_its_header() -> None:
    beta = {**OLD, "anthropic-beta": "a-1,context-management-2025-06-27"}
    assert refused({"context_management": {"edits": []}}, beta) is None
    assert refused({"tools": [{**TOOL, "defer_loading": True}]}, beta) is None
    assert refused({"tools": [{**TOOL, "defer_loading": True}]}) == f"tools.0.custom.defer_loading: {EXTRA}"


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1},
        {"top_p": 1},
        {"top_k": 1},
        {"messages": [USER, said({"type": "document", "source": {}}, role="assistant"), USER]},
        {"messages": [said({**TEXT, "citations": [{}]})]},
    ],
)
def test_what_the_newer_version_does_not_take_any_more(fields: dict[str, Any]) -> None:
    assert refused(fields) is None
    assert refused(fields, NEW) is not None


UNANSWERED = "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1."
UNASKED = "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1."


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        pytest.param([], "messages: at least one message is required", id="none"),
        pytest.param([said(TEXT, role="assistant"), USER], 'first message must use the "user" role', id="first"),
        pytest.param([{"role": "system", "content": "a"}, USER], 'Unexpected role "system".', id="system"),
        pytest.param([{"role": "tool", "content": "a"}], 'Unexpected role "tool". Allowed roles', id="tool"),
        pytest.param([USER, said(TEXT, role="assistant")], "does not support assistant message prefill", id="prefill"),
        pytest.param([{**USER, "name": "a"}], f"messages.0.name: {EXTRA}", id="extra of a message"),
        pytest.param([said({**TEXT, "id": "a"})], f"messages.0.content.0.text.id: {EXTRA}", id="extra of a block"),
        pytest.param([said({"type": "image_url"})], "Input tag 'image_url' found using 'type'", id="chat part"),
        pytest.param([said({"type": "text", "text": ""})], "text content blocks must be non-empty", id="empty text"),
        pytest.param([said({"type": "text", "text": " "})], "must contain non-whitespace text", id="blank text"),
        pytest.param([{"role": "user", "content": ""}], "messages.0: all messages must have non-empty", id="empty"),
        pytest.param([{"role": "user", "content": None}], "messages.0.content: Input should be", id="null"),
        pytest.param(
            [said({"type": "text", "text": "", **MARK})], "cache_control cannot be set for empty text", id="marked"
        ),
        pytest.param([*CALLED, USER], UNANSWERED, id="no result"),
        pytest.param([*CALLED, said(TEXT, RESULT)], UNANSWERED, id="text before the result"),
        pytest.param([*CALLED, said(TEXT, role="assistant"), said(RESULT)], UNANSWERED, id="not immediately"),
        pytest.param(
            [USER, said(USE, {**USE, "id": "toolu_2"}, role="assistant"), said({**RESULT, "tool_use_id": "toolu_2"})],
            UNANSWERED,
            id="one of two",
        ),
        pytest.param([said(RESULT)], UNASKED, id="no call"),
        pytest.param([*CALLED, said(RESULT), said(RESULT)], UNASKED, id="answered again"),
        pytest.param([*CALLED, said(RESULT, RESULT)], "each tool_use must have a single result.", id="two results"),
        pytest.param([*CALLED, said(RESULT), *CALLED, said(RESULT)], "`tool_use` ids must be unique", id="an id again"),
        pytest.param(
            [USER, said({**USE, "id": "a b"}, role="assistant")],
            "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
            id="pattern",
        ),
        pytest.param(
            [USER, said({**USE, "input": "{}"}, role="assistant")],
            "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
            id="input as text",
        ),
        pytest.param(
            [USER, said({"type": "thinking", "thinking": "a", "signature": "b"}, role="assistant"), USER],
            "messages.1.content.0: Invalid `signature` in `thinking` block",
            id="someone else's signature",
        ),
        pytest.param(
            [USER, said({"type": "thinking", "thinking": "a"}, role="assistant"), USER],
            "messages.1.content.0.thinking.signature: Field required",
            id="no signature",
        ),
    ],
)
def test_conversations_that_it_refuses(messages: list[dict[str, Any]], says: str) -> None:
    assert says in str(refused({"messages": messages}))


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}
THOUGHT = {"type": "thinking", "thinking": "a", "signature": seal("anthropic", "a")}


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([*CALLED, said(RESULT, TEXT)], id="text after the result"),
        pytest.param([*CALLED, said({**RESULT, "content": [TEXT, IMAGE], "is_error": True})], id="blocks in a result"),
        pytest.param([USER, USER], id="the user twice"),
        pytest.param(
            [
                USER,
                said(USE, {**USE, "id": "toolu_2"}, role="assistant"),
                said({**RESULT, "tool_use_id": "toolu_2"}, RESULT),
            ],
            id="results in another order",
        ),
        pytest.param([USER, said(THOUGHT, TEXT, role="assistant"), USER], id="its own signature"),
        pytest.param([said(TEXT, IMAGE)], id="an image"),
    ],
)
def test_conversations_that_it_takes(messages: list[dict[str, Any]]) -> None:
    assert refused({"messages": messages}) is None


def test_a_turn_of_thinking_begins_with_it() -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    without = {"messages": [*CALLED, said(RESULT)], **thinking}
    assert "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`" in str(refused(without))
    assert refused({"messages": [USER, said(THOUGHT, USE, role="assistant"), said(RESULT)], **thinking}) is None


def test_system_among_messages_can_be_switched_on() -> None:
    system = {"role": "system", "content": "Be brief."}
    assert refused({"messages": [USER, system]}, system_in_messages=True) is None
    assert "Unexpected role" in str(refused({"messages": [system, USER]}, system_in_messages=True))
    assert "Unexpected role" in str(refused({"messages": [USER, system, system]}, system_in_messages=True))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["text", "image", "tool_use", "tool_result", "thinking", "document", "redacted_thinking"])
BLOCKS = JSON | st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "text": st.just("a") | JSON,
        "id": st.just("a") | JSON,
        "name": st.just("a") | JSON,
        "input": JSON,
        "tool_use_id": st.just("a") | JSON,
        "content": JSON,
        "source": JSON,
        "thinking": JSON,
        "signature": JSON,
        "cache_control": JSON,
    },
)
MESSAGES = st.lists(
    JSON
    | st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.lists(BLOCKS, max_size=3) | JSON}
    ),
    max_size=3,
)
FIELDS = ("tools", "tool_choice", "system", "thinking", "stream", "stop_sequences", "temperature", "metadata")


@given(messages=MESSAGES, fields=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=2))
def test_any_json_gets_a_reply(messages: list[Any], fields: dict[str, Any]) -> None:
    body = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": messages, **fields}
    for headers in (OLD, NEW):
        assert provider(Anthropic()).respond("sim-1", body, NOON, headers).status in (200, 400)
