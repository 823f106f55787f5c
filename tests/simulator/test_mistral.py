from __future__ import annotations

from typing import Any

import pytest

from chain429.simulator.mistral import Mistral
from tests.simulator.fakes import NOON, TOOLS, ask, body_of, events, provider

MODEL = "mistral-large-latest"


def test_headers_of_a_whole_answer() -> None:
    reply = provider(Mistral()).respond("sim-1", ask(MODEL), NOON)
    assert reply.headers == {
        "Content-Type": "application/json",
        "x-max-retry-attempts-reached": "false",
        "x-ratelimit-limit-req-minute": "4",
        "x-ratelimit-remaining-req-minute": "3",
        "x-ratelimit-limit-tokens-minute": "250000",
        "x-ratelimit-remaining-tokens-minute": "249983",
        "x-ratelimit-tokens-query-cost": "17",
    }


def test_headers_of_a_stream_say_nothing_of_limits() -> None:
    reply = provider(Mistral()).respond("sim-1", ask(MODEL, stream=True), NOON)
    assert reply.headers == {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache",
        "x-max-retry-attempts-reached": "false",
    }


def test_requests_per_minute() -> None:
    mistral = provider(Mistral())
    for _ in range(4):
        assert mistral.respond("sim-1", ask(MODEL), NOON).status == 200
    reply = mistral.respond("sim-1", ask(MODEL), NOON + 59)
    assert (reply.status, reply.headers) == (
        429,
        {
            "Content-Type": "application/json",
            "x-max-retry-attempts-reached": "false",
            "x-ratelimit-limit-req-minute": "4",
            "x-ratelimit-remaining-req-minute": "0",
        },
    )
    assert reply.body == (
        b'{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300",'
        b'"raw_status_code":429}'
    )
    assert mistral.respond("sim-1", ask("codestral-latest"), NOON + 59).status == 200
    assert mistral.respond("sim-1", ask(MODEL), NOON + 60).status == 200


def test_tokens_per_minute() -> None:
    mistral = provider(Mistral())
    mistral.set_limits(MODEL, {"tpm": 30})
    assert mistral.respond("sim-1", ask(MODEL), NOON).status == 200
    reply = mistral.respond("sim-1", ask(MODEL), NOON)
    assert (reply.status, body_of(reply)["code"]) == (429, "1300")
    assert reply.headers["x-ratelimit-remaining-tokens-minute"] == "13"
    assert reply.headers["x-ratelimit-tokens-query-cost"] == "17"
    assert "retry-after" not in reply.headers


def test_no_capacity() -> None:
    mistral = provider(Mistral())
    mistral.script("capacity")
    reply = mistral.respond("sim-1", ask(MODEL), NOON)
    assert (reply.status, reply.body) == (
        429,
        b'{"object":"error","message":"Service tier capacity exceeded for this model.",'
        b'"type":"service_tier_capacity_exceeded","param":null,"code":"3505"}',
    )


def test_a_stream_has_usage_on_its_last_chunk_unasked() -> None:
    request = ask(MODEL, stream=True, max_tokens=4)
    start = (
        b'data: {"id":"00000000000000000000000000000001","object":"chat.completion.chunk","created":1789992000,'
        b'"model":"mistral-large-latest","choices":[{"index":0,"delta":'
    )
    assert provider(Mistral()).respond("sim-1", request, NOON).pieces == (
        start + b'{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
        start + b'{"content":"mistral/mistral-"},"finish_reason":null}]}\n\n',
        start + b'{"content":""},"finish_reason":"length"}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n',
        b"data: [DONE]\n\n",
    )


def test_tool_calls_come_whole_with_the_finish_and_ids_of_nine() -> None:
    request = ask(MODEL, "Use every tool", stream=True, tools=TOOLS)
    *_, last, done = events(provider(Mistral()).respond("sim-1", request, NOON).body)
    assert last["choices"] == [
        {
            "index": 0,
            "delta": {
                "content": "",
                "tool_calls": [
                    {
                        "id": "c00000100",
                        "function": {"name": "weather", "arguments": '{"city":"x","days":1}'},
                        "index": 0,
                    },
                    {"id": "c00000101", "function": {"name": "news", "arguments": "{}"}, "index": 1},
                ],
            },
            "finish_reason": "tool_calls",
        }
    ]
    assert done == "[DONE]"


