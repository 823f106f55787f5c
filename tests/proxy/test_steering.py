"""Which flows are led to the gateway, and what may come of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mitmproxy import http, tls
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.view import View
from mitmproxy.options import Options
from mitmproxy.proxy import context
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow, tutils

from chain429.proxy.addon import Addon
from chain429.proxy.flows import STEERED, Kept
from chain429.proxy.steering import Gateway, Steering
from chain429.web.covered import ORIGIN_HEADER, TICKET_HEADER
from tests.proxy.conftest import GATEWAY, TOKEN, opening, request


def destination(flow: http.HTTPFlow) -> tuple[str, str, int]:
    return flow.request.scheme, flow.request.host, flow.request.port


@pytest.mark.parametrize(
    ("url", "host", "mode"),
    [
        ("https://api.openai.com/v1/models", None, "regular"),
        ("http://chain429.internal/v1/models", None, "regular"),
        ("http://chain429.internal/v1/models", None, "socks5"),
        ("https://192.0.2.1/v1/models", "API.openai.com.", "transparent"),
        ("https://api.openai.com/v1/models", None, "upstream:http://proxy.example:3128"),
        ("https://api.openai.com/v1/models", None, "reverse:https://api.openai.com"),
        ("https://api.openai.com/v1/models", "127.0.0.1:8080", "reverse:https://api.openai.com"),
    ],
)
def test_a_covered_host_is_led_to_the_gateway(steering: Steering, url: str, host: str | None, mode: str) -> None:
    flow = request(url, headers={"host": host} if host else {}, mode=mode)
    steering.requestheaders(flow)
    assert destination(flow) == ("http", *GATEWAY)
    assert flow.response is None
    assert "authorization" not in flow.request.headers


@pytest.mark.parametrize(
    ("url", "host", "mode"),
    [
        ("https://example.com/v1/models", None, "regular"),
        ("http://127.0.0.1:9999/v1/models", None, "reverse:http://127.0.0.1:9999"),
        # Where a reverse proxy leads is the user's decision, whatever a client calls it.
        ("http://127.0.0.1:9999/v1/models", "api.openai.com", "reverse:http://127.0.0.1:9999"),
    ],
)
def test_what_is_not_covered_is_left_alone(steering: Steering, url: str, host: str | None, mode: str) -> None:
    flow = request(url, headers={"host": host} if host else {}, mode=mode)
    before = flow.get_state()
    steering.requestheaders(flow)
    assert flow.get_state() == before


def dead(flow: http.HTTPFlow) -> None:
    flow.live = False


def answered(flow: http.HTTPFlow) -> None:
    flow.response = tutils.tresp()


def failed(flow: http.HTTPFlow) -> None:
    flow.error = tflow.terr()


@pytest.mark.parametrize("befall", [dead, answered, failed])
def test_what_others_have_dealt_with_only_loses_its_key(
    steering: Steering, befall: Callable[[http.HTTPFlow], None]
) -> None:
    flow = request()
    befall(flow)
    steering.requestheaders(flow)
    assert destination(flow) == ("https", "api.openai.com", 443)
    assert STEERED not in flow.metadata
    assert "authorization" not in flow.request.headers


@pytest.mark.parametrize(
    ("url", "mode", "ticket"),
    [
        ("https://api.openai.com/v1/models", "regular", "a-ticket"),
        ("https://API.openai.com:443/v1/models", "regular", "a-ticket"),
        ("http://127.0.0.1:9/v1/models", "reverse:https://api.openai.com", "a-ticket"),
        ("https://chain429.internal/v1/models", "regular", None),
    ],
)
def test_a_key_is_lent_for_the_host_that_was_asked_and_leaves_the_flow(
    steering: Steering, url: str, mode: str, ticket: str | None
) -> None:
    flow = request(url, headers={"x-lent": "yes", TICKET_HEADER: "made up"}, mode=mode)
    steering.requestheaders(flow)
    assert destination(flow) == ("http", *GATEWAY)
    assert flow.request.headers.get(TICKET_HEADER) == ticket
    assert "sk-tool" not in repr(flow.get_state())


@pytest.mark.parametrize("befall", [dead, answered, failed])
def test_no_key_is_lent_for_what_others_have_dealt_with(
    steering: Steering, befall: Callable[[http.HTTPFlow], None]
) -> None:
    flow = request(headers={"x-lent": "yes"})
    befall(flow)
    steering.requestheaders(flow)
    assert TICKET_HEADER not in flow.request.headers


def test_no_key_is_lent_by_a_web_page(steering: Steering) -> None:
    flow = request(headers={"x-lent": "yes", "origin": "https://evil.example"})
    steering.requestheaders(flow)
    assert flow.response
    assert TICKET_HEADER not in flow.request.headers


def test_what_is_observed_keeps_its_keys_out_of_the_flow(steering: Steering) -> None:
    flow = request(
        "https://observed.example:8443/v1/models?key=sk-tool&b=1",
        headers={ORIGIN_HEADER: "https://made.up", TICKET_HEADER: "made up", "cookie": "a=b"},
    )
    steering.requestheaders(flow)
    assert destination(flow) == ("http", *GATEWAY)
    assert flow.request.headers[ORIGIN_HEADER] == "https://observed.example:8443"
    # What the gateway was handed is the ticket itself here.
    assert flow.request.headers[TICKET_HEADER] == (
        "a-ticket for /v1/models?key=sk-tool&b=1 with {'authorization': 'Bearer sk-tool', 'cookie': 'a=b'}"
    )
    del flow.request.headers[TICKET_HEADER]
    assert "sk-tool" not in repr(flow.get_state())


@pytest.mark.parametrize(
    ("url", "mode", "origin"),
    [
        ("https://chain429.internal/v1/models", "regular", "https://chain429.internal"),
        ("http://127.0.0.1:9/v1/models", "reverse:http://chain429.internal:8000", "http://chain429.internal:8000"),
        # Nothing is said of that one, so it makes no difference.
        ("https://api.openai.com/v1/models", "regular", None),
    ],
)
def test_the_gateway_is_told_where_it_was_going(steering: Steering, url: str, mode: str, origin: str | None) -> None:
    flow = request(url, headers={ORIGIN_HEADER: "https://made.up"}, mode=mode)
    steering.requestheaders(flow)
    assert flow.request.headers.get(ORIGIN_HEADER) == origin


def test_over_http2_the_body_is_told_an_end(steering: Steering) -> None:
    endless, long = request(), request(headers={"content-length": "5"})
    for flow in (endless, long):
        flow.request.http_version = "HTTP/2.0"
        del flow.request.headers["host"]
        steering.requestheaders(flow)
    assert endless.request.headers["transfer-encoding"] == "chunked"
    assert "transfer-encoding" not in long.request.headers


@pytest.mark.parametrize(
    "befoul",
    [
        lambda sent: sent.headers.update({"x-a": "b\r\nx: y"}),
        lambda sent: sent.headers.update({"x-a\r\nx": "y"}),
        lambda sent: sent.headers.update({"x-a ": "y"}),
        lambda sent: setattr(sent, "path", "/ HTTP/1.1\r\nx: y"),
        lambda sent: setattr(sent, "method", "GET /x"),
    ],
)
def test_what_would_end_a_line_is_refused(steering: Steering, befoul: Callable[[http.Request], None]) -> None:
    flow = request()
    befoul(flow.request)
    steering.requestheaders(flow)
    assert flow.response
    assert flow.response.status_code == 400
    assert STEERED not in flow.metadata


def test_a_client_elsewhere_needs_a_token_which_goes_no_further(steering: Steering) -> None:
    stranger, friend, admitted = (request(local=False, mode="reverse:https://api.openai.com") for _ in range(3))
    friend.request.headers["authorization"] = f"Bearer {TOKEN}"
    admitted.metadata["proxyauth"] = ("user", "password")
    for flow in (stranger, friend, admitted):
        steering.requestheaders(flow)
        assert "authorization" not in flow.request.headers
    assert stranger.response
    assert stranger.response.status_code == 401
    assert destination(stranger)[1] == "api.openai.com"
    for flow in (friend, admitted):
        assert flow.response is None
        assert destination(flow) == ("http", *GATEWAY)


@pytest.mark.parametrize(
    ("headers", "served"),
    [
        ({}, True),
        ({"origin": "vscode-file://vscode-app"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "http://localhost:3000"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        # A page whose host's name has come to mean this machine.
        ({"sec-fetch-site": "same-origin"}, False),
        ({"origin": "https://mine.example", "authorization": f"Bearer {TOKEN}"}, True),
    ],
)
def test_a_web_page_in_the_users_browser_needs_a_token(
    steering: Steering, headers: dict[str, str], served: bool
) -> None:
    flow = request(mode="reverse:https://api.openai.com", headers=headers)
    steering.requestheaders(flow)
    assert (destination(flow) == ("http", *GATEWAY)) is served
    assert (flow.response is None) is served


def test_covered_hosts_are_not_reached_while_there_is_no_gateway() -> None:
    steering = Steering()
    flow, other = request(), request("https://example.com/")
    steering.requestheaders(flow)
    steering.requestheaders(other)
    assert flow.response
    assert flow.response.status_code == 503
    assert other.response is None


@pytest.mark.parametrize(
    ("sni", "address", "mode", "ignored"),
    [
        ("example.com", ("example.com", 443), "regular", True),
        (None, ("example.com", 443), "regular", True),
        ("example.com", ("api.openai.com", 443), "regular", True),
        ("api.openai.com", ("api.openai.com", 443), "regular", False),
        ("api.openai.com", ("192.0.2.1", 443), "transparent", False),
        (None, ("api.openai.com", 443), "regular", False),
        # TLS with the proxy itself, before anything was asked of it.
        ("proxy.example", None, "regular", False),
        ("localhost", ("api.openai.com", 443), "reverse:https://api.openai.com", False),
        ("localhost", ("127.0.0.1", 9999), "reverse:http://127.0.0.1:9999", False),
    ],
)
def test_tls_of_other_hosts_stays_unopened(
    steering: Steering, sni: str | None, address: tuple[str, int] | None, mode: str, ignored: bool
) -> None:
    client = tflow.tclient_conn()
    client.proxy_mode = ProxyMode.parse(mode)
    around = context.Context(client, Options())
    around.server.address = address
    data = tls.ClientHelloData(around, tls.ClientHello(hello(sni)))
    steering.tls_clienthello(data)
    assert data.ignore_connection is ignored


def test_a_tool_that_does_not_trust_the_proxy_is_said_once(
    steering: Steering, options: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    for host, error in (
        ("api.openai.com", "The client does not trust the proxy's certificate for api.openai.com (unknown ca)"),
        ("api.openai.com", "The client may not trust the proxy's certificate for api.openai.com (closed)"),
        ("api.anthropic.com", "Client and mitmproxy cannot agree on a TLS version to use."),
        ("elsewhere.test", "The client does not trust the proxy's certificate for elsewhere.test (unknown ca)"),
    ):
        client = tflow.tclient_conn()
        client.sni, client.error = host, error
        steering.tls_failed_client(tls.TlsData(client, context.Context(client, Options())))
    assert [record.getMessage() for record in caplog.records] == [
        "a tool that calls https://api.openai.com does not trust the proxy's certificate: start it with "
        "'chain429 run', or see 'chain429 ca'"
    ]


def hello(sni: str | None) -> bytes:
    """A ClientHello without its record's and its handshake's header, as mitmproxy takes it."""
    name = sni.encode() if sni else b""
    entry = b"\x00" + len(name).to_bytes(2, "big") + name
    listed = len(entry).to_bytes(2, "big") + entry
    extension = b"\x00\x00" + len(listed).to_bytes(2, "big") + listed if sni else b""
    return (
        b"\x03\x03"
        + bytes(32)
        + b"\x00"
        + b"\x00\x02\x13\x01"
        + b"\x01\x00"
        + len(extension).to_bytes(2, "big")
        + extension
    )


def test_an_answer_is_streamed_and_the_flow_says_what_it_was(steering: Steering, options: Callable[..., None]) -> None:
    flow = request()
    steering.requestheaders(flow)
    flow.response = answer()
    steering.responseheaders(flow)
    assert flow.response.stream is True
    assert flow.comment == "groq/m, 2 attempts"


def test_answers_of_others_are_not_touched(steering: Steering, options: Callable[..., None]) -> None:
    flow = request("https://example.com/")
    flow.response = answer()
    steering.responseheaders(flow)
    assert flow.response.stream is False
    assert flow.comment == ""


@pytest.mark.parametrize("end", ["response", "error"])
async def test_where_flows_are_shown_the_streamed_text_is_kept(steering: Steering, end: str) -> None:
    with taddons.context(Proxyserver(), View(), Addon({})):
        flow = request()
        steering.requestheaders(flow)
        flow.response = answer()
        steering.responseheaders(flow)
    stream = flow.response.stream
    assert isinstance(stream, Kept)
    assert [stream(piece) for piece in (b"data: 1\n\n", b"data: 2\n\n", b"")] == [b"data: 1\n\n", b"data: 2\n\n", b""]
    getattr(steering, end)(flow)
    assert flow.response.content == b"data: 1\n\ndata: 2\n\n"


def test_the_gateway_knows_the_proxys_connections_while_they_are_open(steering: Steering, gateway: Gateway) -> None:
    flow = request()
    steering.requestheaders(flow)
    data = opening(flow, GATEWAY)
    steering.server_connected(data)
    assert gateway.proxied == {("127.0.0.1", 60_000)}
    steering.server_disconnected(data)
    assert gateway.proxied == set()


def test_no_other_connection_is_vouched_for(steering: Steering, gateway: Gateway) -> None:
    led, other = request(), request("https://example.com/")
    other.client_conn.peername = ("127.0.0.1", 50_001)
    for flow in (led, other):
        steering.requestheaders(flow)
    # Elsewhere, for a client whose request was led to the gateway; to the gateway, for one whose was not.
    for data in (opening(led, ("example.com", 80)), opening(other, GATEWAY)):
        assert not steering.is_led(data)
        steering.server_connected(data)
    # And nothing more for a client that has left, whose port may be another's now.
    steering.client_disconnected(led.client_conn)
    steering.server_connected(opening(led, GATEWAY))
    assert gateway.proxied == set()


def answer() -> http.Response:
    fields = {"x-chain429-provider": "groq", "x-chain429-model": "m", "x-chain429-attempts": "2"}
    return http.Response.make(200, b"", fields)
