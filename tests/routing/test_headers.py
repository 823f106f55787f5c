from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain429.routing.headers import (
    FAMILIES,
    Reading,
    parse_instant,
    parse_reset,
    parse_retry_after,
    parse_span,
    read_headers,
)
from chain429.routing.window import Window

NOW = 1_790_020_800.0  # 2026-09-21 20:00 UTC
MINUTE, DAY = Window.MINUTE, Window.DAY


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", NOW),
        ("60", NOW + 60),
        ("33011.382867097855", NOW + 33011.382867097855),
        ("7.66s", NOW + 7.66),
        ("194ms", NOW + 0.194),
        ("2m59.56s", NOW + 179.56),
        ("1m26.4s", NOW + 86.4),
        ("6m 11.52s", NOW + 371.52),
        ("6m0s", NOW + 360),
        ("4h17m", NOW + 15420),
        ("1h2m3.4s", NOW + 3723.4),
        ("1d", NOW + 86400),
        ("5631 seconds", NOW + 5631),
        ("1 hour, 2 minutes", NOW + 3720),
        ("250µs", NOW + 0.00025),
        (" 7s ", NOW + 7),
        ("1790035200000", 1790035200.0),
        ("1790814600", 1790814600.0),
        ("2026-09-22T00:00:00Z", 1790035200.0),
        ("2026-09-22T02:00:00+02:00", 1790035200.0),
        ("2026-09-22T00:00:00", 1790035200.0),
        ("Tue, 22 Sep 2026 00:00:00 GMT", 1790035200.0),
    ],
)
def test_a_reset_is_read_in_every_form(value: str, expected: float) -> None:
    assert parse_reset(value, NOW) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        *("", "-1", "nan", "inf", "-inf", "1e400", "soon", "s", "3m4x", "1..2s", "m5", "5 s s", "2026-13-45T00:00:00Z"),
        *(
            "Mon",
            "Tue, 99 Sep 2026 00:00:00 GMT",
            "99999999999999999999",
            "1" * 400 + "s",
            "\x00",
            "\u0661\u0662s\u0663",
        ),
    ],
)
def test_a_reset_that_makes_no_sense_is_none(value: str) -> None:
    assert parse_reset(value, NOW) is None


def go_duration(milliseconds: int) -> str:
    """As Go's ``time.Duration.String`` writes it."""
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}" if minutes else seconds


@settings(deadline=None)
@given(st.integers(0, 40 * 86_400_000))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    assert parse_span(go_duration(milliseconds)) == pytest.approx(milliseconds / 1000)
    assert parse_reset(go_duration(milliseconds), NOW) == pytest.approx(NOW + milliseconds / 1000)


@settings(deadline=None)
@given(st.text() | st.from_regex(r"[0-9.e+\-: TZhmsµ]{0,30}"))
def test_whatever_is_read_is_none_or_a_finite_number(text: str) -> None:
    for parsed in (parse_reset(text, NOW), parse_span(text), parse_instant(text)):
        assert parsed is None or math.isfinite(parsed)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "60"}, NOW + 60),
        ({"retry-after": "0.5"}, NOW + 0.5),
        ({"retry-after": "Mon, 21 Sep 2026 20:00:30 GMT"}, NOW + 30),
        ({"retry-after-ms": "1500", "retry-after": "60"}, NOW + 1.5),
        ({"retry-after-ms": "soon", "retry-after": "60"}, NOW + 60),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "later"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert parse_retry_after(headers, NOW) == expected


GROQ = {
    "x-ratelimit-limit-requests": "1000",
    "x-ratelimit-limit-tokens": "12000",
    "x-ratelimit-remaining-requests": "998",
    "x-ratelimit-remaining-tokens": "11961",
    "x-ratelimit-reset-requests": "2m52.8s",
    "x-ratelimit-reset-tokens": "194ms",
}


