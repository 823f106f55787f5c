from __future__ import annotations

import json
from typing import Any

import pytest

from chain429.errors import RequestError
from chain429.wire.chat import ChatRequest
from chain429.wire.cleanup import Cleanup
from chain429.wire.conversation import Conversation, session_key
from chain429.wire.dialect import Problem, Side
from chain429.wire.events import Usage
from chain429.wire.exchange import exchange
from chain429.wire.messages import MessagesRequest
from chain429.wire.prompt import marked
from chain429.wire.responses import PATH, RESPONSES, ResponsesExchange, ResponsesRequest
from chain429.wire.responses_reasoning import sealed

OPENAI = Side("openai", "responses", "gpt-5", vendor=True)
OTHER = Side("groq", "responses", "gpt-oss-120b")
HI: dict[str, Any] = {"role": "user", "content": "Hi"}
CALL: dict[str, Any] = {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{}"}
RESULT: dict[str, Any] = {"type": "function_call_output", "call_id": "a", "output": "1"}
NAMESPACE = {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "f"}]}
SEARCH = {"type": "web_search"}


def request(*items: dict[str, Any], **fields: Any) -> ResponsesRequest:
    return ResponsesRequest.parse(json.dumps({"model": "default", "input": items or [HI], **fields}).encode())


def through(asked: ResponsesRequest, side: Side = OPENAI, *refused: str) -> ResponsesExchange:
    attempt = asked.exchange(side, refused)
    assert attempt is not None
    return attempt


def sent(asked: ResponsesRequest, side: Side = OPENAI, *refused: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(through(asked, side, *refused).body)
    return body


def thoughts(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "summary": [], **fields}


# The client's request.


def test_a_request_says_what_the_gateway_must_know() -> None:
    body = b'{"model":"m","stream":true,"max_output_tokens":7,"input":"Hi","previous_response_id":null}'
    asked = ResponsesRequest.parse(body)
    assert (asked.model, asked.stream, asked.max_tokens, asked.size) == ("m", True, 7, len(body))
    assert (asked.dialect, PATH) == (RESPONSES, "/responses")


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "could not be read"),
        (b"[]", None, "must be a JSON object"),
        (b'{"model":"m"}', "input", "Missing required parameter: 'input'"),
        (b'{"input":[]}', "input", "a text or a non-empty list"),
        (b'{"input":5}', "input", "a text or a non-empty list"),
        (b'{"input":"Hi","model":5}', "model", "a string"),
        (b'{"input":"Hi","stream":"yes"}', "stream", "true or false"),
        (b'{"input":"Hi","instructions":[]}', "instructions", "a string"),
        (b'{"input":"Hi","max_output_tokens":1.5}', "max_output_tokens", "a whole number"),
        (b'{"input":"Hi","max_output_tokens":true}', "max_output_tokens", "a whole number"),
        (b'{"input":"Hi","max_output_tokens":0}', "max_output_tokens", "1 or more"),
        (b'{"input":"Hi","reasoning":"high"}', "reasoning", "an object"),
        (b'{"input":"Hi","tools":{}}', "tools", "a list of tools"),
        (b'{"input":"Hi","tools":[1]}', "tools[0]", "an object"),
        (b'{"input":"Hi","tools":[{"type":"function"}]}', "tools[0].name", "a string"),
        (b'{"input":"Hi","tools":[{"type":5}]}', "tools[0].type", "a string"),
        (
            b'{"input":"Hi","tools":[{"type":"namespace","name":"n","tools":[{}]}]}',
            "tools[0].tools[0].name",
            "a string",
        ),
    ],
)
def test_a_wrong_request_is_refused_by_the_name_of_its_field(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        ResponsesRequest.parse(body)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("item", "place", "words"),
    [
        (1, "", "an object"),
        ({"type": 5, "role": "user"}, ".type", "a string"),
        ({"role": "tool", "content": "Hi"}, ".role", "'user', 'assistant', 'system' or 'developer'"),
        ({"role": "user"}, ".content", "a string or a list"),
        ({"role": "user", "content": [1]}, ".content[0]", "an object with a 'type'"),
        ({**CALL, "call_id": None}, ".call_id", "a string"),
        ({**CALL, "name": None}, ".name", "a string"),
        ({**RESULT, "output": None}, ".output", "a string or a list"),
        ({**RESULT, "output": [{}]}, ".output[0]", "an object with a 'type'"),
        ({"type": "custom_tool_call", "call_id": "a", "name": "f"}, ".input", "a string"),
        ({"type": "additional_tools"}, ".tools", "a list"),
        ({"type": "additional_tools", "tools": [1]}, ".tools[0]", "an object"),
        ({"type": "item_reference", "id": "msg_1"}, "", "send the items themselves"),
        ({"id": "msg_1"}, "", "send the items themselves"),
    ],
)
def test_a_wrong_item_is_refused_by_its_place(item: Any, place: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        request(HI, item)
    assert (caught.value.status, caught.value.param) == (400, f"input[1]{place}")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("previous_response_id", "resp_1", "previous_response_not_found"),
        ("conversation", {"id": "conv_1"}, "conversation_not_found"),
        ("prompt", {"id": "pmpt_1"}, "prompt_not_found"),
        ("background", True, "unsupported_value"),
    ],
)
def test_what_is_kept_elsewhere_is_refused_with_what_to_do(name: str, value: Any, code: str) -> None:
    with pytest.raises(RequestError, match=r"keeps no state between requests.*(send|leave out)") as caught:
        request(**{name: value})
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, name)


