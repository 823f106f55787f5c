from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

import pytest

from chain429.simulator.gemini import Gemini
from tests.simulator.fakes import NOON, TOOLS, ask, body_of, events, provider

MODEL = "gemini-2.5-flash"
SIGNED = "gemini-3.5-flash"


def quota_failure(reply: Any) -> tuple[str, str, str]:
    """Which quota a refusal names, its value, and the wait that is told."""
    [wrapped] = body_of(reply)
    _, failure, retry = wrapped["error"]["details"]
    [violation] = failure["violations"]
    return violation["quotaId"], violation["quotaValue"], retry["retryDelay"]


@pytest.mark.parametrize("stream", [False, True])
def test_no_header_says_anything(stream: bool) -> None:
    reply = provider(Gemini()).respond("sim-1", ask(MODEL, stream=stream), NOON)
    assert set(reply.headers) <= {"Content-Type", "Cache-Control"}


def test_requests_per_minute() -> None:
    gemini = provider(Gemini())
    for _ in range(5):
        assert gemini.respond("sim-1", ask(MODEL), NOON).status == 200
    reply = gemini.respond("sim-1", ask(MODEL), NOON + 19.879)
    assert (reply.status, reply.headers) == (429, {"Content-Type": "application/json"})
    assert body_of(reply) == [
        {
            "error": {
                "code": 429,
                "message": "You exceeded your current quota, please check your plan and billing details. \n"
                "* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, "
                "limit: 5, model: gemini-2.5-flash\nPlease retry in 40.121s.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.Help",
                        "links": [
                            {
                                "description": "Learn more about Gemini API quotas",
                                "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
                            }
                        ],
                    },
                    {
                        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                        "violations": [
                            {
                                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                                "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                                "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
                                "quotaValue": "5",
                            }
                        ],
                    },
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "40s"},
                ],
            }
        }
    ]
    assert gemini.respond("sim-1", ask(MODEL), NOON + 60).status == 200


def test_the_day_ends_in_california_and_the_wait_that_is_told_is_a_lie() -> None:
    gemini = provider(Gemini())
    for minute in range(20):
        assert gemini.respond("sim-1", ask(MODEL), NOON + 60 * minute).status == 200
    midnight = datetime.datetime(2026, 9, 22, tzinfo=zoneinfo.ZoneInfo("America/Los_Angeles")).timestamp()
    reply = gemini.respond("sim-1", ask(MODEL), NOON + 3610)
    assert quota_failure(reply) == ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "20", "50s")
    assert gemini.respond("sim-1", ask(MODEL), midnight - 1).status == 429
    assert gemini.respond("sim-1", ask(MODEL), midnight).status == 200


def test_only_the_prompt_counts_as_tokens() -> None:
    gemini = provider(Gemini())
    gemini.set_limits(MODEL, {"tpm": 10})
    assert gemini.respond("sim-1", ask(MODEL, "a" * 40, max_tokens=1000), NOON).status == 200
    reply = gemini.respond("sim-1", ask(MODEL, "abcd"), NOON)
    assert quota_failure(reply) == ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "10", "60s")


def test_a_model_without_a_free_tier_has_a_limit_of_0() -> None:
    reply = provider(Gemini()).respond("sim-broke", ask(MODEL), NOON)
    assert reply.status == 429
    assert quota_failure(reply)[:2] == ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "0")
    assert "limit: 0, model: gemini-2.5-flash" in body_of(reply)[0]["error"]["message"]


def test_a_stream_repeats_the_role_and_has_no_chunk_of_its_own_for_it() -> None:
    request = ask(MODEL, stream=True, max_tokens=4)
    end = (
        b'"id":"0000000000000000000001","object":"chat.completion.chunk","created":1789992000,'
        b'"model":"gemini-2.5-flash"}\n\n'
    )
    assert provider(Gemini()).respond("sim-1", request, NOON).pieces == (
        b'data: {"choices":[{"delta":{"role":"assistant","content":"gemini/gemini-2."},"index":0}],' + end,
        b'data: {"choices":[{"delta":{"role":"assistant"},"index":0,"finish_reason":"length"}],' + end,
        b"data: [DONE]\n\n",
    )


def test_usage_is_on_every_chunk_when_asked_for() -> None:
    request = ask(MODEL, stream=True, stream_options={"include_usage": True})
    *chunks, _ = events(provider(Gemini()).respond("sim-1", request, NOON).body)
    assert {chunk["usage"]["total_tokens"] for chunk in chunks} == {16}


