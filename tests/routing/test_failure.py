from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain429.routing.failure import LONGEST_MESSAGE, Failure, Quota, failure_in_answer, read_failure


def read(status: int, body: bytes | str, headers: dict[str, str] | None = None) -> Failure:
    return read_failure(status, headers or {}, body if isinstance(body, bytes) else body.encode())


@pytest.mark.parametrize(
    ("body", "codes", "message"),
    [
        pytest.param(
            '{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}',
            {"tokens", "rate_limit_exceeded"},
            "Rate limit reached",
            id="an error object",
        ),
        pytest.param(
            '[{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED"}}]',
            {"429", "RESOURCE_EXHAUSTED"},
            "You exceeded your current quota",
            id="in an array, as gemini",
        ),
        pytest.param(
            '{"message":"Tokens per day limit exceeded","type":"too_many_requests_error","param":"quota",'
            '"code":"token_quota_exceeded"}',
            {"too_many_requests_error", "quota", "token_quota_exceeded"},
            "Tokens per day limit exceeded",
            id="flat, as cerebras",
        ),
        pytest.param(
            '{"id":"24e32f6d","message":"You are using a Trial key"}',
            set(),
            "You are using a Trial key",
            id="as cohere",
        ),
        pytest.param(
            '{"code":50603,"message":"System is really busy.","data":null}',
            {"50603"},
            "System is really busy.",
            id="flat with a number, as siliconflow",
        ),
        pytest.param('{"error":"You have depleted it"}', set(), "You have depleted it", id="a string, as hugging face"),
        pytest.param(
            '{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options",'
            '"include_usage"],"msg":"Extra inputs are not permitted","input":true}]},'
            '"type":"invalid_request_error","param":null,"code":null}',
            {"extra_forbidden", "invalid_request_error"},
            "stream_options.include_usage: Extra inputs are not permitted",
            id="a message that is an object, as mistral",
        ),
        pytest.param(
            '{"errors":[{"message":"AiError: used up","code":4006}],"success":false,"result":null}',
            {"4006"},
            "AiError: used up",
            id="errors, as cloudflare",
        ),
        pytest.param('{"errors":["one","two"]}', set(), "one | two", id="errors that are strings"),
        pytest.param(
            '{"detail":{"message":"Quota exceeded","quota_reset_timestamp":"2026-09-22T00:00:00+00:00"}}',
            set(),
            "Quota exceeded",
            id="detail, as chutes",
        ),
        pytest.param('{"detail":"Not authenticated"}', set(), "Not authenticated", id="detail that is a string"),
        pytest.param(
            '{"status":404,"title":"Not Found","detail":"Function \'f\': Not found for account \'a\'"}',
            {"404"},
            "Not Found | Function 'f': Not found for account 'a'",
            id="title and detail, as nvidia",
        ),
        pytest.param(
            '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}',
            {"overloaded_error"},
            "Overloaded",
            id="as anthropic",
        ),
        pytest.param(
            '{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":'
            '[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}',
            {"400", "INVALID_ARGUMENT", "API_KEY_INVALID"},
            "API key not valid.",
            id="reasons among the details",
        ),
        pytest.param(
            '{"error":{"message":"Filtered","innererror":{"code":"ResponsibleAIPolicyViolation"}}}',
            {"ResponsibleAIPolicyViolation"},
            "Filtered",
            id="an inner error, as azure",
        ),
        pytest.param('\n\n  {"error":{"message":"late"}}', set(), "late", id="blank lines first, as deepseek"),
        pytest.param(b'\xef\xbb\xbf{"error":"marked"}', set(), "marked", id="byte order mark"),
        pytest.param('"a string alone"', set(), "a string alone", id="a JSON string"),
        pytest.param("null", set(), "", id="null"),
        pytest.param("[1, 2]", set(), "", id="numbers"),
        pytest.param("", set(), "", id="empty"),
        pytest.param("error code: 1010\n", set(), "error code: 1010", id="plain text"),
        pytest.param(b"\xff\xfe\x00", set(), "\ufffd\ufffd\x00", id="no text at all"),
        pytest.param(
            "<!DOCTYPE html><html><head><title>Attention &amp; care</title></head><body>x</body></html>",
            set(),
            "Attention & care",
            id="a page with a title",
        ),
        pytest.param("<html><body><h1>502</h1>Bad Gateway</body></html>", set(), "502 Bad Gateway", id="a page"),
        pytest.param('{"error":{"message":"half \\ud800 pair"}}', set(), "half ? pair", id="half a surrogate pair"),
    ],
)
def test_every_shape_of_body(body: bytes | str, codes: set[str], message: str) -> None:
    failure = read(429, body)
    assert (failure.status, set(failure.codes), failure.message) == (429, codes, message)


def test_a_page_is_known_for_one() -> None:
    assert read(403, "<!doctype html><p>no").page
    assert not read(403, "error code: 1010").page
    assert not read(403, '{"error":"<html>"}').page