def test_an_error_is_worded_as_in_chat_completions() -> None:
    problem = Problem(400, "No.", code="invalid_type", param="input")
    assert RESPONSES.error(problem) == (
        b'{"error":{"message":"No.","type":"invalid_request_error","param":"input","code":"invalid_type"}}'
    )
    assert RESPONSES.name == "responses"


def test_a_conversation_is_known_by_its_session_or_its_opening() -> None:
    first = request(HI)
    later = request(HI, CALL, RESULT)
    assert not first.conversation("").begun
    assert later.conversation("") == Conversation(first.conversation("").key, True)
    assert later.conversation("s") == Conversation(session_key("s"), True)
    as_text = ResponsesRequest.parse(b'{"input":"Hi"}').conversation("")
    assert as_text == first.conversation("")
    others = [request(HI, instructions="x"), request(HI, prompt_cache_key="k"), request({**HI, "content": "Ho"})]
    assert len({one.conversation("").key for one in [first, *others]}) == 4
    parts = [{"type": "input_text", "text": "Hi"}]
    assert request({**HI, "content": parts}).conversation("") == first.conversation("")
    assert request(thoughts(), HI).conversation("").key == first.conversation("").key


# Passing through.


def test_to_its_own_dialect_a_request_goes_as_it_is_but_for_the_model() -> None:
    body = b'{"model": "default", "input": [{"role":"user","content":"\\u00e4"}], "temperature": 1e0, "x": 1E400}'
    attempt = through(ResponsesRequest.parse(body), OPENAI)
    assert attempt.body == (
        b'{"input": [{"role":"user","content":"\\u00e4"}],"temperature": 1e0,"x": 1E400,"model":"gpt-5"}'
    )
    assert (attempt.path, attempt.headers, attempt.lost) == ("/responses", {}, ())


def test_codex_s_notes_stay_here() -> None:
    noted = {**HI, "internal_chat_message_metadata_passthrough": {"turn_id": "t"}}
    asked = request(noted, client_metadata={"i": "1"})
    assert sent(asked)["input"] == [HI]
    assert "client_metadata" in sent(asked)
    attempt = through(asked, OTHER)
    assert b"client_metadata" not in attempt.body
    assert attempt.lost == ("client_metadata",)


OWN = thoughts(encrypted_content="gAA")


