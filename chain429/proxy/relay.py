"""The short way: when nobody looks at flows, the bytes of requests for covered hosts go to the gateway as they are,
past mitmproxy's HTTP layer, which costs several times as much as the gateway itself.

It is taken in reverse mode, and after CONNECT inside of TLS, for clients on this machine that speak HTTP/1. HTTP/2, and
plain requests through the proxy, go over the HTTP layer, as do all while somebody looks.
"""

from __future__ import annotations

from typing import Protocol

from mitmproxy import ctx
from mitmproxy.connection import Address, Client
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import ClientTLSLayer, TCPLayer
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.proxy.layers.tls import parse_client_hello
from mitmproxy.proxy.mode_specs import RegularMode, ReverseMode

from chain429.proxy.fence import is_loopback
from chain429.proxy.flows import origin_of, plain_host
from chain429.proxy.host import addon
from chain429.web.covered import Origin

INSPECT = ("auto", "always", "never")

# Options of mitmproxy that do something to flows; where one is set, there must be flows.
_ABOUT_FLOWS = (
    *("save_stream_file", "hardump", "proxyauth", "server_replay", "client_replay", "map_remote", "map_local"),
    *("modify_body", "modify_headers", "stickyauth", "stickycookie", "block_list", "intercept", "ignore_hosts"),
    *("allow_hosts", "tcp_hosts", "upstream_auth"),
)
_HTTP2 = b"PRI"


class Lead(Protocol):
    """What decides where connections are led; see ``steering``."""

    def covers(self, host: str | None) -> bool: ...

    def relay_to(self, client: Client, origin: Origin) -> Address | None:
        """The gateway's address, noted for this client's connections; None while it can't be led there."""


class Relay:
    """Takes the short way where it may be taken."""

    name = "chain429-relay"

    def __init__(self, lead: Lead) -> None:
        self._lead = lead

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        context, data = nextlayer.context, nextlayer.data_client()  # type: ignore[no-untyped-call]
        if nextlayer.layer is not None or not data or not self._may_pass(context):
            return
        if isinstance(context.client.proxy_mode, ReverseMode):
            if len(context.layers) == 1 and not starts_like_tls_record(data) and not data.startswith(_HTTP2):
                nextlayer.layer = self._straight(context)
        elif isinstance(context.layers[-1], HttpStream):
            if starts_like_tls_record(data) and not _offers_http2(data):
                # Without a layer for TLS to the server: that one would begin it with the gateway.
                nextlayer.layer = ClientTLSLayer(context)
        elif isinstance(context.layers[-1], ClientTLSLayer) and isinstance(context.layers[-2], HttpStream):
            nextlayer.layer = self._straight(context)

    def _may_pass(self, context: Context) -> bool:
        client = context.client
        if not isinstance(client.proxy_mode, RegularMode | ReverseMode) or not is_loopback(client.peername):
            return False
        asked = client.proxy_mode.address if isinstance(client.proxy_mode, ReverseMode) else context.server.address
        return asked is not None and self._lead.covers(asked[0]) and not inspected()

    def _straight(self, context: Context) -> layer.Layer | None:
        mode, server = context.client.proxy_mode, context.server
        if isinstance(mode, ReverseMode):
            origin = origin_of(mode)
        else:
            assert server.address
            origin = Origin("https", plain_host(server.address[0]), server.address[1])
        address = self._lead.relay_to(context.client, origin)
        if address is None:
            return None
        server.address, server.tls, server.sni = address, False, None
        return TCPLayer(context, ignore=True)


def _offers_http2(data: bytes) -> bool:
    """Whether a client's first bytes of TLS offer HTTP/2, or too few of them are here to tell."""
    try:
        hello = parse_client_hello(data)
    except ValueError:
        return True
    return hello is None or b"h2" in hello.alpn_protocols


def wrong_inspect() -> str | None:
    """What is wrong with ``chain429_inspect``: mitmproxy takes any text, whatever choices an option has."""
    told = ctx.options.chain429_inspect
    return None if told in INSPECT else f"chain429_inspect is {told!r}; it can be {', '.join(INSPECT)}"


def inspected() -> bool:
    """Whether requests must go over the HTTP layer, as flows: by ``chain429_inspect``, else where somebody looks."""
    told = ctx.options.chain429_inspect
    if told != "auto":
        return bool(told == "always")
    if addon("view") is not None or len(getattr(ctx.options, "scripts", ())) > 1:
        return True
    return any(getattr(ctx.options, name, None) for name in _ABOUT_FLOWS)
