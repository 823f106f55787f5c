from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import quote

import pytest
from mitmproxy import ctx, http
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.save import Save
from mitmproxy.test import taddons

from chain429.observer import Sent
from chain429.proxy.addon import Addon
from chain429.proxy.attempts import Attempts, attempt_flow
from chain429.redact import Redactor
from chain429.routing.chain import Target
from chain429.routing.outcome import SERVED, Kind, Outcome
from chain429.upstream import UpstreamRequest
from chain429.wire.own import OwnKey
from tests.fakes import FakeClock, settle

KEY = "a-provider's+key/0123"
OWN = OwnKey("a-caller's-key-0123", "", {}, "caller")
STREAM = {"content-type": "text/event-stream"}


def sent(url: str = "https://api.groq.com/openai/v1/chat/completions", body: bytes = b"{}", **headers: str) -> Sent:
    shown = {"authorization": f"Bearer {KEY}", **headers}
    target = Target("groq", "m", "groq/KEY", "groq", "m")
    return Sent("req_1", 2, "default", target, UpstreamRequest(url, shown, body, 5.0), True, None)


class Watching:
    """An addon that notes each hook, and what the flow was by then; it also meddles, as addons do."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int | None, str | None]] = []
        self.flows: list[http.HTTPFlow] = []

    def _note(self, hook: str, flow: http.HTTPFlow) -> None:
        status = flow.response.status_code if flow.response else None
        self.heard.append((hook, status, flow.error.msg if flow.error else None))
        if flow not in self.flows:
            self.flows.append(flow)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self._note("requestheaders", flow)

    def request(self, flow: http.HTTPFlow) -> None:
        self._note("request", flow)
        flow.response = http.Response.make(418)
        flow.intercept()

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        self._note("responseheaders", flow)

    def response(self, flow: http.HTTPFlow) -> None:
        self._note("response", flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._note("error", flow)


@asynccontextmanager
async def looking(**options: object) -> AsyncIterator[tuple[Attempts, Watching]]:
    watching = Watching()
    addons = (Proxyserver(), ProxyAuth(), Save(), Addon({}), watching)
    with taddons.context(*addons) as context:
        context.options.update(**{name: value for name, value in options.items() if name in context.options})
        attempts = Attempts(Redactor([KEY]), FakeClock())
        yield attempts, watching
        await attempts.close()


async def test_an_attempt_goes_the_way_of_all_flows_and_nothing_can_hold_it_up_or_answer_it() -> None:
    async with looking() as (attempts, watching):
        attempt = attempts.begins(sent())
        await settle()
        assert watching.heard == [("requestheaders", None, None), ("request", None, None)]
        attempt.answered(429, {"content-type": "application/json"})
        attempt.received(b'{"error": 1}')
        attempt.complete()
        attempt.ended(Outcome.of(Kind.RATE_LIMITED, "too many requests"), "too many requests")
        await settle()
        assert watching.heard[2:] == [("responseheaders", 429, None), ("response", 429, None)]
        (flow,) = watching.flows
        assert flow.response
        assert flow.response.content == b'{"error": 1}'
        assert flow.comment == "attempt 2 of req_1 (default): groq/m (groq/KEY): too many requests"
        assert not flow.intercepted
        assert flow.request.pretty_url == "https://api.groq.com/openai/v1/chat/completions"


@pytest.mark.parametrize(
    ("answered", "outcome", "heard"),
    [
        (False, Outcome.of(Kind.FAILED, "no connection"), [("error", None, "no connection")]),
        (True, Outcome.of(Kind.BROKEN, ""), [("responseheaders", 200, None), ("error", 200, "broken")]),
        (True, SERVED, [("responseheaders", 200, None), ("response", 200, None)]),
    ],
)
async def test_what_did_not_come_to_its_end_is_an_error_unless_it_served(
    answered: bool, outcome: Outcome, heard: list[tuple[str, int | None, str | None]]
) -> None:
    async with looking() as (attempts, watching):
        attempt = attempts.begins(sent())
        if answered:
            attempt.answered(200, STREAM)
        attempt.ended(outcome, outcome.reason)
        await settle()
        assert watching.heard[2:] == heard


@pytest.mark.parametrize(
    ("store", "status", "headers", "shown"),
    [
        (True, 200, STREAM, b"data: 1\n\n"),
        (False, 200, STREAM, None),
        (False, 200, {"content-type": "application/json"}, b"data: 1\n\n"),
        (False, 500, STREAM, b"data: 1\n\n"),
    ],
)
async def test_streamed_bodies_are_kept_where_mitmproxy_is_told_to(
    store: bool, status: int, headers: Mapping[str, str], shown: bytes | None
) -> None:
    async with looking(store_streamed_bodies=store) as (attempts, watching):
        if shown is None and not hasattr(ctx.options, "store_streamed_bodies"):
            pytest.skip("this version of mitmproxy has no such option")
        attempt = attempts.begins(sent())
        attempt.answered(status, headers)
        for piece in (b"data: ", b"1\n\n"):
            attempt.received(piece)
        attempt.ended(SERVED, "")
        await settle()
        assert watching.flows[0].response
        assert watching.flows[0].response.content == shown


async def test_no_key_gets_into_a_flow() -> None:
    async with looking(store_streamed_bodies=True) as (attempts, watching):
        url = f"https://u:{quote(KEY, '')}@h.example:8443/v1/x?key=1&a=b%20c&token={quote(KEY, '')}&again={KEY}"
        body = f'{{"user": "{KEY} and {OWN.bearer}"}}'.encode()
        told = sent(url, body, **{"X-API-Key": OWN.bearer, "x-custom": f"key {KEY}", "x-auth-token": "short"})
        attempt = attempts.begins(replace(told, own=OWN))
        attempt.answered(200, {**STREAM, "Set-Cookie": "session=1", "x-echo": OWN.bearer})
        # A key may come in two pieces.
        attempt.received(f"{OWN.bearer} {KEY[:5]}".encode())
        attempt.received(KEY[5:].encode() + b" rest \xff")
        attempt.ended(Outcome.of(Kind.BROKEN, "cut"), "cut")
        await settle()
        (flow,) = watching.flows
        state = str(flow.get_state())
        for secret in (KEY, quote(KEY, ""), OWN.bearer, "session=1"):
            assert secret not in state
        assert flow.request.headers["x-auth-token"] == "[redacted]"
        assert flow.request.host == "h.example"
        assert flow.request.path == "/v1/x?key=[redacted]&a=b%20c&token=[redacted]&again=[redacted]"
        assert flow.request.headers["x-custom"] == "key [redacted]"
        assert flow.response
        assert flow.response.content == b"[redacted] [redacted] rest \xff"


def test_a_decoded_body_is_not_said_to_be_encoded() -> None:
    flow = attempt_flow(sent("http://[::1]:11434/v1/x"), 7.0, str)
    assert (flow.request.pretty_host, flow.request.port, flow.request.headers["host"]) == ("::1", 11434, "[::1]:11434")
    assert flow.server_conn.address == ("::1", 11434)
    assert (flow.server_conn.tls, flow.timestamp_start) == (False, 7.0)