@pytest.mark.parametrize(
    ("item", "side", "kept"),
    [
        (OWN, OPENAI, OWN),
        (OWN, OTHER, None),
        (thoughts(encrypted_content=marked("groq", "gAA")), OTHER, OWN),
        (thoughts(encrypted_content=marked("groq", "gAA")), OPENAI, None),
        (thoughts(encrypted_content=marked("openai", "gAA")), OPENAI, OWN),
        (thoughts(encrypted_content=sealed("groq", "Hm", "gAA")), OTHER, OWN),
        (
            thoughts(encrypted_content=sealed("groq", "Hm", "")),
            OTHER,
            thoughts(content=[{"type": "reasoning_text", "text": "Hm"}]),
        ),
        (thoughts(encrypted_content=sealed("openai", "Hm", "")), OPENAI, None),
        (thoughts(encrypted_content=sealed("claude", "Hm", "s")), OPENAI, None),
        (thoughts(), OPENAI, None),
        (thoughts(content=[{"type": "reasoning_text", "text": "Hm"}]), OTHER, None),
    ],
)
def test_edge_11_thoughts_go_back_only_to_who_had_them(
    item: dict[str, Any], side: Side, kept: dict[str, Any] | None
) -> None:
    items = sent(request(HI, item, CALL, RESULT), side)["input"]
    if kept is None:
        # Whoever knows the call by its id would miss the thoughts before it.
        assert items == [HI, {name: value for name, value in CALL.items() if name != "id"}, RESULT]
    else:
        assert items == [HI, kept, CALL, RESULT]


def test_edge_11_thoughts_that_a_provider_refuses_are_taken_out() -> None:
    asked = request(HI, OWN, CALL, RESULT)
    assert asked.droppable("input[1].encrypted_content") == asked.droppable("encrypted_content") == "encrypted_content"
    assert request(HI).droppable("encrypted_content") is None
    assert [item.get("type") for item in sent(asked, OPENAI, "encrypted_content")["input"]] == [
        None, "function_call", "function_call_output"
    ]  # fmt: skip


def test_edge_13_an_answer_is_no_longer_than_the_model_makes_it() -> None:
    short = Side("p", "responses", "m", max_output=100)
    assert sent(request(max_output_tokens=5000), short)["max_output_tokens"] == 100
    assert sent(request(max_output_tokens=50), short)["max_output_tokens"] == 50
    assert sent(request(max_output_tokens=5), short)["max_output_tokens"] == 16
    assert "max_output_tokens" not in sent(request(), short)


def test_a_provider_s_rules_are_followed() -> None:
    side = Side("p", "responses", "m", (Cleanup(drop=frozenset({"store"})),))
    asked = request(store=False)
    assert "store" not in sent(asked, side)
    attempt = through(asked, side)
    assert attempt.lost == ("store",)


@pytest.mark.parametrize(
    ("param", "name", "left"),
    [
        ("include", "include", {"include": None}),
        ("include[0]", "include", {"include": None}),
        ("reasoning.summary", "reasoning.summary", {"reasoning": {"effort": "low"}}),
        ("reasoning", "reasoning", {"reasoning": None}),
        ("text.verbosity", "text.verbosity", {"text": {"format": {"type": "json_object"}}}),
        ("text.format", None, {}),
        ("text", None, {}),
        ("input[0].content", None, {}),
        ("max_output_tokens", None, {}),
        ("temperature", None, {}),
        ("stream_options", "stream_options", {}),
        # What another dialect calls it.
        ("reasoning_effort", "reasoning_effort", {}),
        ("verbosity", "verbosity", {}),
    ],
)
def test_what_only_tunes_an_answer_may_be_refused(param: str, name: str | None, left: dict[str, Any]) -> None:
    asked = request(
        stream=True,
        max_output_tokens=50,
        include=["reasoning.encrypted_content"],
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_object"}, "verbosity": "low"},
    )
    assert asked.droppable(param) == name
    if name is not None:
        body = sent(asked, OPENAI, name)
        assert {member: body.get(member) for member in left} == left


def test_a_whole_answer_passes_and_what_others_hide_is_marked() -> None:
    usage = b'"usage":{"input_tokens":3,"output_tokens":4}'
    body = b'{"id":"resp_1", "status":"completed","output":[{"type":"reasoning","encrypted_content":"gAA"}],%b}' % usage
    for side in (OPENAI, OTHER):
        attempt = through(request(), side)
        seen, out = attempt.answer(body)
        assert (seen.usage, seen.complete) == (Usage(3, 4), True)
        if side is OPENAI:
            assert out == body
        else:
            assert json.loads(out)["output"][0]["encrypted_content"] == marked("groq", "gAA")
            assert out.startswith(b'{"id":"resp_1","status":"completed",')
    seen, _ = through(request(), OTHER).answer(b'{"error":{"message":"Oh"}}')
    assert seen.error is not None


