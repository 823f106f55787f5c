from __future__ import annotations

import json
from typing import Any

import pytest

from chain429.simulator import Simulator
from chain429.simulator.anthropic import Anthropic
from chain429.simulator.provider import SimulatedProvider
from chain429.simulator.reply import Reply
from tests.simulator.fakes import NOON, ask, body_of, exchange, provider

MODEL = "claude-haiku-4-5"
HEADERS = {"anthropic-version": "2023-06-01"}
TOOLS = [
    {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}},
    {"name": "news", "input_schema": {"type": "object"}},
]


def request(text: str = "Hi", **fields: Any) -> dict[str, Any]:
    return ask(MODEL, text, **{"max_tokens": 100, **fields})


def respond(body: object, to: SimulatedProvider | None = None, key: str | None = "sim-1", now: float = NOON) -> Reply:
    return (to or provider(Anthropic())).respond(key, body, now, HEADERS)


def parsed(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream, whose names are those in their data."""
    events = []
    for part in body.split(b"\n\n")[:-1]:
        name, data = part.split(b"\n")
        events.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + events[-1]["type"].encode()
    return events


def test_a_whole_answer() -> None:
    reply = respond(request())
    assert reply.status == 200
    assert reply.body == (
        b'{"id":"msg_000000000000000000000001","type":"message","role":"assistant","model":"claude-haiku-4-5",'
        b'"content":[{"type":"text","text":"anthropic/claude-haiku-4-5 here. You said: Hi"}],'
        b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"cache_creation_input_tokens":0,'
        b'"cache_read_input_tokens":0,"output_tokens":12,"service_tier":"standard"}}'
    )


def test_a_streamed_answer() -> None:
    reply = respond(request(stream=True, max_tokens=7))
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert reply.body == (
        b"event: message_start\n"
        b'data: {"type":"message_start","message":{"id":"msg_000000000000000000000001","type":"message",'
        b'"role":"assistant","model":"claude-haiku-4-5","content":[],"stop_reason":null,"stop_sequence":null,'
        b'"usage":{"input_tokens":1,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1,'
        b'"service_tier":"standard"}}}\n\n'
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        b'event: ping\ndata: {"type":"ping"}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"anthropic/claude-haiku-4-5 "}}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"h"}}\n\n'
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        b"event: message_delta\n"
        b'data: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},'
        b'"usage":{"input_tokens":1,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":7}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


def test_a_call_comes_in_fragments() -> None:
    body = request("run `ls` in the shell and call news with {}", tools=TOOLS)
    assert body_of(respond(body))["content"] == [
        {"type": "tool_use", "id": "toolu_000000000000000000000100", "name": "Bash", "input": {"command": "ls"}},
        {"type": "tool_use", "id": "toolu_000000000000000000000101", "name": "news", "input": {}},
    ]
    events = parsed(respond({**body, "stream": True}).body)
    assert events[1]["content_block"] == {
        "type": "tool_use",
        "id": "toolu_000000000000000000000100",
        "name": "Bash",
        "input": {},
    }
    deltas = [event for event in events if event["type"] == "content_block_delta"]
    fragments = [(event["index"], event["delta"]["partial_json"]) for event in deltas]
    assert fragments == [(0, ""), (0, '{"comman'), (0, 'd":"ls"}'), (1, "")]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize("display", [{}, {"display": "omitted"}], ids=["shown", "omitted"])
def test_thinking_is_signed_and_taken_back(display: dict[str, str]) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024, **display}
    body = request("run `ls` in the shell", tools=TOOLS, max_tokens=2000, thinking=thinking)
    thought, call = body_of(respond(body))["content"]
    assert thought["thinking"] == ("" if display else "The last message comes from the user.")
    events = parsed(respond({**body, "stream": True}).body)
    assert [event["delta"] for event in events if "delta" in event and "signature" in event["delta"]] == [
        {"type": "signature_delta", "signature": thought["signature"]}
    ]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "a.txt"}]}
    back = [
        *body["messages"],
        {"role": "assistant", "content": [thought, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "<system-reminder>Go on.</system-reminder>"}]},
    ]
    answer = body_of(respond({**body, "messages": back}))
    assert answer["content"][1]["text"] == "anthropic/claude-haiku-4-5 here. The tool answered: a.txt"
    back[1] = {"role": "assistant", "content": [{**thought, "thinking": "Mine."}, call]}
    assert body_of(respond({**body, "messages": back}))["error"] == {
        "type": "invalid_request_error",
        "message": "messages.1.content.0: Invalid `signature` in `thinking` block",
    }


def test_headers_tell_all_limits() -> None:
    asked = provider(Anthropic())
    asked.set_limits(MODEL, {"rpm": 60, "itpm": 80_000, "otpm": 16_000})
    headers = respond(request("a" * 160_000, max_tokens=1), asked).headers
    assert {name: value for name, value in headers.items() if name.startswith("anthropic-ratelimit")} == {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "59",
        "anthropic-ratelimit-requests-reset": "2026-09-21T12:00:01Z",
        "anthropic-ratelimit-input-tokens-limit": "80000",
        "anthropic-ratelimit-input-tokens-remaining": "40000",
        "anthropic-ratelimit-input-tokens-reset": "2026-09-21T12:00:30Z",
        "anthropic-ratelimit-output-tokens-limit": "16000",
        "anthropic-ratelimit-output-tokens-remaining": "16000",
        "anthropic-ratelimit-output-tokens-reset": "2026-09-21T12:00:01Z",
        "anthropic-ratelimit-tokens-limit": "96000",
        "anthropic-ratelimit-tokens-remaining": "56000",
        "anthropic-ratelimit-tokens-reset": "2026-09-21T12:00:30Z",
    }
    assert headers["request-id"] == "req_000000000000000000000001"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        pytest.param({"rpm": 1}, "1 requests per minute", id="requests"),
        pytest.param({"itpm": 1999}, "1,999 input tokens per minute", id="tokens in"),
        pytest.param({"otpm": 20}, "20 output tokens per minute", id="tokens out"),
    ],
)
def test_each_limit_refuses(limits: dict[str, int], said: str) -> None:
    asked = provider(Anthropic())
    asked.set_limits(MODEL, limits)
    body = request("a" * 4000, max_tokens=11)
    assert respond(body, asked).status == 200
    refused = respond(body, asked)
    assert (refused.status, body_of(refused)["error"]["type"]) == (429, "rate_limit_error")
    assert said in body_of(refused)["error"]["message"]
    wait = int(refused.headers["retry-after"])
    assert respond(body, asked, now=NOON + wait).status == 200


def test_a_dated_model_counts_in_the_same_bucket() -> None:
    asked = provider(Anthropic())
    asked.set_limits(MODEL, {"rpm": 1})
    assert respond(request(), asked).status == 200
    assert respond({**request(), "model": "claude-haiku-4-5-20251001"}, asked).status == 429


@pytest.mark.parametrize(
    ("key", "status", "kind", "says"),
    [
        (None, 401, "authentication_error", "x-api-key header is required"),
        ("sk-other", 401, "authentication_error", "invalid x-api-key"),
        ("sim-broke", 400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    ],
)
def test_keys_that_it_refuses(key: str | None, status: int, kind: str, says: str) -> None:
    reply = respond(request(), key=key)
    assert (reply.status, body_of(reply)["type"], body_of(reply)["error"]["type"]) == (status, "error", kind)
    assert body_of(reply)["error"]["message"].startswith(says)


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("overloaded", 529, "overloaded_error"),
        ("529", 529, "overloaded_error"),
        ("500", 500, "api_error"),
        ("503", 503, "api_error"),
        ("504", 504, "timeout_error"),
        ("402", 402, "billing_error"),
        ("403", 403, "permission_error"),
        ("404", 404, "not_found_error"),
        ("413", 413, "request_too_large"),
        ("429", 429, "rate_limit_error"),
        ("credit", 400, "invalid_request_error"),
        ("usage_limit", 400, "invalid_request_error"),
        ("input_tokens_minute", 429, "rate_limit_error"),
        ("bad_signature", 400, "invalid_request_error"),
    ],
)
def test_faults(fault: str, status: int, kind: str) -> None:
    asked = provider(Anthropic())
    asked.script(fault)
    reply = respond(request(), asked)
    assert (reply.status, body_of(reply)["error"]["type"]) == (status, kind)
    assert reply.headers["x-should-retry"] == ("true" if status in (429, 500, 503, 504, 529) else "false")


def test_errors_in_streams() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    asked = provider(Anthropic())
    asked.script("error_in_stream")
    assert respond(request(stream=True), asked).body == error
    asked.script("error_mid_stream", after=1)
    *begun, last, end = respond(request(stream=True), asked).body.split(b"\n\n")
    assert ([part.split(b"\n")[0] for part in begun], last + b"\n\n", end) == (
        [b"event: message_start", b"event: content_block_start", b"event: ping", b"event: content_block_delta"],
        error,
        b"",
    )


async def test_both_ways_to_bring_a_key(sim: Simulator) -> None:
    path, version = "/anthropic/v1/messages?beta=true", "anthropic-version: 2023-06-01"
    assert (await exchange(sim, path, request(), key="sim-1", headers=[version])).status == 200
    assert (await exchange(sim, path, request(), key=None, headers=[version, "x-api-key: sim-2"])).status == 200
    assert (await exchange(sim, path, request(), key=None, headers=[version])).status == 401
    assert [record.key for record in sim.control.received()] == ["sim-1", "sim-2", None]


async def test_counting_tokens(sim: Simulator) -> None:
    path, version = "/anthropic/v1/messages/count_tokens", ["anthropic-version: 2023-06-01"]
    sim.control.limits("anthropic", None, {"rpm": 0})
    got = await exchange(sim, path, ask(MODEL, "a" * 400), headers=version)
    assert (got.status, got.body) == (200, b'{"input_tokens":100}')
    refused = await exchange(sim, path, request(), headers=version)
    assert json.loads(refused.body)["error"]["message"] == "max_tokens: Extra inputs are not permitted"
    assert (await exchange(sim, path, ask("claude-x"), headers=version)).status == 404


async def test_the_list_of_models(sim: Simulator) -> None:
    got = json.loads((await exchange(sim, "/anthropic/v1/models?limit=1000", method="GET")).body)
    assert (got["has_more"], got["first_id"], got["last_id"]) == (False, "claude-opus-4-8", "claude-haiku-4-5-20251001")
    assert got["data"][2] == {
        "type": "model",
        "id": MODEL,
        "display_name": "Claude Haiku 4 5",
        "created_at": "2026-01-01T00:00:00Z",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }
