from __future__ import annotations

import json
from typing import Any

import pytest

from chain429.simulator.groq import Groq, go_duration
from tests.simulator.fakes import NOON, TOOLS, ask, body_of, events, provider

MODEL = "openai/gpt-oss-120b"
UPGRADE = "Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing"
WHO = f"for model `{MODEL}` in organization `org_simulated` service tier `on_demand` on"


def limits_in(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith(("x-ratelimit", "retry"))}


def test_headers_of_an_answer_reproduce_a_recorded_set() -> None:
    # Recorded of one request that cost 110 of 8000 tokens per minute.
    request = ask(MODEL, "a" * 40, max_completion_tokens=100)
    reply = provider(Groq()).respond("sim-1", request, NOON)
    assert limits_in(reply.headers) == {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "999",
        "x-ratelimit-reset-requests": "1m26.4s",
        "x-ratelimit-limit-tokens": "8000",
        "x-ratelimit-remaining-tokens": "7890",
        "x-ratelimit-reset-tokens": "825ms",
    }


def test_streams_have_the_same_headers() -> None:
    reply = provider(Groq()).respond("sim-1", ask(MODEL, stream=True), NOON)
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.headers["x-ratelimit-remaining-requests"] == "999"


def test_a_whole_answer() -> None:
    reply = provider(Groq()).respond("sim-1", ask(MODEL, reasoning_effort="low"), NOON)
    usage = b'"prompt_tokens":3,"prompt_time":0.002,"completion_tokens":23,"completion_time":0.01,"total_tokens":26'
    assert reply.body == (
        b'{"id":"chatcmpl-00000000-0000-0000-0000-000000000001","object":"chat.completion","created":1789992000,'
        b'"model":"openai/gpt-oss-120b","system_fingerprint":"fp_simulated","choices":[{"index":0,"message":'
        b'{"role":"assistant","content":"groq/openai/gpt-oss-120b here. You said: Hello there",'
        b'"reasoning":"The last message comes from the user."},"finish_reason":"stop"}],'
        b'"usage":{"queue_time":0.001,' + usage + b',"total_time":0.012},'
        b'"x_groq":{"id":"req_00000000000000000000000001"},"service_tier":"on_demand"}'
    )


def test_the_first_and_the_last_chunk_of_a_stream_have_an_x_groq() -> None:
    request = ask(MODEL, "Hi", stream=True, max_tokens=6)
    first, word, last, done = provider(Groq()).respond("sim-1", request, NOON).pieces
    start = (
        b'data: {"id":"chatcmpl-00000000-0000-0000-0000-000000000001","object":"chat.completion.chunk",'
        b'"created":1789992000,"model":"openai/gpt-oss-120b","system_fingerprint":"fp_simulated","choices":['
    )
    usage = (
        b'{"queue_time":0.001,"prompt_tokens":1,"prompt_time":0.002,"completion_tokens":6,"completion_time":0.01,'
        b'"total_tokens":7,"total_time":0.012}'
    )
    assert first == start + (
        b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null,"logprobs":null}],'
        b'"x_groq":{"id":"req_00000000000000000000000001"}}\n\n'
    )
    assert word == start + (
        b'{"index":0,"delta":{"content":"groq/openai/gpt-oss-120b"},"finish_reason":null,"logprobs":null}]}\n\n'
    )
    assert last == start + (
        b'{"index":0,"delta":{},"finish_reason":"length","logprobs":null}],'
        b'"x_groq":{"id":"req_00000000000000000000000001","usage":' + usage + b'},"usage":' + usage + b"}\n\n"
    )
    assert done == b"data: [DONE]\n\n"


def test_reasoning_is_streamed_when_an_effort_is_asked_for() -> None:
    request = ask(MODEL, stream=True, reasoning_effort="low")
    chunks = events(provider(Groq()).respond("sim-1", request, NOON).body)
    assert chunks[1]["choices"][0]["delta"] == {"reasoning": "The "}
    other = events(provider(Groq()).respond("sim-1", {**request, "model": "qwen/qwen3.6-27b"}, NOON).body)
    assert "reasoning" not in json.dumps(other)