@pytest.mark.parametrize(
    ("family", "headers", "expected"),
    [
        pytest.param(
            "groq",
            GROQ,
            (Reading("requests", DAY, 1000, 998, NOW + 172.8), Reading("tokens", MINUTE, 12000, 11961, NOW + 0.194)),
            id="groq counts requests per day and tokens per minute",
        ),
        pytest.param(
            "openai",
            GROQ | {"x-ratelimit-remaining-project-tokens": "7"},
            (
                Reading("requests", MINUTE, 1000, 998, NOW + 172.8),
                Reading("tokens", MINUTE, 12000, 11961, NOW + 0.194),
                Reading("tokens", MINUTE, None, 7, None),
            ),
            id="openai counts both per minute",
        ),
        pytest.param(
            "cerebras",
            {
                "x-ratelimit-limit-requests-minute": "5",
                "x-ratelimit-remaining-requests-minute": "4",
                "x-ratelimit-limit-tokens-hour": "1000000",
                "x-ratelimit-remaining-tokens-hour": "2999976",
                "x-ratelimit-limit-requests-day": "2400",
                "x-ratelimit-remaining-requests-day": "2399",
                "x-ratelimit-reset-requests-day": "33011.382867097855",
            },
            (
                Reading("requests", MINUTE, 5, 4),
                Reading("requests", DAY, 2400, 2399, NOW + 33011.382867097855),
                Reading("tokens", Window.HOUR, 1000000, 2999976),
            ),
            id="cerebras, more remaining than the limit included",
        ),
        pytest.param(
            "openrouter",
            {"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1790035200000"},
            (Reading("requests", None, 1000, 0, 1790035200.0),),
            id="openrouter in epoch milliseconds",
        ),
        pytest.param(
            "mistral",
            {
                "x-ratelimit-limit-req-minute": "4",
                "x-ratelimit-remaining-req-minute": "3",
                "x-ratelimit-limit-tokens-minute": "250000",
                "x-ratelimit-remaining-tokens-minute": "249990",
                "x-ratelimit-tokens-query-cost": "10",
            },
            (Reading("requests", MINUTE, 4, 3), Reading("tokens", MINUTE, 250000, 249990)),
            id="mistral without a reset",
        ),
        pytest.param(
            "sambanova",
            {
                "x-ratelimit-limit-requests": "20",
                "x-ratelimit-remaining-requests": "19",
                "x-ratelimit-remaining-requests-day": "18",
                "x-ratelimit-reset-requests-day": "4h17m",
            },
            (Reading("requests", MINUTE, 20, 19), Reading("requests", DAY, None, 18, NOW + 15420)),
            id="sambanova",
        ),
        pytest.param(
            "cohere",
            {
                "x-endpoint-monthly-call-limit": "1000",
                "x-trial-endpoint-call-limit": "20",
                "x-trial-endpoint-call-remaining": "19",
            },
            (Reading("requests", MINUTE, 20, 19), Reading("requests", Window.MONTH, 1000)),
            id="cohere",
        ),
        pytest.param(
            "together",
            {
                "x-ratelimit-limit": "10",
                "x-ratelimit-remaining": "9",
                "x-ratelimit-reset": "1",
                "x-tokenlimit-limit": "3000",
                "x-tokenlimit-remaining": "2000",
            },
            (Reading("requests", Window.SECOND, 10, 9, NOW + 1), Reading("tokens", Window.SECOND, 3000, 2000)),
            id="together counts per second",
        ),
        pytest.param(
            "fireworks",
            {
                "x-ratelimit-limit-requests": "600",
                "x-ratelimit-remaining-requests": "599",
                "x-ratelimit-limit-tokens-prompt": "60000",
                "x-ratelimit-limit-tokens-generated": "6000",
                "x-ratelimit-over-limit": "no",
            },
            (
                Reading("requests", MINUTE, 600, 599),
                Reading("input_tokens", MINUTE, 60000),
                Reading("output_tokens", MINUTE, 6000),
            ),
            id="fireworks",
        ),
        pytest.param(
            "nebius",
            {
                "x-ratelimit-limit-requests": "600",
                "x-ratelimit-remaining-requests": "599",
                "x-ratelimit-limit-tokens": "400000",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-dynamic-scale-requests": "1.00",
            },
            (Reading("requests", MINUTE, 600, 599, NOW + 1), Reading("tokens", MINUTE, 400000)),
            id="nebius",
        ),
        pytest.param(
            "chutes",
            {"x-chutes-quota-total": "300", "x-chutes-quota-remaining": "12", "x-chutes-rl-user": "inf"},
            (Reading("requests", DAY, 300, 12),),
            id="chutes",
        ),
        pytest.param(
            "anthropic",
            {
                "anthropic-ratelimit-requests-limit": "1000",
                "anthropic-ratelimit-requests-remaining": "999",
                "anthropic-ratelimit-input-tokens-limit": "80000",
                "anthropic-ratelimit-input-tokens-remaining": "80000",
                "anthropic-ratelimit-input-tokens-reset": "2026-09-21T20:00:59Z",
                "anthropic-ratelimit-output-tokens-limit": "16000",
                "anthropic-ratelimit-tokens-limit": "96000",
            },
            (
                Reading("requests", MINUTE, 1000, 999),
                Reading("tokens", MINUTE, 96000),
                Reading("input_tokens", MINUTE, 80000, 80000, NOW + 59),
                Reading("output_tokens", MINUTE, 16000),
            ),
            id="anthropic",
        ),
        pytest.param(
            "anthropic_unified",
            {
                "anthropic-ratelimit-unified-5h-utilization": "0.25",
                "anthropic-ratelimit-unified-5h-reset": "1790030000",
                "anthropic-ratelimit-unified-5h-status": "allowed",
                "anthropic-ratelimit-unified-7d-utilization": "1.02",
                "anthropic-ratelimit-unified-7d-status": "allowed_warning",
            },
            (
                Reading("requests", Window.HOUR, 100, 75, 1790030000.0),
                Reading("requests", Window.WEEK, 100, 0),
            ),
            id="anthropic subscription in percent",
        ),
        pytest.param(
            "anthropic_unified",
            {"anthropic-ratelimit-unified-5h-utilization": "0.4", "anthropic-ratelimit-unified-5h-status": "rejected"},
            (Reading("requests", Window.HOUR, 100, 0),),
            id="anthropic subscription that is refused",
        ),
        pytest.param(
            "ietf",
            {
                "ratelimit-policy": '"burst";q=100;w=60, "daily";q=1000;w=86400',
                "ratelimit": '"burst";r=50;t=30',
            },
            (Reading("requests", MINUTE, 100, 50, NOW + 30), Reading("requests", DAY, 1000)),
            id="ietf draft 11",
        ),
        pytest.param(
            "ietf",
            {"ratelimit": '"api";r=9997;t=104', "ratelimit-policy": '"fixed window";"api";q=10000;w=300'},
            (Reading("requests", MINUTE, 10000, 9997, NOW + 104),),
            id="ietf as hugging face writes it",
        ),
        pytest.param(
            "ietf",
            {"ratelimit-policy": 'a;q=5;w=60;qu="tokens", "b";q=9;w=1;qu="content-bytes"', "ratelimit": "a;r=1"},
            (Reading("tokens", MINUTE, 5, 1),),
            id="ietf units",
        ),
        pytest.param(
            "ietf",
            {"ratelimit-limit": "100", "ratelimit-remaining": "1", "ratelimit-reset": "30"},
            (Reading("requests", None, 100, 1, NOW + 30),),
            id="ietf before draft 6",
        ),
        pytest.param(
            "generic",
            {"x-ratelimit-remaining-requests": "1", "x-ratelimit-remaining-tokens-day": "5"},
            (Reading("requests", MINUTE, None, 1), Reading("tokens", DAY, None, 5)),
            id="generic takes any of the common names",
        ),
        pytest.param("none", GROQ, (), id="none reads nothing"),
        pytest.param(
            "groq",
            {
                "x-ratelimit-remaining-requests": "-1",
                "x-ratelimit-limit-tokens": "inf",
                "x-ratelimit-reset-tokens": "1",
            },
            (),
            id="nonsense is passed over",
        ),
        pytest.param(
            "groq",
            {"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "whenever"},
            (Reading("requests", DAY, None, 5, None),),
            id="a good value beside nonsense",
        ),
    ],
)
def test_readings(family: str, headers: dict[str, str], expected: tuple[Reading, ...]) -> None:
    assert read_headers(family, headers, NOW) == expected


NAMES = sorted(
    {
        name
        for rules in FAMILIES.values()
        for rule in rules
        for name in (rule.limit, rule.remaining, rule.reset, rule.used, rule.status, rule.policy)
        if name
    }
)


@settings(deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), st.dictionaries(st.sampled_from(NAMES), st.text(max_size=30)))
def test_no_header_makes_reading_fail(family: str, headers: dict[str, str]) -> None:
    for reading in read_headers(family, headers, NOW):
        assert reading.limit is not None or reading.remaining is not None


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_without_headers_nothing_is_read(family: str) -> None:
    assert read_headers(family, {"content-type": "application/json", "date": "x"}, NOW) == ()


def test_header_names_are_in_lower_case() -> None:
    assert [name for name in NAMES if name != name.lower()] == []
