from __future__ import annotations

import datetime
from typing import Any

import pytest

from chain429.simulator.openrouter import OpenRouter
from tests.simulator.fakes import NOON, TOOLS, ask, body_of, events, provider

MODEL = "openai/gpt-oss-20b:free"
OTHER = "qwen/qwen3-coder:free"


def limit_headers(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower().startswith(("x-ratelimit", "retry"))}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_says_nothing_of_limits(stream: bool) -> None:
    reply = provider(OpenRouter()).respond("sim-1", ask(MODEL, stream=stream), NOON)
    assert limit_headers(reply.headers) == {}
    assert reply.headers["X-Generation-Id"] == "gen-1789992000-00000000000000000001"


def test_a_whole_answer() -> None:
    reply = provider(OpenRouter()).respond("sim-1", ask(MODEL), NOON)
    assert reply.body == (
        b'{"id":"gen-1789992000-00000000000000000001","provider":"Venice","model":"openai/gpt-oss-20b:free",'
        b'"object":"chat.completion","created":1789992000,"choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"openrouter/openai/gpt-oss-20b:free here. You said: Hello there"},"finish_reason":"stop",'
        b'"native_finish_reason":"stop","logprobs":null}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":16,"total_tokens":19}}'
    )


def test_a_stream_has_comments_and_a_usage_with_a_choice() -> None:
    request = ask(MODEL, stream=True, max_tokens=4, stream_options={"include_usage": True})
    reply = provider(OpenRouter()).respond("sim-1", request, NOON)
    start = (
        b'data: {"id":"gen-1789992000-00000000000000000001","provider":"Venice","model":"openai/gpt-oss-20b:free",'
        b'"object":"chat.completion.chunk","created":1789992000,"choices":[{"index":0,"delta":{"role":"assistant","content":'
    )
    none = b'"finish_reason":null,"native_finish_reason":null,"logprobs":null}]'
    assert reply.prelude == 2
    assert reply.pieces == (
        b": OPENROUTER PROCESSING\n\n",
        start + b'""},' + none + b"}\n\n",
        start + b'"openrouter/opena"},' + none + b"}\n\n",
        start + b'""},"finish_reason":"length","native_finish_reason":"length","logprobs":null}]}\n\n',
        start + b'""},' + none + b',"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n',
        b"data: [DONE]\n\n",
    )


def test_tool_calls_in_a_stream() -> None:
    request = ask(MODEL, stream=True, tools=TOOLS, tool_choice="required")
    chunks = events(provider(OpenRouter()).respond("sim-1", request, NOON).body)
    calls = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in chunks[2:-1]]
    assert [call[0]["function"] for call in calls if call] == [
        {"name": "weather", "arguments": ""},
        {"arguments": '{"city":"x'},
        {"arguments": '","days":1}'},
    ]


def test_all_free_models_share_twenty_requests_a_minute() -> None:
    openrouter = provider(OpenRouter())
    for model in [MODEL, OTHER] * 10:
        assert openrouter.respond("sim-1", ask(model), NOON).status == 200
    reply = openrouter.respond("sim-1", ask("openrouter/free"), NOON + 20)
    told = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1789992060000"}
    assert (reply.status, limit_headers(reply.headers)) == (429, told)
    assert body_of(reply) == {
        "error": {
            "message": "Rate limit exceeded: free-models-per-min. ",
            "code": 429,
            "metadata": {"headers": told},
        },
        "user_id": "user_simulated",
    }
    assert openrouter.respond("sim-1", ask(MODEL), NOON + 60).status == 200
    assert openrouter.respond("sim-2", ask(MODEL), NOON + 20).status == 200


