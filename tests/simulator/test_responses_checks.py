"""What OpenAI's Responses API refuses, each refusal by its words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.simulator.openai_responses import OpenAIResponses
from chain429.simulator.responses_checks import fault
from chain429.simulator.seals import wrap
from tests.simulator.fakes import NOON, provider

USER = {"role": "user", "content": "Hi"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "ls", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "a.txt"}
CUSTOM = {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "+a"}
CUSTOM_OUTPUT = {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"}
TOOL = {"type": "function", "name": "ls"}


@pytest.mark.parametrize(
    ("body", "says", "param", "code"),
    [
        pytest.param(
            {},
            "One of 'input', 'previous_response_id', 'prompt' or 'conversation' must be provided.",
            "input",
            "missing_required_parameter",
            id="no input",
        ),
        pytest.param({"foo": 1}, "Unknown parameter: 'foo'.", "foo", "unknown_parameter", id="unknown"),
        pytest.param(
            {"messages": []},
            "Unsupported parameter: 'messages'. In the Responses API, this parameter has moved to 'input'.",
            "messages",
            "unsupported_parameter",
            id="messages",
        ),
        pytest.param(
            {"max_tokens": 5},
            "Unsupported parameter: 'max_tokens'. In the Responses API, this parameter has moved to "
            "'max_output_tokens'.",
            "max_tokens",
            "unsupported_parameter",
            id="max_tokens",
        ),
        pytest.param(
            {"max_output_tokens": 15},
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 15 instead.",
            "max_output_tokens",
            "integer_below_min_value",
            id="few tokens",
        ),
        pytest.param(
            {"temperature": 1},
            "Unsupported parameter: 'temperature' is not supported with this model.",
            "temperature",
            "unsupported_parameter",
            id="temperature",
        ),
        pytest.param(
            {"previous_response_id": "resp_1"},
            "Previous response with id 'resp_1' not found.",
            "previous_response_id",
            "previous_response_not_found",
            id="an earlier answer",
        ),
        pytest.param(
            {"tools": [{"type": "function", "function": {"name": "ls"}}]},
            "Missing required parameter: 'tools[0].name'.",
            "tools[0].name",
            "missing_required_parameter",
            id="chat tool",
        ),
        pytest.param(
            {"tools": [{"type": "namespace", "name": "a", "tools": [{**TOOL, "name": "a b"}]}]},
            "Invalid 'tools[0].tools[0].name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            "tools[0].tools[0].name",
            "invalid_value",
            id="name of a tool",
        ),
    ],
)
def test_requests_that_it_refuses(body: dict[str, Any], says: str, param: str, code: str) -> None:
    assert fault({"model": "m", **body}, "me", reasoning_model=True) == (says, param, code)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        pytest.param(
            [{"type": "tool_result"}], "Invalid value: 'tool_result'. Supported values are", id="unknown item"
        ),
        pytest.param([{"content": "a"}], "Invalid value: 'None'. Supported values are", id="no type"),
        pytest.param([OUTPUT], "No tool call found for function call output with call_id call_1.", id="no call"),
        pytest.param([OUTPUT, CALL], "No tool call found for function call output", id="output before its call"),
        pytest.param([CALL], "No tool output found for function call call_1.", id="no output"),
        pytest.param([CUSTOM], "No tool output found for custom tool call call_2.", id="no custom output"),
        pytest.param(
            [{**CALL, "call_id": "call_2"}, CUSTOM_OUTPUT],
            "No tool call found for custom tool call output with call_id call_2.",
            id="an output of the other kind",
        ),
        pytest.param([{**CALL, "id": "call_1"}, OUTPUT], "Expected an ID that begins with 'fc'.", id="id of an item"),
        pytest.param(
            [{**CALL, "call_id": "a" * 65}, OUTPUT],
            "Invalid 'input[0].call_id': string too long. Expected a string with maximum length 64, "
            "but got a string with length 65 instead.",
            id="long id",
        ),
        pytest.param(
            [{**CALL, "arguments": {}}, OUTPUT],
            "Invalid type for 'input[0].arguments': expected a string, but got an object instead.",
            id="arguments as an object",
        ),
        pytest.param([{**CALL, "name": "a.b"}, OUTPUT], "Invalid 'input[0].name': string does not match", id="name"),
        pytest.param(
            [{"role": "tool", "content": "a"}],
            "Invalid value: 'tool'. Supported values are: 'assistant', 'system', 'developer', and 'user'.",
            id="role",
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
            "Invalid value: 'text'. Supported values are: 'input_text', 'input_image', and 'input_file'.",
            id="chat part",
        ),
        pytest.param(
            [{"role": "assistant", "content": [{"type": "input_text", "text": "a"}]}],
            "Invalid value: 'input_text'. Supported values are: 'output_text', and 'refusal'.",
            id="what a user says, said by the model",
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "input_image", "image_url": {"url": "a"}}]}],
            "Invalid type for 'input[0].content[0].image_url': expected an image URL",
            id="chat image",
        ),
        pytest.param([{"role": "user", "content": None}], "Invalid type for 'input[0].content'", id="null"),
        pytest.param([{"type": "item_reference", "id": "msg_1"}], "Item with id 'msg_1' not found.", id="reference"),
        pytest.param([{"type": "reasoning", "id": "rs_1"}], "Missing required parameter: 'input[0].summary'", id="rs"),
        pytest.param(
            [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": wrap("other", "a")}],
            "The encrypted content for item rs_1 could not be verified.",
            id="someone else's reasoning",
        ),
    ],
)
def test_inputs_that_it_refuses(items: list[Any], says: str) -> None:
    found = fault({"model": "m", "input": items}, "me", reasoning_model=True)
    assert found is not None
    assert says in found.message


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([USER, CALL, OUTPUT], id="a call"),
        pytest.param([USER, CALL, CUSTOM, CUSTOM_OUTPUT, OUTPUT], id="outputs in another order"),
        pytest.param(
            [USER, {**CALL, "id": "fc_1"}, {**OUTPUT, "output": [{"type": "input_text", "text": "a"}]}], id="parts"
        ),
        pytest.param(
            [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": wrap("me", "a")}, USER],
            id="its own reasoning",
        ),
        pytest.param([{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None}], id="none kept"),
        pytest.param([{"role": "assistant", "content": "a"}, USER], id="text of the model"),
    ],
)
def test_inputs_that_it_takes(items: list[Any]) -> None:
    assert fault({"model": "m", "input": items}, "me", reasoning_model=True) is None


def test_a_model_that_does_not_reason_takes_a_temperature() -> None:
    assert fault({"model": "m", "input": "Hi", "temperature": 1}, "me", reasoning_model=False) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 50) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.just("a") | JSON
ITEMS = JSON | st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "function_call", "function_call_output", "custom_tool_call", "reasoning"]),
        "role": st.sampled_from(["user", "assistant", "developer"]),
        "content": st.lists(st.fixed_dictionaries({"type": st.just("input_text"), "text": TEXT})) | TEXT,
        "call_id": TEXT,
        "name": TEXT,
        "arguments": TEXT,
        "output": TEXT,
        "summary": JSON,
    },
)
TOOLS = st.lists(
    JSON
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["function", "custom", "namespace"]), "name": TEXT}, optional={"tools": JSON}
    ),
    max_size=3,
)


@given(
    items=st.lists(ITEMS, max_size=3) | JSON,
    tools=st.none() | TOOLS | JSON,
    fields=st.dictionaries(st.sampled_from(["reasoning", "include", "tool_choice", "stream", "text"]), JSON),
)
def test_any_json_gets_a_reply(items: Any, tools: Any, fields: dict[str, Any]) -> None:
    body = {"model": "gpt-5-mini", "input": items, "tools": tools, **fields}
    assert provider(OpenAIResponses()).respond("sim-1", body, NOON).status in (200, 400)