def test_what_a_body_echoes_of_the_request_does_not_speak() -> None:
    echoed = {"code": "insufficient_quota", "message": "Rate limit reached", "type": "rate_limit_error"}
    body = {"error": {"message": "no", "code": "x", "failed_generation": echoed}, "input": echoed, "body": [echoed]}
    failure = read(400, json.dumps(body))
    assert (set(failure.codes), failure.message) == ({"x"}, "no")


def test_a_long_message_is_cut() -> None:
    assert read(500, json.dumps({"error": "x" * 10_000})).message == "x" * LONGEST_MESSAGE
    assert len(read(500, "word " * 10_000).message) <= LONGEST_MESSAGE


def test_the_header_of_an_empty_refusal_speaks() -> None:
    assert read(402, "{}", {"X-Error-Message": "depleted"}).message == "depleted"


OPENROUTER_UPSTREAM = (
    '{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"some/model:free is temporarily '
    'rate-limited upstream.","provider_name":"Venice","is_byok":false,"retry_after_seconds":17,'
    '"retry_after_seconds_raw":16.007,"headers":{"Retry-After":"17"}}},"user_id":"user_x"}'
)


def test_an_aggregators_upstream() -> None:
    failure = read(429, OPENROUTER_UPSTREAM, {"Content-Type": "application/json"})
    assert failure.upstream == "Venice"
    assert failure.wait == 17
    assert failure.headers == {"content-type": "application/json", "retry-after": "17"}
    assert failure.message == "Provider returned error | some/model:free is temporarily rate-limited upstream."


def test_headers_that_were_sent_win_over_those_in_the_body() -> None:
    failure = read(429, OPENROUTER_UPSTREAM, {"Retry-After": "3"})
    assert failure.headers["retry-after"] == "3"


def test_words_of_an_aggregators_metadata() -> None:
    body = (
        '{"error":{"message":"Rate limit exceeded: free-models-per-day. ","code":429,"metadata":{"headers":'
        '{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1790035200000"},'
        '"limit_source":"openrouter_free_tier_daily","error_type":"rate_limit_exceeded"},'
        '"availability":{"code":"capacity_exhausted","retry_after":9}}}'
    )
    failure = read(429, body)
    assert failure.codes == {"429", "openrouter_free_tier_daily", "rate_limit_exceeded", "capacity_exhausted"}
    assert failure.reset_at == 1790035200.0
    assert failure.wait == 9


def test_quotas_and_their_retry_delay() -> None:
    body = (
        '[{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED","details":['
        '{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m",'
        '"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier","quotaDimensions":{"model":"g"},'
        '"quotaValue":"20"},{"quotaId":"Other"}]},'
        '{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"40.5s"}]}}]'
    )
    failure = read(429, body)
    assert failure.quotas == (Quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", 20), Quota("Other"))
    assert failure.wait == 40.5


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        ('{"error":{"message":"Please try again in 11m0.528s. Need more?"}}', 660.528),
        ('{"error":{"message":"Please try again in 300ms…"}}', 0.3),
        ('{"error":{"message":"please try again after 1 seconds"}}', 1),
        ('{"error":{"message":"Please retry in 40.121s."}}', 40.121),
        ('{"error":{"message":"Please retry after 6 seconds."}}', 6),
        ('{"error":{"message":"Please wait 5631 seconds before retrying."}}', 5631),
        ('{"error":{"message":"Try again in about 1 hour, 2 minutes"}}', 3720),
        ('{"message":"Rate limit exceeded. Retry after 1 seconds.","retry_after":2}', 2),
        ('{"message":"x","retry_after":"3s"}', 3),
        ("Rate limited. Try again in 5s", 5),
        ('{"error":{"message":"please try again soon"}}', None),
        ('{"error":{"message":"try again in 3 attempts"}}', None),
        ('{"message":"x","retry_after":true}', None),
        ('{"message":"x","retry_after":-1}', None),
        ('{"message":"x","retry_after":1790035200}', None),
        ('{"message":"x","retry_after":' + "9" * 400 + "}", None),
    ],
)
def test_the_wait_that_a_body_tells(body: str, wait: float | None) -> None:
    assert read(429, body).wait == wait