def test_a_streamed_tool_call_has_no_index_and_ends_with_stop() -> None:
    request = ask(SIGNED, stream=True, tools=TOOLS, tool_choice="required")
    call, finish, done = events(provider(Gemini()).respond("sim-1", request, NOON).body)
    assert call["choices"] == [
        {
            "delta": {
                "role": "assistant",
                "tool_calls": [
                    {
                        "extra_content": {"google": {"thought_signature": "signature00000000001"}},
                        "id": "function-call-00000000000000000100",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"x","days":1}'},
                    }
                ],
            },
            "index": 0,
        }
    ]
    assert finish["choices"] == [{"delta": {"role": "assistant"}, "index": 0, "finish_reason": "stop"}]
    assert done == "[DONE]"


def test_a_whole_tool_call_ends_with_tool_calls() -> None:
    reply = provider(Gemini()).respond("sim-1", ask(MODEL, tools=TOOLS, tool_choice="required"), NOON)
    [choice] = body_of(reply)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert "extra_content" not in choice["message"]["tool_calls"][0]


def after_a_call(**call: Any) -> dict[str, Any]:
    return {
        "model": SIGNED,
        "messages": [
            {"role": "user", "content": "Use the tool"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "function": {"name": "weather", "arguments": "{}"}, **call}],
            },
            {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
        ],
    }


def test_gemini_3_wants_the_signature_of_a_call_back() -> None:
    gemini = provider(Gemini())
    signed = {"extra_content": {"google": {"thought_signature": "s"}}}
    assert gemini.respond("sim-1", after_a_call(**signed), NOON).status == 200
    reply = gemini.respond("sim-1", after_a_call(), NOON)
    assert (reply.status, body_of(reply)[0]["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "missing a thought_signature" in body_of(reply)[0]["error"]["message"]
    assert gemini.respond("sim-1", {**after_a_call(), "model": MODEL}, NOON).status == 200


def test_calls_before_the_last_user_message_may_be_unsigned() -> None:
    request = after_a_call()
    request["messages"].append({"role": "user", "content": "Thanks"})
    assert provider(Gemini()).respond("sim-1", request, NOON).status == 200


def test_unknown_fields() -> None:
    reply = provider(Gemini()).respond("sim-1", ask(MODEL, web_search_options={}, store=True), NOON)
    first = 'Invalid JSON payload received. Unknown name "web_search_options": Cannot find field.'
    second = 'Invalid JSON payload received. Unknown name "store": Cannot find field.'
    assert (reply.status, body_of(reply)) == (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": f"{first}\n{second}",
                    "status": "INVALID_ARGUMENT",
                    "details": [
                        {
                            "@type": "type.googleapis.com/google.rpc.BadRequest",
                            "fieldViolations": [{"description": first}, {"description": second}],
                        }
                    ],
                }
            }
        ],
    )


def test_a_bad_key_is_a_bad_request() -> None:
    reply = provider(Gemini()).respond("sim-bad", ask(MODEL), NOON)
    assert (reply.status, reply.body) == (
        400,
        b'[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.",'
        b'"status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID",'
        b'"domain":"googleapis.com","metadata":{"service":"generativelanguage.googleapis.com"}}]}}]',
    )


def test_an_unknown_model() -> None:
    reply = provider(Gemini()).respond("sim-1", ask("x"), NOON)
    assert (reply.status, body_of(reply)[0]["error"]["status"]) == (404, "NOT_FOUND")
    assert body_of(reply)[0]["error"]["message"].startswith("models/x is not found for API version")


def test_an_overload() -> None:
    gemini = provider(Gemini())
    gemini.script("503")
    reply = gemini.respond("sim-1", ask(MODEL), NOON)
    assert (reply.status, reply.body) == (
        503,
        b'[{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}]',
    )


def test_a_context_that_is_too_long() -> None:
    gemini = provider(Gemini())
    gemini.set_limits(MODEL, {"tpm": None})
    reply = gemini.respond("sim-1", ask(MODEL, "a" * 4_785_060), NOON)
    assert body_of(reply)[0]["error"]["message"] == (
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."
    )


def test_models_have_a_prefix_that_requests_may_have_too() -> None:
    gemini = provider(Gemini())
    assert body_of(gemini.list_models("sim-1"))["data"][0] == {
        "id": "models/gemini-3.5-flash",
        "object": "model",
        "owned_by": "google",
    }
    assert gemini.respond("sim-1", ask("models/gemini-2.5-flash"), NOON).status == 200