# By translation.


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [NAMESPACE]},
        {"tools": [{"type": "custom", "name": "p"}]},
        {"input": [HI, {**CALL, "namespace": "ns"}, RESULT]},
        {"input": [HI, {"type": "additional_tools", "role": "developer", "tools": []}]},
    ],
)
def test_edge_07_who_did_not_make_the_dialect_is_asked_for_plain_functions(fields: dict[str, Any]) -> None:
    asked = request(**fields)
    assert asked.exchange(OPENAI, ()) is not None
    assert asked.exchange(OTHER, ()) is None


def test_edge_07_a_plain_function_s_call_comes_back_in_its_namespace() -> None:
    attempt = exchange(request(tools=[NAMESPACE, SEARCH], stream=True), OTHER, (), "q", 0)
    body = json.loads(attempt.body)
    assert [tool["name"] for tool in body["tools"]] == ["ns__f"]
    assert (body["stream"], attempt.lost) == (True, ("tools[].web_search",))
    call = {**CALL, "name": "ns__f"}
    answer = {"object": "response", "status": "completed", "output": [call]}
    _, out = attempt.answer(json.dumps(answer).encode())
    (item,) = json.loads(out)["output"]
    assert (item["name"], item["namespace"], item["call_id"]) == ("f", "ns", "a")


CHAT_STREAM = (
    b'data: {"choices":[{"delta":{"role":"assistant","reasoning_content":"Hm"}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    b'data: {"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"ns__f","arguments":"{}"}}]}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\ndata: [DONE]\n\n'
)


def test_an_answer_of_another_dialect_is_translated_and_its_thoughts_go_back() -> None:
    rules = (Cleanup(reasoning_back="reasoning_content"),)
    side = Side("kimi", "chat", "k2", rules)
    attempt = exchange(request(tools=[NAMESPACE], stream=True), side, (), "q", 7)
    stream = attempt.stream()
    out = stream.feed(CHAT_STREAM) + stream.close()
    last = json.loads(out.rsplit(b"data: ", 1)[1])["response"]
    assert (last["id"], last["model"], last["created_at"], last["status"]) == ("resp_q", "default", 7, "completed")
    assert [item["type"] for item in last["output"]] == ["reasoning", "message", "function_call"]
    assert last["usage"]["total_tokens"] == 7
    # The next turn, as Codex asks it.
    given = [item for item in last["output"] if item["type"] != "message"]
    again = request(HI, *given, RESULT, tools=[NAMESPACE])
    message = json.loads(exchange(again, side, (), "q", 7).body)["messages"][1]
    assert (message["reasoning_content"], message["tool_calls"][0]["function"]["name"]) == ("Hm", "ns__f")
    elsewhere = json.loads(exchange(again, Side("glm", "chat", "k2", rules), (), "q", 7).body)["messages"][1]
    assert "reasoning_content" not in elsewhere


def test_both_other_dialects_are_served_by_a_provider_of_this_one() -> None:
    chat = ChatRequest.parse(b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}')
    messages = MessagesRequest.parse(b'{"model":"m","max_tokens":99,"messages":[{"role":"user","content":"Hi"}]}')
    answer = json.dumps(
        {
            "object": "response",
            "status": "completed",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}, CALL],
            "usage": {"input_tokens": 3, "output_tokens": 4},
        }
    ).encode()
    for asked in (chat, messages):
        attempt = exchange(asked, OPENAI, (), "q", 0)
        body = json.loads(attempt.body)
        assert attempt.path == "/responses"
        assert body["input"] == [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
        seen, out = attempt.answer(answer)
        assert seen.complete
        assert b"Hello" in out
        assert b'"tool_calls"' in out or b'"tool_use"' in out


@pytest.mark.parametrize("image", [True, False])
def test_edge_16_what_the_request_is_estimated_at_does_not_count_an_image_by_its_bytes(image: bool) -> None:
    data = "A" * 400_000
    part = {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}
    asked = request({"role": "user", "content": [part if image else {"type": "input_text", "text": data}]})
    attempt = exchange(asked, Side("p", "chat", "m"), (), "q", 0)
    _, out = attempt.answer(b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}')
    usage = json.loads(out)["usage"]
    assert (usage["input_tokens"] < 2000) is image
    assert usage["output_tokens"] == 0
