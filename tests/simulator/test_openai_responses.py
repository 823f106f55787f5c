from __future__ import annotations

import json
from typing import Any

import pytest

from chain429.simulator import Simulator
from chain429.simulator.openai_responses import OpenAIResponses
from chain429.simulator.provider import SimulatedProvider
from chain429.simulator.reply import Reply
from tests.simulator.fakes import NOON, body_of, exchange, provider
from tests.simulator.test_anthropic import parsed

MODEL = "gpt-5-mini"
ID = "000000000000000000000000000000000000000000000001"
TOOLS = [
    {"type": "function", "name": "ls", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}},
    {"type": "custom", "name": "patch"},
    {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "close"}]},
    {"type": "web_search"},
]


def request(text: object = "Hi", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": text, **fields}


def respond(body: object, to: SimulatedProvider | None = None, key: str | None = "sim-1", now: float = NOON) -> Reply:
    return (to or provider(OpenAIResponses())).respond(key, body, now)


def test_a_whole_answer() -> None:
    reply = respond(request(store=False))
    assert reply.status == 200
    assert reply.body == (
        b'{"id":"resp_000000000000000000000000000000000000000000000001","object":"response","created_at":1789992000,'
        b'"status":"completed","background":false,"error":null,"incomplete_details":null,"instructions":null,'
        b'"max_output_tokens":null,"model":"gpt-5-mini","output":[{"id":'
        b'"msg_000000000000000000000000000000000000000000000001","type":"message","status":"completed",'
        b'"role":"assistant","content":[{"type":"output_text","annotations":[],"logprobs":[],'
        b'"text":"openai-responses/gpt-5-mini here. You said: Hi"}]}],"parallel_tool_calls":true,'
        b'"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"store":false,"temperature":1.0,'
        b'"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled",'
        b'"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":0},"output_tokens":12,'
        b'"output_tokens_details":{"reasoning_tokens":0},"total_tokens":13},"user":null,"metadata":{}}'
    )


def test_a_streamed_answer() -> None:
    reply = respond(request("say 2 words", stream=True))
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    created, in_progress, *events, completed = parsed(reply.body)
    assert (created["type"], in_progress["type"], completed["type"]) == (
        "response.created",
        "response.in_progress",
        "response.completed",
    )
    assert created["response"] == {**completed["response"], "status": "in_progress", "output": [], "usage": None}
    middle = b"".join(reply.pieces[2:-1])
    place = b'"item_id":"msg_%s","output_index":0,"content_index":0' % ID.encode()
    part = b'{"type":"output_text","annotations":[],"logprobs":[],"text":"%s"}'
    item = b'{"id":"msg_%s","type":"message","status":"%s","role":"assistant","content":[%s]}'
    started = item % (ID.encode(), b"in_progress", b"")
    ended = item % (ID.encode(), b"completed", part % b"word1 word2")
    expected = [
        (b"output_item.added", b'"output_index":0,"item":%s,"sequence_number":2' % started),
        (b"content_part.added", b'%s,"part":%s,"sequence_number":3' % (place, part % b"")),
        (b"output_text.delta", b'%s,"delta":"word1 ","logprobs":[],"sequence_number":4' % place),
        (b"output_text.delta", b'%s,"delta":"word2","logprobs":[],"sequence_number":5' % place),
        (b"output_text.done", b'%s,"text":"word1 word2","logprobs":[],"sequence_number":6' % place),
        (b"content_part.done", b'%s,"part":%s,"sequence_number":7' % (place, part % b"word1 word2")),
        (b"output_item.done", b'"output_index":0,"item":%s,"sequence_number":8' % ended),
    ]
    lines = b'event: response.%s\ndata: {"type":"response.%s",%s}\n\n'
    assert middle == b"".join(lines % (name, name, rest) for name, rest in expected)
    assert events[-1]["item"] == completed["response"]["output"][0]


def test_a_cut_answer_is_incomplete() -> None:
    body = body_of(respond(request(max_output_tokens=16, input="Hi " * 40)))
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (body["output"][0]["status"], body["usage"]["output_tokens"]) == ("incomplete", 16)
    events = parsed(respond(request(max_output_tokens=16, input="Hi " * 40, stream=True)).body)
    assert events[-1]["type"] == "response.incomplete"


@pytest.mark.parametrize(
    ("call", "item", "kind", "told"),
    [
        pytest.param(
            'call ls with {"path":"."}',
            {"id": "fc_" + "0" * 45 + "100", "type": "function_call", "name": "ls", "arguments": '{"path":"."}'},
            "response.function_call_arguments",
            {"arguments": '{"path":"."}'},
            id="a function",
        ),
        pytest.param(
            'call patch with {"input": "+a"}',
            {"id": "ctc_" + "0" * 45 + "100", "type": "custom_tool_call", "name": "patch", "input": "+a"},
            "response.custom_tool_call_input",
            {"input": "+a"},
            id="a custom tool",
        ),
        pytest.param(
            "call close with {}",
            {
                "id": "fc_" + "0" * 45 + "100",
                "type": "function_call",
                "name": "close",
                "namespace": "agents",
                "arguments": "{}",
            },
            "response.function_call_arguments",
            {"arguments": "{}"},
            id="within a namespace",
        ),
    ],
)
def test_calls(call: str, item: dict[str, Any], kind: str, told: dict[str, str]) -> None:
    whole = {**item, "status": "completed", "call_id": "call_000000000000000000000100"}
    assert body_of(respond(request(call, tools=TOOLS)))["output"] == [whole]
    _, _, added, *middle, done, _ = parsed(respond(request(call, tools=TOOLS, stream=True)).body)
    assert added["item"] == {**whole, "status": "in_progress", **dict.fromkeys(told, "")}
    assert ({event["type"] for event in middle[:-1]}, middle[-1]["type"]) == ({f"{kind}.delta"}, f"{kind}.done")
    assert {"".join(event["delta"] for event in middle[:-1])} == set(told.values())
    assert done["item"] == whole


def test_tools_may_come_as_an_item() -> None:
    items = [
        {"type": "additional_tools", "role": "developer", "tools": TOOLS},
        {"role": "user", "content": [{"type": "input_text", "text": "call close with {}"}]},
    ]
    assert body_of(respond(request(items)))["output"][0]["namespace"] == "agents"


def test_reasoning_is_wrapped_up_and_taken_back() -> None:
    body = request("call ls with {}", tools=TOOLS, reasoning={"effort": "low"}, include=["reasoning.encrypted_content"])
    thought, call = body_of(respond(body))["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "The last message comes from the user."}]
    events = parsed(respond({**body, "stream": True}).body)
    assert [event["type"] for event in events if "reasoning" in event["type"]] == [
        "response.reasoning_summary_part.added",
        *["response.reasoning_summary_text.delta"] * 7,
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
    ]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "a.txt"}
    back = [{"role": "user", "content": "call ls with {}"}, thought, call, result]
    answer = body_of(respond({**body, "input": back}))["output"]
    assert answer[1]["content"][0]["text"] == "openai-responses/gpt-5-mini here. The tool answered: a.txt"
    back[1] = {**thought, "encrypted_content": "gAAAAA"}
    refused = respond({**body, "input": back})
    assert (refused.status, body_of(refused)["error"]["code"]) == (400, "invalid_encrypted_content")


def test_without_being_asked_nothing_is_wrapped_up() -> None:
    [thought, _] = body_of(respond(request("think first")))["output"]
    assert "encrypted_content" not in thought


def test_headers_tell_both_limits() -> None:
    headers = respond(request(max_output_tokens=16)).headers
    assert {name: value for name, value in headers.items() if name.startswith("x-ratelimit")} == {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "500000",
        "x-ratelimit-remaining-tokens": "499987",
        "x-ratelimit-reset-tokens": "2ms",
    }


def test_a_limit_refuses() -> None:
    asked = provider(OpenAIResponses())
    asked.set_limits(MODEL, {"rpm": 3})
    assert [respond(request(), asked).status for _ in range(3)] == [200, 200, 200]
    refused = respond(request(), asked)
    assert (refused.status, refused.headers["retry-after"], refused.headers["retry-after-ms"]) == (429, "20", "20000")
    assert body_of(refused)["error"] == {
        "message": "Rate limit reached for gpt-5-mini in organization org-simulated on requests per min (RPM): "
        "Limit 3, Used 3, Requested 1. Please try again in 20s. "
        "Visit https://platform.openai.com/account/rate-limits to learn more.",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    }


@pytest.mark.parametrize(
    ("key", "body", "status", "code"),
    [
        (None, request(), 401, "invalid_api_key"),
        ("sim-broke", request(), 429, "insufficient_quota"),
        ("sim-1", request(model="gpt-x"), 400, "model_not_found"),
        ("sim-1", request("a" * 1_600_004), 400, "context_length_exceeded"),
    ],
)
def test_what_it_refuses(key: str | None, body: dict[str, Any], status: int, code: str) -> None:
    reply = respond(body, key=key)
    assert (reply.status, body_of(reply)["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("form", "piece"),
    [
        pytest.param(
            "object",
            b'event: error\ndata: {"type":"error","code":"server_error",'
            b'"message":"The server had an error while processing your request.","param":null}\n\n',
            id="error",
        ),
        pytest.param(
            "failed",
            b'event: response.failed\ndata: {"type":"response.failed","response":{"id":'
            b'"resp_000000000000000000000000000000000000000000000001","object":"response","created_at":1789992000,'
            b'"status":"failed","model":"gpt-5-mini","output":[],"error":{"code":"server_error",'
            b'"message":"The server had an error while processing your request."},"usage":null}}\n\n',
            id="failed",
        ),
    ],
)
def test_errors_in_streams(form: str, piece: bytes) -> None:
    asked = provider(OpenAIResponses())
    asked.script("error_in_stream", form=form)
    assert respond(request(stream=True), asked).body == piece
    asked.script("error_mid_stream", form="object", after=1)
    pieces = respond(request(stream=True), asked).pieces
    assert [part.split(b"\n")[0] for part in pieces] == [
        b"event: response.created",
        b"event: response.in_progress",
        b"event: response.output_item.added",
        b"event: response.content_part.added",
        b"event: response.output_text.delta",
        b"event: error",
    ]


async def test_only_responses_are_spoken(sim: Simulator) -> None:
    assert (await exchange(sim, "/openai-responses/v1/chat/completions", request())).status == 404
    assert (await exchange(sim, "/openai-responses/v1/responses", request())).status == 200
    listed = json.loads((await exchange(sim, "/openai-responses/v1/models", method="GET")).body)
    assert [entry["id"] for entry in listed["data"]] == ["gpt-5.4-mini", "gpt-5-mini", "gpt-4.1-mini"]