def test_a_usage_chunk_comes_when_asked_for() -> None:
    request = ask(MODEL, stream=True, stream_options={"include_usage": True})
    *_, usage, done = events(provider(Groq()).respond("sim-1", request, NOON).body)
    assert (usage["choices"], usage["usage"]["total_tokens"], done) == ([], 16, "[DONE]")


def test_requests_per_minute() -> None:
    groq = provider(Groq())
    groq.set_limits(MODEL, {"tpm": None})
    for _ in range(30):
        assert groq.respond("sim-1", ask(MODEL), NOON).status == 200
    reply = groq.respond("sim-1", ask(MODEL), NOON)
    assert body_of(reply) == {
        "error": {
            "message": f"Rate limit reached {WHO} requests per minute (RPM): "
            f"Limit 30, Used 30, Requested 1. Please try again in 2s. {UPGRADE}",
            "type": "requests",
            "code": "rate_limit_exceeded",
        }
    }
    assert (reply.status, limits_in(reply.headers)) == (
        429,
        {
            "retry-after": "2",
            "x-ratelimit-limit-requests": "1000",
            "x-ratelimit-remaining-requests": "970",
            "x-ratelimit-reset-requests": "43m12s",
        },
    )
    assert groq.respond("sim-1", ask(MODEL), NOON + 2).status == 200
    assert groq.respond("sim-2", ask(MODEL), NOON).status == 200


def test_tokens_per_day_reproduce_a_recorded_refusal() -> None:
    groq = provider(Groq())
    groq.set_limits(MODEL, {"tpm": None})
    assert groq.respond("sim-1", ask(MODEL, "a" * 4, max_tokens=100_000), NOON).status == 200
    assert groq.respond("sim-1", ask(MODEL, "a" * 4, max_tokens=97_492), NOON).status == 200
    reply = groq.respond("sim-1", ask(MODEL, "a" * 4, max_tokens=4034), NOON)
    assert (reply.status, reply.headers["retry-after"]) == (429, "661")
    assert body_of(reply)["error"] == {
        "message": f"Rate limit reached {WHO} tokens per day (TPD): "
        f"Limit 200000, Used 197494, Requested 4035. Please try again in 11m0.528s. {UPGRADE}",
        "type": "tokens",
        "code": "rate_limit_exceeded",
    }


def test_tokens_are_charged_before_they_are_used() -> None:
    groq = provider(Groq())
    assert groq.respond("sim-1", ask(MODEL, "a" * 4, max_tokens=7000), NOON).status == 200
    reply = groq.respond("sim-1", ask(MODEL, "a" * 4, max_tokens=1000), NOON)
    assert (reply.status, reply.headers["x-ratelimit-remaining-tokens"], reply.headers["retry-after"]) == (
        429,
        "999",
        "1",
    )
    assert (
        "(TPM): Limit 8000, Used 7001, Requested 1001. Please try again in 15ms." in body_of(reply)["error"]["message"]
    )


def test_what_is_larger_than_the_limit_is_too_large_for_ever() -> None:
    reply = provider(Groq()).respond("sim-1", ask(MODEL, "a" * 4, max_tokens=11_087), NOON)
    assert (reply.status, reply.headers["retry-after"]) == (413, "60")
    assert body_of(reply)["error"] == {
        "message": f"Request too large {WHO} tokens per minute (TPM): "
        "Limit 8000, Requested 11088, please reduce your message size and try again.",
        "type": "tokens",
        "code": "rate_limit_exceeded",
    }


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"logprobs": True}, "property 'logprobs' is unsupported", id="logprobs"),
        pytest.param({"logit_bias": {"1": 1}}, "property 'logit_bias' is unsupported", id="logit_bias"),
        pytest.param({"n": 2}, "'n' : number must be at most 1", id="n"),
        pytest.param(
            {"messages": [{"role": "user", "name": "a", "content": "b"}]},
            "'messages.0' : for 'role:user' the following must be satisfied"
            "[('messages.0' : property 'name' is unsupported)]",
            id="a name",
        ),
        pytest.param(
            {"messages": [{"role": "assistant", "content": "b", "function_call": None}]},
            "'messages.0' : for 'role:assistant' the following must be satisfied"
            "[('messages.0' : property 'function_call' is unsupported)]",
            id="a null",
        ),
    ],
)
def test_requests_that_it_refuses(fields: dict[str, Any], says: str) -> None:
    groq = provider(Groq())
    reply = groq.respond("sim-1", {**ask(MODEL), **fields}, NOON)
    assert (reply.status, body_of(reply)) == (400, {"error": {"message": says, "type": "invalid_request_error"}})