def test_moments_that_a_body_names() -> None:
    chutes = '{"detail":{"message":"Quota exceeded","quota_reset_timestamp":"2026-09-22T00:00:00+00:00"}}'
    assert read(402, chutes).reset_at == 1790035200.0
    zai = '{"error":{"code":"1310","message":"Exhausted. Your limit will reset at 2026-09-03 18:01:05"}}'
    assert read(429, zai).reset_clock == datetime.datetime(2026, 9, 3, 18, 1, 5)  # noqa: DTZ001
    assert read(429, zai.replace("09-03", "19-03")).reset_clock is None
    assert read(429, zai.replace("01:05", "01:05 UTC")).reset_clock is None
    assert read(429, "", {"X-RateLimit-Reset": "1790035200"}).reset_at == 1790035200.0
    assert read(429, "", {"X-RateLimit-Reset": "30"}).reset_at is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ('{"error":{"message":"no","param":"logit_bias"}}', "logit_bias"),
        (
            '{"error":{"message":"Unsupported parameter: \'max_tokens\' is not supported with this model."}}',
            "max_tokens",
        ),
        ('{"error":{"message":"Unsupported value: \'temperature\' does not support 0.5"}}', "temperature"),
        ('{"error":{"message":"Unknown parameter: \'foo\'."}}', "foo"),
        ('{"error":{"message":"Unrecognized request argument supplied: foo"}}', "foo"),
        ('{"error":{"message":"\'messages.0\' : property \'name\' is unsupported"}}', "name"),
        ('{"error":{"message":"property \'store\' is unsupported, did you mean \'stop\'?"}}', "store"),
        (
            '[{"error":{"message":"Invalid JSON payload received. Unknown name \\"web_search_options\\": '
            'Cannot find field.","status":"INVALID_ARGUMENT"}}]',
            "web_search_options",
        ),
        (
            '[{"error":{"message":"Invalid JSON payload received. Unknown name \\"x\\" at \'tools[0]\': Cannot '
            'find"}}]',
            "tools[0].x",
        ),
        (
            '{"detail":[{"type":"missing","loc":["body","messages",0,"content"],"msg":"Field required"}]}',
            "messages.0.content",
        ),
        (
            '{"type":"error","error":{"message":"context_management: Extra inputs are not permitted"}}',
            "context_management",
        ),
        ('{"error":{"message":"something else entirely"}}', None),
    ],
)
def test_the_parameter_that_is_named(body: str, param: str | None) -> None:
    assert read(400, body).param == param
    assert read(500, body).param is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429, "message": "Provider returned error"}, 429),
        ({"code": "429", "message": "x"}, 429),
        ({"code": 502, "message": "x"}, 502),
        ({"code": "rate_limit_exceeded", "message": "x"}, 429),
        ({"message": "Rate limit exceeded", "metadata": {"error_type": "rate_limit_exceeded"}}, 429),
        ({"type": "invalid_request_error", "code": "rate_limit_exceeded"}, 429),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 529),
        ({"type": "overloaded_error", "message": "Overloaded"}, 529),
        ({"type": "server_error"}, 500),
        ({"status": "UNAVAILABLE"}, 503),
        ({"status": "RESOURCE_EXHAUSTED"}, 429),
        ({"type": "invalid_request_error", "message": "x"}, 400),
        ({"type": "authentication_error"}, 401),
        ({"code": "1302"}, 500),
        ({"code": 1302}, 500),
        ({"message": "no words"}, 500),
        ("Over capacity", 500),
        (None, 500),
        (7, 500),
        ([{"code": 503}], 503),
    ],
)
def test_the_status_of_an_error_inside_an_answer(error: object, status: int) -> None:
    assert failure_in_answer(error).status == status


def test_the_status_of_the_answer_counts_where_it_tells_of_failure() -> None:
    assert failure_in_answer({"code": 500}, 429).status == 429


def test_an_error_inside_an_answer_is_read_like_any_other() -> None:
    failure = failure_in_answer("Over capacity", 200, {"Retry-After": "2"})
    assert (failure.message, failure.headers["retry-after"]) == ("Over capacity", "2")
    failure = failure_in_answer({"message": "busy", "metadata": {"provider_name": "Venice"}})
    assert (failure.message, failure.upstream) == ("busy", "Venice")


KEYS = st.sampled_from(
    [
        *("error", "errors", "message", "detail", "details", "metadata", "availability", "code", "type", "status"),
        *("param", "loc", "msg", "headers", "retry_after", "retryDelay", "quotaId", "quotaValue"),
        *("violations", "provider_name", "raw", "reset_at", "title", "reason"),
    ]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
STATUSES = st.sampled_from([200, 302, 400, 403, 422, 429, 503])


@settings(deadline=None)
@given(STATUSES, st.binary(max_size=300), st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
def test_no_bytes_make_reading_fail(status: int, body: bytes, headers: dict[str, str]) -> None:
    assert len(read_failure(status, headers, body).message) <= LONGEST_MESSAGE


@settings(deadline=None)
@given(STATUSES, JSON)
def test_no_document_makes_reading_fail(status: int, document: object) -> None:
    read_failure(status, {}, json.dumps(document).encode()).message.encode()
    inside = failure_in_answer(document)
    assert 400 <= inside.status <= 599
    inside.message.encode()


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"error":' * 500 + b"1" + b"}" * 500, b"<" * 100_000, b"9" * 10_000]
)
def test_hostile_bodies_are_only_bad_ones(body: bytes) -> None:
    assert read_failure(500, {}, body).status == 500


def test_an_error_nested_without_end_is_read_as_far_as_it_makes_sense() -> None:
    error: dict[str, Any] = {"code": "innermost"}
    for _ in range(20_000):
        error = {"error": error}
    assert failure_in_answer(error).codes == frozenset()
