"""What is done to one flow."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http

from chain429.proxy.flows import STEERED, Kept, annotate, covered, drop_credentials, refuse, steer
from tests.proxy.conftest import GATEWAY, request

HOSTS = ("api.openai.com", "chain429.internal")


@pytest.mark.parametrize(
    ("host", "is_covered"),
    [
        ("api.openai.com", True),
        ("API.OpenAI.com", True),
        ("api.openai.com.", True),
        ("api.openai.com:443", True),
        ("Api.Openai.Com.:8443", True),
        ("chain429.internal", True),
        ("openai.com", False),
        ("xapi.openai.com", False),
        ("api.openai.com.example", False),
        ("api.openai.com:x", False),
        ("[::1]:443", False),
        ("::1", False),
        ("", False),
        (None, False),
    ],
)
def test_covered(host: str | None, is_covered: bool) -> None:
    assert covered(host, HOSTS) is is_covered


@given(st.sampled_from(HOSTS), st.sets(st.integers(0, 16)), st.sampled_from(["", ".", ":443", ".:80"]))
def test_writing_a_host_differently_makes_no_difference(host: str, upper: set[int], end: str) -> None:
    written = "".join(char.upper() if place in upper else char for place, char in enumerate(host)) + end
    assert covered(written, HOSTS)


def test_credentials_are_dropped_and_all_else_stays() -> None:
    sent = [
        (b"Authorization", b"Bearer sk-tool"),
        (b"authorization", b"Basic dXNlcjpzay10b29s"),
        (b"X-Api-Key", b"sk-tool"),
        (b"api-key", b"sk-tool"),
        (b"x-goog-api-key", b"sk-tool"),
        (b"Cookie", b"session=sk-tool"),
        (b"x-chain429-token", b"sk-tool"),
        (b"Content-Type", b"application/json"),
    ]
    flow = request("https://api.openai.com/v1/models?limit=2&key=sk-tool&api_key=sk-tool&after=a%2Fb")
    flow.request.headers = http.Headers(sent)
    drop_credentials(flow.request)
    assert flow.request.headers.fields == ((b"Content-Type", b"application/json"),)
    assert flow.request.path == "/v1/models?limit=2&after=a%2Fb"
    assert "sk-tool" not in repr(flow.request.get_state())


def test_a_path_without_keys_is_sent_as_it_came() -> None:
    flow = request("https://api.openai.com/v1/models?a=b%20c&&d")
    drop_credentials(flow.request)
    assert flow.request.path == "/v1/models?a=b%20c&&d"


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("[x?key=sk-tool&a=[", "[x?a=["),
        ("@[::1?a&%6bey=sk-tool", "@[::1?a"),
        ("//[?KEY=sk-tool", "//["),
        ("*?api_key=sk-tool&&key=", "*?"),
    ],
)
def test_keys_are_taken_out_of_what_http2_brings_as_a_path_and_is_none(path: str, left: str) -> None:
    flow = request()
    flow.request.path = path
    drop_credentials(flow.request)
    assert flow.request.path == left


def test_a_steered_flow_is_still_shown_by_the_name_asked_for() -> None:
    flow = request()
    flow.server_conn.via = ("http", ("proxy.example", 3128))
    steer(flow, GATEWAY)
    assert (flow.request.scheme, flow.request.host, flow.request.port) == ("http", "127.0.0.1", 4290)
    assert flow.request.pretty_host == "api.openai.com"
    assert flow.request.path == "/v1/chat/completions"
    assert flow.server_conn.via is None
    assert STEERED in flow.metadata


@pytest.mark.parametrize(
    ("headers", "comment", "marked"),
    [
        (
            {"provider": "groq", "model": "openai/gpt-oss-120b", "attempts": "2", "chain": "default"},
            "default -> groq/openai/gpt-oss-120b, 2 attempts",
            True,
        ),
        ({"provider": "groq", "model": "m", "attempts": "1"}, "groq/m, 1 attempt", False),
        (
            {"provider": "p", "model": "m", "attempts": "1", "request-id": "req_1"},
            "p/m, 1 attempt (req_1)",
            False,
        ),
        ({"attempts": "3"}, "nothing left, 3 attempts", True),
        ({"attempts": "0"}, "nothing left, 0 attempts", False),
        ({}, "", False),
        ({"attempts": "many"}, "", False),
    ],
)
def test_annotate(headers: dict[str, str], comment: str, marked: bool) -> None:
    flow = request()
    annotate(flow, {f"x-chain429-{name}": value for name, value in headers.items()})
    assert (flow.comment, bool(flow.marked)) == (comment, marked)


def test_a_flow_that_is_sent_again_and_served_at_once_loses_its_mark() -> None:
    flow, own = request(), request()
    own.marked = ":grapes:"
    annotate(flow, {"x-chain429-attempts": "2"})
    for each in (flow, own):
        annotate(each, {"x-chain429-attempts": "1"})
    assert (flow.marked, own.marked) == ("", ":grapes:")


def test_a_refusal_is_worded_as_sdks_expect() -> None:
    flow = request()
    refuse(flow, 401, "No token.", "invalid_api_key")
    assert flow.response
    assert flow.response.status_code == 401
    assert flow.response.headers["content-type"] == "application/json"
    error = json.loads(flow.response.content or b"")["error"]
    assert (error["message"], error["code"], error["type"]) == ("No token.", "invalid_api_key", "authentication_error")


@given(st.lists(st.binary()))
def test_what_is_kept_is_what_was_passed_on(pieces: list[bytes]) -> None:
    kept = Kept()
    assert [kept(piece) for piece in pieces] == pieces
    assert kept.content() == b"".join(pieces)


def test_too_long_a_stream_is_passed_on_but_not_kept() -> None:
    kept, piece = Kept(), bytes(1024 * 1024)
    assert all(kept(piece) is piece for _ in range(9))
    assert kept.content() is None
