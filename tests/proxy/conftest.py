"""Flows and connections as mitmproxy makes them, without a proxy and a port.

Fixtures that make a context of mitmproxy are asynchronous, for it makes a loop of its own where none runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import pytest
from mitmproxy import connection, http
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.save import Save
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.test import taddons, tflow, tutils

from chain429.proxy.addon import Addon
from chain429.proxy.steering import Gateway, Steering
from chain429.web.covered import Taken

GATEWAY = ("127.0.0.1", 4290)
TOKEN = "c429_of-a-client"


def request(
    url: str = "https://api.openai.com/v1/chat/completions",
    *,
    headers: Mapping[str, str] | None = None,
    mode: str = "regular",
    peer: str = "192.0.2.7",
    local: bool = True,
) -> http.HTTPFlow:
    """A live flow whose headers have just arrived."""
    sent = http.Headers([(b"Host", b"set below"), (b"Authorization", b"Bearer sk-tool")])
    flow = tflow.tflow(req=tutils.treq(headers=sent))
    flow.request.url = url
    flow.request.headers.update(headers or {})
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    flow.client_conn.peername = ("127.0.0.1" if local else peer, 50_000)
    flow.live = True
    return flow


def opening(flow: http.HTTPFlow, address: tuple[str, int], peer: str | None = None) -> ServerConnectionHookData:
    """A connection that mitmproxy opens for a flow; ``peer`` is the IP address that it came to."""
    server = connection.Server(address=address)
    server.sockname = ("127.0.0.1", 60_000)
    server.peername = (peer or address[0], address[1])
    return ServerConnectionHookData(server=server, client=flow.client_conn)


@pytest.fixture
def gateway() -> Gateway:
    def knows(headers: Mapping[str, str]) -> bool:
        return headers.get("authorization") == f"Bearer {TOKEN}"

    def lend(headers: Mapping[str, str], host: str) -> str | None:
        return "a-ticket" if "x-lent" in headers and host == "api.openai.com" else None

    def hand(taken: Taken) -> str:
        return f"a-ticket for {taken.path} with {dict(taken.headers)}"

    hosts = {"api.openai.com": "", "chain429.internal": "fast", "observed.example": "observe"}
    return Gateway(GATEWAY, lambda: hosts, knows, set(), {}, lend, lambda: False, hand)


@pytest.fixture
def steering(gateway: Gateway) -> Steering:
    steering = Steering()
    steering.gateway = gateway
    return steering


@pytest.fixture
async def options() -> AsyncIterator[Callable[..., None]]:
    """mitmproxy's options, those of the addon with them; call it to set some."""
    with taddons.context(Proxyserver(), ProxyAuth(), Save(), Addon({})) as context:
        yield context.options.update


class Writer:
    """The sending half of a connection, as far as closing it goes."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


@dataclass
class Transport:
    writer: Writer


@dataclass
class Handler:
    transports: dict[connection.Connection, Transport]


@pytest.fixture
async def proxyserver() -> AsyncIterator[Callable[[ServerConnectionHookData], Writer]]:
    """Makes mitmproxy have this connection; gives what would close it."""
    server = Proxyserver()
    with taddons.context(server, ProxyAuth(), Save(), Addon({})):

        def has(data: ServerConnectionHookData) -> Writer:
            writer = Writer()
            server.connections[data.client.id] = Handler({data.server: Transport(writer)})  # type: ignore[assignment]
            return writer

        yield has