def test_a_whole_tool_call() -> None:
    [choice] = body_of(provider(Mistral()).respond("sim-1", ask(MODEL, tools=TOOLS, tool_choice="any"), NOON))[
        "choices"
    ]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", "")
    assert choice["message"]["tool_calls"][0]["id"] == "c00000100"


def forbidden(*place: str | int, value: object) -> dict[str, Any]:
    return {
        "type": "extra_forbidden",
        "loc": ["body", *place],
        "msg": "Extra inputs are not permitted",
        "input": value,
    }


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        pytest.param(
            {"stream_options": {"include_usage": True}},
            [forbidden("stream_options", "include_usage", value=True)],
            id="stream_options",
        ),
        pytest.param(
            {"seed": 1, "store": False}, [forbidden("seed", value=1), forbidden("store", value=False)], id="two"
        ),
        pytest.param({"max_completion_tokens": 9}, [forbidden("max_completion_tokens", value=9)], id="OpenAI's name"),
        pytest.param(
            {"messages": [{"role": "user", "content": "a", "name": "b"}]},
            [forbidden("messages", 0, "user", "name", value="b")],
            id="a name",
        ),
    ],
)
def test_unknown_fields(fields: dict[str, Any], detail: list[dict[str, Any]]) -> None:
    reply = provider(Mistral()).respond("sim-1", {**ask(MODEL), **fields}, NOON)
    assert (reply.status, body_of(reply)) == (
        422,
        {
            "object": "error",
            "message": {"detail": detail},
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
    )


def test_an_unknown_role() -> None:
    request = {"model": MODEL, "messages": [{"role": "developer", "content": "a"}]}
    reply = provider(Mistral()).respond("sim-1", request, NOON)
    [detail] = body_of(reply)["message"]["detail"]
    assert (reply.status, detail["loc"]) == (422, ["body", "messages", 0])


def tool_turn(call: str, result: str) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [
            {"role": "user", "content": "Use the tool"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": call, "function": {"name": "weather", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": result, "content": "Sunny"},
        ],
    }


@pytest.mark.parametrize(
    ("call", "result", "wrong"),
    [
        ("call_1", "call_1", "call_1"),
        ("abcdefgh1", "abcdefgh_", "abcdefgh_"),
        ("abcdefgh12", "abcdefgh1", "abcdefgh12"),
    ],
)
def test_ids_of_tool_calls_have_nine_letters_or_digits(call: str, result: str, wrong: str) -> None:
    reply = provider(Mistral()).respond("sim-1", tool_turn(call, result), NOON)
    assert (reply.status, body_of(reply)) == (
        400,
        {
            "object": "error",
            "message": f"Tool call id was {wrong} but must be a-z, A-Z, 0-9, with a length of 9.",
            "type": "invalid_function_call",
            "param": None,
            "code": "3280",
        },
    )


def test_a_tool_result_with_a_good_id() -> None:
    reply = provider(Mistral()).respond("sim-1", tool_turn("abcdefgh1", "abcdefgh1"), NOON)
    assert body_of(reply)["choices"][0]["message"]["content"].endswith("The tool answered: Sunny")


def test_a_last_message_of_the_assistant_needs_a_prefix() -> None:
    mistral = provider(Mistral())
    last: dict[str, Any] = {"role": "assistant", "content": "Once"}
    assert body_of(mistral.respond("sim-1", {"model": MODEL, "messages": [last]}, NOON))["code"] == "3230"
    assert mistral.respond("sim-1", {"model": MODEL, "messages": [{**last, "prefix": True}]}, NOON).status == 200


@pytest.mark.parametrize(
    ("key", "model", "status", "body"),
    [
        pytest.param("sim-bad", MODEL, 401, b'{"detail":"Unauthorized"}', id="wrong key"),
        pytest.param(
            "sim-1",
            "x",
            400,
            b'{"object":"error","message":"Invalid model: x","type":"invalid_model","param":null,"code":"1500"}',
            id="unknown model",
        ),
    ],
)
def test_other_refusals(key: str, model: str, status: int, body: bytes) -> None:
    reply = provider(Mistral()).respond(key, ask(model), NOON)
    assert (reply.status, reply.body) == (status, body)