def test_fifty_requests_a_day_until_midnight_in_utc() -> None:
    openrouter = provider(OpenRouter())
    for minute in range(50):
        assert openrouter.respond("sim-1", ask(MODEL), NOON + 60 * minute).status == 200
    reply = openrouter.respond("sim-1", ask(OTHER), NOON + 3600)
    midnight = datetime.datetime(2026, 9, 22, tzinfo=datetime.UTC).timestamp()
    assert body_of(reply)["error"] == {
        "message": "Rate limit exceeded: free-models-per-day. "
        "Add 10 credits to unlock 1000 free model requests per day",
        "code": 429,
        "metadata": {
            "headers": {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1790035200000"},
            "limit_source": "openrouter_free_tier_daily",
        },
    }
    assert openrouter.respond("sim-1", ask(OTHER), midnight - 1).status == 429
    assert openrouter.respond("sim-1", ask(OTHER), midnight).status == 200


def test_failed_attempts_count() -> None:
    openrouter = provider(OpenRouter())
    openrouter.script("upstream_429", times=30)
    for _ in range(20):
        assert body_of(openrouter.respond("sim-1", ask(MODEL), NOON))["error"]["message"] == "Provider returned error"
    reply = openrouter.respond("sim-1", ask(MODEL), NOON)
    assert body_of(reply)["error"]["message"] == "Rate limit exceeded: free-models-per-min. "


def test_a_busy_provider_behind_it() -> None:
    openrouter = provider(OpenRouter())
    openrouter.script("upstream_429")
    reply = openrouter.respond("sim-1", ask(MODEL), NOON)
    assert (reply.status, limit_headers(reply.headers)) == (429, {"Retry-After": "17"})
    assert reply.body == (
        b'{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"openai/gpt-oss-20b:free is '
        b'temporarily rate-limited upstream. Please retry shortly, or add your own key.","provider_name":"Venice",'
        b'"is_byok":false,"retry_after_seconds":17,"retry_after_seconds_raw":16.007,"headers":{"Retry-After":"17"}}},'
        b'"user_id":"user_simulated"}'
    )


@pytest.mark.parametrize(
    ("key", "model", "status", "body"),
    [
        pytest.param("sim-bad", MODEL, 401, b'{"error":{"message":"User not found.","code":401}}', id="wrong key"),
        pytest.param(
            None, MODEL, 401, b'{"error":{"message":"Missing Authentication header","code":401}}', id="missing key"
        ),
        pytest.param(
            "sim-broke",
            MODEL,
            402,
            b'{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 2000 '
            b'tokens, but can only afford 500.","code":402,"metadata":{"error_type":"payment_required",'
            b'"limit_source":"openrouter_credits"}}}',
            id="no money",
        ),
        pytest.param(
            "sim-1",
            "x",
            404,
            b'{"error":{"message":"No endpoints found for x.","code":404}}',
            id="unknown model",
        ),
        pytest.param(
            "sim-1",
            "meta-llama/llama-3.3-70b-instruct:free",
            404,
            b'{"error":{"message":"This model is unavailable for free. The paid version is available now - use this '
            b'slug instead: meta-llama/llama-3.3-70b-instruct","code":404}}',
            id="no longer free",
        ),
    ],
)
def test_other_refusals(key: str | None, model: str, status: int, body: bytes) -> None:
    reply = provider(OpenRouter()).respond(key, ask(model), NOON)
    assert (reply.status, reply.body) == (status, body)


def test_a_context_that_is_too_long() -> None:
    reply = provider(OpenRouter()).respond("sim-1", ask(MODEL, "abcd", max_tokens=140_000), NOON)
    assert body_of(reply)["error"] == {
        "message": "This endpoint's maximum context length is 131072 tokens. However, you requested about 140001 "
        "tokens (1 of text input, 140000 in the output).",
        "code": 400,
        "metadata": {"error_type": "context_length_exceeded"},
    }


def test_an_error_in_a_stream() -> None:
    openrouter = provider(OpenRouter())
    openrouter.script("error_in_stream")
    reply = openrouter.respond("sim-1", ask(MODEL, stream=True), NOON)
    assert reply.body == (
        b": OPENROUTER PROCESSING\n\n"
        b'data: {"id":"gen-1789992000-00000000000000000001","provider":"Venice","model":"openai/gpt-oss-20b:free",'
        b'"object":"chat.completion.chunk","created":1789992000,"error":{"code":429,"message":"Rate limit exceeded",'
        b'"metadata":{"error_type":"rate_limit_exceeded"}},"choices":[{"index":0,"delta":{"content":""},'
        b'"finish_reason":"error"}]}\n\n'
    )


def test_an_error_in_place_of_an_answer() -> None:
    openrouter = provider(OpenRouter())
    openrouter.script("error_in_200")
    reply = openrouter.respond("sim-1", ask(MODEL), NOON)
    assert (reply.status, reply.body) == (200, b'{"error":{"message":"Provider returned error","code":429}}')


def test_models_are_free() -> None:
    models = body_of(provider(OpenRouter()).list_models("sim-1"))["data"]
    assert body_of(provider(OpenRouter()).list_models(None))["data"] == models  # to all, key or none
    assert models[0]["id"] == MODEL
    assert {model["pricing"]["prompt"] for model in models} == {"0"}
