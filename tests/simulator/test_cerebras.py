from __future__ import annotations

from typing import Any

import pytest

from chain429.simulator.cerebras import Cerebras
from tests.simulator.fakes import NOON, ask, body_of, events, provider

MODEL = "gpt-oss-120b"


@pytest.mark.parametrize("stream", [False, True])
def test_headers_of_an_answer(stream: bool) -> None:
    request = ask(MODEL, "abcd", max_completion_tokens=99, stream=stream)
    reply = provider(Cerebras()).respond("sim-1", request, NOON)
    assert {name: value for name, value in reply.headers.items() if name.startswith("x-")} == {
        "x-ratelimit-limit-requests-minute": "5",
        "x-ratelimit-remaining-requests-minute": "4",
        "x-ratelimit-limit-requests-hour": "150",
        "x-ratelimit-remaining-requests-hour": "149",
        "x-ratelimit-limit-requests-day": "2400",
        "x-ratelimit-remaining-requests-day": "2399",
        "x-ratelimit-limit-tokens-minute": "30000",
        "x-ratelimit-remaining-tokens-minute": "29900",
        "x-ratelimit-limit-tokens-hour": "1000000",
        "x-ratelimit-remaining-tokens-hour": "999900",
        "x-ratelimit-limit-tokens-day": "1000000",
        "x-ratelimit-remaining-tokens-day": "999900",
    }


def test_a_429_is_flat_and_says_a_minute_and_nothing_else() -> None:
    cerebras = provider(Cerebras())
    for _ in range(5):
        assert cerebras.respond("sim-1", ask(MODEL), NOON).status == 200
    reply = cerebras.respond("sim-1", ask(MODEL), NOON + 30)
    assert (reply.status, reply.headers) == (429, {"Content-Type": "application/json", "retry-after": "60"})
    assert reply.body == (
        b'{"message":"Requests per minute limit exceeded - too many requests sent.",'
        b'"type":"too_many_requests_error","param":"quota","code":"request_quota_exceeded"}'
    )
    assert cerebras.respond("sim-1", ask(MODEL), NOON + 60).status == 200


def test_tokens_are_charged_before_they_are_used() -> None:
    cerebras = provider(Cerebras())
    assert cerebras.respond("sim-1", ask(MODEL, "abcd", max_tokens=20_000), NOON).status == 200
    reply = cerebras.respond("sim-1", ask(MODEL, "abcd", max_tokens=20_000), NOON)
    assert body_of(reply) == {
        "message": "Tokens per minute limit exceeded - too many tokens processed.",
        "type": "too_many_requests_error",
        "param": "quota",
        "code": "token_quota_exceeded",
    }


def test_the_hour_counts_too() -> None:
    cerebras = provider(Cerebras())
    now = NOON
    for _ in range(150):
        assert cerebras.respond("sim-1", ask(MODEL), now).status == 200
        now += 12
    reply = cerebras.respond("sim-1", ask(MODEL), now)
    assert body_of(reply)["message"] == "Requests per hour limit exceeded - too many requests sent."
    assert cerebras.respond("sim-1", ask(MODEL), NOON + 3600).status == 200


def test_at_time_scale_60_the_minute_that_it_says_is_a_second() -> None:
    cerebras = provider(Cerebras(), scale=60.0)
    for _ in range(5):
        cerebras.respond("sim-1", ask(MODEL), NOON)
    assert cerebras.respond("sim-1", ask(MODEL), NOON).headers["retry-after"] == "1"
    assert cerebras.respond("sim-1", ask(MODEL), NOON + 1).status == 200