def test_unsupported_fields_that_say_nothing_are_taken() -> None:
    request = ask(MODEL, n=1, logprobs=False, max_completion_tokens=9, service_tier="on_demand")
    assert provider(Groq()).respond("sim-1", request, NOON).status == 200


@pytest.mark.parametrize(
    ("key", "model", "status", "body"),
    [
        pytest.param(
            "sim-bad",
            MODEL,
            401,
            b'{"error":{"message":"Invalid API Key","type":"invalid_request_error","code":"invalid_api_key"}}',
            id="wrong key",
        ),
        pytest.param(
            "sim-1",
            "x",
            404,
            b'{"error":{"message":"The model `x` does not exist or you do not have access to it.",'
            b'"type":"invalid_request_error","code":"model_not_found"}}',
            id="unknown model",
        ),
        pytest.param(
            "sim-1",
            "llama-3.1-8b-instant",
            400,
            b'{"error":{"message":"The model `llama-3.1-8b-instant` has been decommissioned and is no longer supported.'
            b' Please refer to https://console.groq.com/docs/deprecations for what to use instead.",'
            b'"type":"invalid_request_error","code":"model_decommissioned"}}',
            id="retired model",
        ),
    ],
)
def test_other_refusals(key: str, model: str, status: int, body: bytes) -> None:
    reply = provider(Groq()).respond(key, ask(model), NOON)
    assert (reply.status, reply.body) == (status, body)


def test_a_context_that_is_too_long() -> None:
    groq = provider(Groq())
    groq.set_limits(MODEL, {"tpm": None, "tpd": None})
    reply = groq.respond("sim-1", ask(MODEL, max_tokens=131_072), NOON)
    assert (reply.status, body_of(reply)["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ("object", '{"error":{"message":"M","type":"internal_server_error","code":"over_capacity"}}'),
        ("text", '{"error":"M"}'),
    ],
)
def test_errors_in_a_stream_have_several_forms(form: str, error: str) -> None:
    groq = provider(Groq())
    groq.script("error_in_stream", form=form)
    reply = groq.respond("sim-1", ask(MODEL, stream=True), NOON)
    message = f"{MODEL} is currently over capacity. Please try again and back off exponentially."
    assert reply.pieces == (b"data: " + error.replace('"M"', json.dumps(message)).encode() + b"\n\n",)


def test_an_error_in_a_stream_may_hide_in_x_groq() -> None:
    groq = provider(Groq())
    groq.script("error_in_stream", form="x_groq")
    [chunk] = events(groq.respond("sim-1", ask(MODEL, stream=True), NOON).body)
    assert chunk["x_groq"]["error"].endswith("back off exponentially.")
    assert chunk["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]


def test_a_tool_call() -> None:
    reply = provider(Groq()).respond("sim-1", ask(MODEL, tools=TOOLS, tool_choice="required"), NOON)
    [choice] = body_of(reply)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_000000000000000000000100",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"x","days":1}'},
            }
        ],
    }


def test_models() -> None:
    assert body_of(provider(Groq()).list_models("sim-1"))["data"][0] == {
        "id": MODEL,
        "object": "model",
        "created": 1767225600,
        "owned_by": "groq",
        "active": True,
        "context_window": 131072,
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.194, "194ms"),
        (7.66, "7.66s"),
        (60, "1m0s"),
        (86.4, "1m26.4s"),
        (179.56, "2m59.56s"),
        (86400, "24h0m0s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
