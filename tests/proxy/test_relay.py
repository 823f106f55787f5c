from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import connection, options
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import ClientTLSLayer, TCPLayer, modes
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode, HttpStream
from mitmproxy.proxy.mode_specs import ProxyMode

from chain429.proxy.relay import Relay, inspected
from chain429.proxy.steering import Gateway, Steering
from tests.proxy.conftest import GATEWAY

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n"


def hello(*protocols: str) -> bytes:
    """The first bytes of TLS from a client that offers these protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="api.openai.com").do_handshake()
    return outgoing.read()


def context_of(mode: str, *, host: str = "api.openai.com", peer: str = "127.0.0.1") -> Context:
    client = connection.Client(
        peername=(peer, 50_000), sockname=("127.0.0.1", 8080), proxy_mode=ProxyMode.parse(mode), timestamp_start=0.0
    )
    context = Context(client, options.Options())
    context.server.address = (host, 443)
    return context


def reverse(**changes: Any) -> Context:
    context = context_of("reverse:http://chain429.internal@8081", **changes)
    modes.ReverseProxy(context)
    return context


def connected(**changes: Any) -> Context:
    """After CONNECT."""
    context = context_of("regular", **changes)
    modes.HttpProxy(context)
    HttpStream(HttpLayer(context, HTTPMode.regular).context.fork(), 1)
    stream = HttpStream.__new__(HttpStream)
    context.layers = [context.layers[0], context.layers[1], stream]
    return context


def inside(**changes: Any) -> Context:
    """After CONNECT, inside of TLS that was begun for the relay."""
    context = connected(**changes)
    ClientTLSLayer(context)
    return context


def chosen(relay: Relay, context: Context, data: bytes) -> layer.Layer | None:
    nextlayer = layer.NextLayer(context)
    nextlayer.events.append(events.DataReceived(context.client, data))
    relay.next_layer(nextlayer)
    return nextlayer.layer


@pytest.fixture
def relay(steering: Steering, options: Callable[..., None]) -> Relay:
    return Relay(steering)


async def test_in_reverse_mode_the_bytes_go_to_the_gateway_as_they_are(relay: Relay, gateway: Gateway) -> None:
    context = reverse()
    found = chosen(relay, context, REQUEST)
    assert isinstance(found, TCPLayer)
    assert (context.server.address, context.server.tls) == (GATEWAY, False)


async def test_after_connect_tls_is_answered_and_what_is_inside_goes_to_the_gateway(relay: Relay) -> None:
    assert isinstance(chosen(relay, connected(), hello("http/1.1")), ClientTLSLayer)
    assert isinstance(chosen(relay, connected(), hello()), ClientTLSLayer)
    context = inside()
    assert isinstance(chosen(relay, context, REQUEST), TCPLayer)
    assert context.server.address == GATEWAY


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (connected, hello("h2", "http/1.1")),
        (connected, hello("http/1.1")[:40]),
        (connected, REQUEST),
        (lambda: connected(host="example.com"), hello("http/1.1")),
        (lambda: connected(peer="192.0.2.7"), hello("http/1.1")),
        (lambda: reverse(peer="192.0.2.7"), REQUEST),
        (reverse, b"PRI * HTTP/2.0\r\n\r\n"),
        (reverse, hello("http/1.1")),
        (reverse, b""),
        (lambda: context_of("socks5"), REQUEST),
    ],
    ids=lambda _: "",  # the bytes of TLS are others each time
)
async def test_what_goes_over_the_http_layer(relay: Relay, make: Callable[[], Context], data: bytes) -> None:
    context = make()
    address = context.server.address
    assert chosen(relay, context, data) is None
    assert context.server.address == address


async def test_nothing_is_relayed_while_there_is_no_gateway_or_keys_must_be_taken_out(
    steering: Steering, gateway: Gateway, options: Callable[..., None]
) -> None:
    steering.gateway = None
    assert chosen(Relay(steering), reverse(), REQUEST) is None
    steering.gateway = replace(gateway, passing=lambda: True)
    assert chosen(Relay(steering), reverse(), REQUEST) is None


async def test_what_another_addon_has_decided_stays(relay: Relay) -> None:
    context = reverse()
    nextlayer = layer.NextLayer(context)
    nextlayer.events.append(events.DataReceived(context.client, REQUEST))
    decided = nextlayer.layer = TCPLayer(context_of("regular"))
    relay.next_layer(nextlayer)
    assert nextlayer.layer is decided


@pytest.mark.parametrize(
    ("told", "looks"),
    [
        ({}, False),
        ({"save_stream_file": "flows"}, True),
        ({"proxyauth": "any"}, True),
        ({"chain429_inspect": "always"}, True),
        ({"chain429_inspect": "never", "save_stream_file": "flows"}, False),
    ],
)
async def test_who_looks_at_flows_gets_them(
    options: Callable[..., None], tmp_path: Path, told: dict[str, str], looks: bool
) -> None:
    if "save_stream_file" in told:
        told = {**told, "save_stream_file": str(tmp_path / "flows")}
    options(**told)
    assert inspected() is looks
    options(save_stream_file=None)  # which closes it
