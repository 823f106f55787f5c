from __future__ import annotations

from typing import Any

import pytest

from chain429.simulator.cerebras import Cerebras
from chain429.simulator.chat_checks import conversation_fault
from chain429.simulator.dialect import Dialect, Generic
from chain429.simulator.gemini import Gemini
from chain429.simulator.groq import Groq
from chain429.simulator.mistral import Mistral
from chain429.simulator.openrouter import OpenRouter
from tests.simulator.fakes import NOON, provider

USER = {"role": "user", "content": "Hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
OTHER = {**CALL, "id": "call_2"}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "a.txt"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}
UNANSWERED = "The following tool_call_ids did not have response messages: call_1"


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        pytest.param([USER, RESULT], "messages with role 'tool' must be a response to a preceding", id="no call"),
        pytest.param([CALLED, RESULT, USER, RESULT], "must be a response to a preceding message", id="too late"),
        pytest.param([CALLED, {**RESULT, "tool_call_id": "x"}], "'tool_call_id' of 'x' not found", id="another id"),
        pytest.param([CALLED, {"role": "tool", "content": "a"}], "Missing parameter 'tool_call_id'", id="no id"),
        pytest.param([CALLED], UNANSWERED, id="nothing follows"),
        pytest.param([CALLED, USER, RESULT], UNANSWERED, id="something between"),
        pytest.param(
            [{**CALLED, "tool_calls": [CALL, OTHER]}, {**RESULT, "tool_call_id": "call_2"}, USER],
            UNANSWERED,
            id="one of two",
        ),
        pytest.param(
            [{"role": "user", "content": None}], "'messages[0].content': expected a string, got null", id="null"
        ),
        pytest.param([{"role": "assistant", "content": None}, USER], "expected a string, got null", id="nothing said"),
        pytest.param([{"role": "system"}], "expected a string, got null", id="no content"),
        pytest.param([{"role": "human", "content": "a"}], "Invalid value: 'human'.", id="role"),
        pytest.param([{"role": "user", "content": 1}], "expected one of a string or array of objects", id="a number"),
        pytest.param(
            [{"role": "user", "content": [{"type": "tool_result"}]}], "Invalid value: 'tool_result'", id="part"
        ),
        pytest.param(
            [CALLED, {**RESULT, "content": [IMAGE]}], "Image URLs are only allowed for", id="image in a result"
        ),
        pytest.param([{**CALLED, "tool_calls": [{**CALL, "id": "a" * 65}]}], "string too long", id="long id"),
        pytest.param(
            [{**CALLED, "tool_calls": [{**CALL, "function": {"name": "ls", "arguments": {}}}]}],
            "Invalid type for 'messages[0].tool_calls[0].function.arguments'",
            id="arguments as an object",
        ),
        pytest.param(
            [{**CALLED, "tool_calls": [{**CALL, "function": {"name": "a b", "arguments": ""}}]}],
            "Invalid 'messages[0].tool_calls[0].function.name'",
            id="name",
        ),
    ],
)
def test_conversations_that_are_refused(messages: list[dict[str, Any]], says: str) -> None:
    assert says in str(conversation_fault({"messages": messages}, sees=True))


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([USER, CALLED, RESULT], id="a call"),
        pytest.param(
            [{**CALLED, "tool_calls": [CALL, OTHER]}, {**RESULT, "tool_call_id": "call_2"}, RESULT, USER],
            id="results in another order",
        ),
        pytest.param([{"role": "assistant", "content": ""}, USER], id="empty text"),
        pytest.param([{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}], id="an image"),
    ],
)
def test_conversations_that_are_taken(messages: list[dict[str, Any]]) -> None:
    assert conversation_fault({"messages": messages}, sees=True) is None


def test_the_name_of_a_tool() -> None:
    tools = [{"type": "function", "function": {"name": "a.b"}}]
    assert "Invalid 'tools[0].function.name'" in str(
        conversation_fault({"messages": [USER], "tools": tools}, sees=True)
    )


@pytest.mark.parametrize(
    ("dialect", "model", "status"),
    [
        (Groq(), "openai/gpt-oss-120b", 400),
        (Groq(), "qwen/qwen3.6-27b", 200),
        (Cerebras(), "gpt-oss-120b", 400),
        (Cerebras(), "gemma-4-31b", 200),
        (OpenRouter(), "openai/gpt-oss-20b:free", 400),
        (Gemini(), "gemini-2.5-flash", 200),
        (Mistral(), "mistral-small-2603", 200),
        (Mistral(), "codestral-latest", 400),
        (Generic(), "qwen3", 200),
    ],
)
def test_who_sees(dialect: Dialect, model: str, status: int) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": [IMAGE]}]}
    assert provider(dialect).respond("sim-1", body, NOON).status == status


@pytest.mark.parametrize("dialect", [Groq(), Cerebras(), Gemini(), Mistral()])
def test_what_clients_echo_is_refused(dialect: Dialect) -> None:
    asked = provider(dialect)
    message = {"role": "assistant", "content": "Hello"}
    body = {"model": next(iter(asked.models)), "messages": [USER, message, USER]}
    assert asked.respond("sim-1", body, NOON).status == 200
    for echoed in ("annotations", "provider_specific_fields", "refusal"):
        refused = asked.respond("sim-1", {**body, "messages": [USER, {**message, echoed: None}, USER]}, NOON)
        assert refused.status in (400, 422)
        assert echoed in refused.body.decode()


def test_strictness_can_be_switched() -> None:
    body = {"messages": [USER, RESULT]}
    groq, home = provider(Groq()), provider(Generic())
    assert groq.respond("sim-1", {**body, "model": "allam-2-7b"}, NOON).status == 400
    assert home.respond("sim-1", {**body, "model": "qwen3"}, NOON).status == 200
    groq.set_options({"strict": False})
    home.set_options({"strict": True})
    assert groq.respond("sim-1", {**body, "model": "allam-2-7b"}, NOON).status == 200
    assert home.respond("sim-1", {**body, "model": "qwen3"}, NOON).status == 400