def test_a_full_queue() -> None:
    cerebras = provider(Cerebras())
    cerebras.script("queue")
    reply = cerebras.respond("sim-1", ask(MODEL), NOON)
    assert (reply.status, reply.headers) == (429, {"Content-Type": "application/json", "x-should-retry": "false"})
    assert reply.body == (
        b'{"message":"We\'re experiencing high traffic right now! Please try again soon.",'
        b'"type":"too_many_requests_error","param":"queue","code":"queue_exceeded"}'
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param(
            {"frequency_penalty": 0},
            "body.frequency_penalty: property 'body.frequency_penalty' is unsupported",
            id="frequency_penalty",
        ),
        pytest.param(
            {"presence_penalty": 0, "logit_bias": {}},
            "body.presence_penalty: property 'body.presence_penalty' is unsupported\n"
            "body.logit_bias: property 'body.logit_bias' is unsupported",
            id="two at once",
        ),
        pytest.param(
            {"service_tier": "auto"},
            "body.service_tier: property 'body.service_tier' is unsupported",
            id="service_tier",
        ),
        pytest.param(
            {"model": "gemma-4-31b", "reasoning_effort": "low"},
            "body.reasoning_effort: property 'body.reasoning_effort' is unsupported",
            id="an effort where there is none",
        ),
        pytest.param(
            {"messages": [{"role": "assistant", "reasoning_content": "hm"}]},
            "messages.0.assistant.reasoning_content: property 'messages.0.assistant.reasoning_content' is unsupported",
            id="another's reasoning",
        ),
        pytest.param(
            {"messages": [{"role": "developer", "content": "hm"}]},
            "messages.0.role: 'developer' is not one of the allowed roles",
            id="developer",
        ),
    ],
)
def test_requests_that_it_refuses(fields: dict[str, Any], says: str) -> None:
    reply = provider(Cerebras()).respond("sim-1", {**ask(MODEL), **fields}, NOON)
    assert (reply.status, body_of(reply)) == (
        400,
        {"message": says, "type": "invalid_request_error", "param": "validation_error", "code": "wrong_api_format"},
    )


@pytest.mark.parametrize(
    ("key", "request_body", "status", "body"),
    [
        pytest.param(
            "sim-bad",
            ask(MODEL),
            401,
            b'{"message":"Wrong API Key","type":"invalid_request_error","param":"api_key","code":"wrong_api_key"}',
            id="wrong key",
        ),
        pytest.param(
            "sim-broke",
            ask(MODEL),
            402,
            b'{"message":"Payment required to access this resource.","type":"payment_required_error","param":"",'
            b'"code":"payment_required"}',
            id="no money",
        ),
        pytest.param(
            "sim-1",
            ask("x"),
            404,
            b'{"message":"Model x does not exist or you do not have access to it.","type":"not_found_error",'
            b'"param":"model","code":"model_not_found"}',
            id="unknown model",
        ),
        pytest.param(
            "sim-1",
            ask("zai-glm-4.7"),
            404,
            b'{"message":"Model zai-glm-4.7 is archived.","type":"not_found_error","param":"model",'
            b'"code":"model_archived"}',
            id="archived model",
        ),
        pytest.param(
            "sim-1",
            ask(MODEL, max_tokens=70_000),
            400,
            b'{"message":"Please reduce the length of the messages or completion. Current length is 70003 while limit '
            b'is 65536","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}',
            id="too long",
        ),
    ],
)
def test_other_refusals(key: str, request_body: dict[str, Any], status: int, body: bytes) -> None:
    reply = provider(Cerebras()).respond(key, request_body, NOON)
    assert (reply.status, reply.body) == (status, body)


def test_a_server_error_is_not_flat() -> None:
    cerebras = provider(Cerebras())
    cerebras.script("500")
    reply = cerebras.respond("sim-1", ask(MODEL), NOON)
    assert (reply.status, reply.body) == (
        500,
        b'{"status_code":500,"error":{"message":"Encountered a server error, please try again.","type":"server_error",'
        b'"param":"","code":"","id":""}}',
    )


def test_a_stream() -> None:
    request = ask(MODEL, stream=True, reasoning_effort="low", stream_options={"include_usage": True})
    reply = provider(Cerebras()).respond("sim-1", request, NOON)
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    first, thought, *_, finish, usage, done = events(reply.body)
    assert first["choices"] == [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
    assert thought["choices"][0]["delta"] == {"reasoning": "The "}
    assert finish["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert "total_time" in finish["time_info"]
    assert (usage["choices"], usage["usage"]) == (
        [],
        {"prompt_tokens": 3, "completion_tokens": 22, "total_tokens": 25},
    )
    assert done == "[DONE]"


def test_the_list_of_models_has_an_archived_one() -> None:
    models = body_of(provider(Cerebras()).list_models("sim-1"))["data"]
    assert [model["id"] for model in models] == ["gpt-oss-120b", "gemma-4-31b", "zai-glm-4.7"]
