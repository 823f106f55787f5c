"""Leads the requests of covered hosts to the gateway, and leaves the TLS of all others unopened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mitmproxy import ctx, http, tls
from mitmproxy.connection import Address, Client
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from chain429.config import OBSERVE, ProxyFile
from chain429.proxy.fence import is_loopback
from chain429.proxy.flows import (
    STEERED,
    Kept,
    annotate,
    covered,
    drop_credentials,
    is_clean,
    origin_of,
    plain_host,
    refuse,
    steer,
    take_credentials,
)
from chain429.proxy.host import addon
from chain429.web.auth import Peer, from_a_page
from chain429.web.covered import Origin, Taken

_log = logging.getLogger("chain429.proxy")

_NO_TOKEN = "The client token is missing or wrong. Programs on this machine need none; web pages and other machines do."  # noqa: S105  no token


@dataclass(frozen=True, slots=True)
class Gateway:
    """The running gateway, as far as the proxy needs to know it.

    ``hosts`` gives the covered ones as they are configured now, each with what becomes of its requests: see ``Config``.
    ``knows`` says whether a client token is among headers. What is in ``proxied`` needs no token: the addresses from
    which the proxy's own connections come. ``lend`` takes over the key among headers for a host and gives a ticket for
    it, where the provider at that host is called with the caller's own key; ``passing`` says whether there is any such
    provider. In ``relayed`` are those of the addresses in ``proxied`` whose requests nobody has looked at yet, with
    where they were going. ``hand`` takes over what was taken out of a request that goes on unchanged, and gives a
    ticket for it.
    """

    address: tuple[str, int]
    hosts: Callable[[], Mapping[str, str]]
    knows: Callable[[Mapping[str, str]], bool]
    proxied: set[Peer]
    relayed: dict[Peer, Origin]
    lend: Callable[[Mapping[str, str], str], str | None]
    passing: Callable[[], bool]
    hand: Callable[[Taken], str]


class Steering:
    """One hook after the other, as mitmproxy calls them.

    ``gateway`` is None while there is none: then requests for covered hosts are answered 503.
    """

    name = "chain429-steering"

    def __init__(self) -> None:
        self.gateway: Gateway | None = None
        # Peers of clients that had a request steered, and so may have a connection to the gateway opened for them. Not
        # mitmproxy's ids of their connections: a request that is sent again from its flow list has none of these.
        self._led: set[Address] = set()
        self._relayed: dict[Address, Origin] = {}
        self._distrusted: set[str] = set()  # hosts whose certificate a tool has refused

    def covers(self, host: str | None) -> bool:
        return covered(host, self.gateway.hosts() if self.gateway else ProxyFile().hosts)

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        address = data.context.server.address
        # In reverse mode TLS is our own to answer, and without an address it is meant for the proxy itself.
        if isinstance(data.context.client.proxy_mode, ReverseMode) or address is None:
            return
        if not self.covers(data.client_hello.sni or address[0]):
            data.ignore_connection = True

    def tls_failed_client(self, data: tls.TlsData) -> None:
        """Said once for each host, and in our own log: mitmproxy's is kept quiet by ``scripts/start``."""
        host = data.conn.sni
        if host and host not in self._distrusted and self.covers(host) and "trust" in (data.conn.error or ""):
            self._distrusted.add(host)
            _log.warning(
                "a tool that calls https://%s does not trust the proxy's certificate: start it with 'chain429 run', or "
                "see 'chain429 ca'",
                host,
            )

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not self._covers_flow(flow):
            return
        welcome = self.gateway is not None and self._welcome(flow, self.gateway)
        dealt_with = not flow.live or flow.response or flow.error
        ticket = None
        origin = self._origin(flow)
        use = self.gateway.hosts().get(origin.host, "") if self.gateway else ""
        if self.gateway is not None and welcome and not dealt_with:
            if use == OBSERVE:
                ticket = self.gateway.hand(take_credentials(flow.request))
            else:
                ticket = self.gateway.lend(flow.request.headers, origin.host)
        # Before anything else, for a flow that failed is shown and written to files as well.
        drop_credentials(flow.request)
        if dealt_with:
            return
        if self.gateway is None:
            refuse(flow, 503, "chain429 is starting or stopping; try again.", "not_running")
        elif not welcome:
            refuse(flow, 401, _NO_TOKEN, "invalid_api_key")
        elif not is_clean(flow.request):
            refuse(flow, 400, "The request's head has what would end a line of it.", "bad_request")
        else:
            steer(flow, self.gateway.address, ticket, origin if use else None)
            self._led.add(flow.client_conn.peername)

    def _covers_flow(self, flow: http.HTTPFlow) -> bool:
        mode = flow.client_conn.proxy_mode
        if isinstance(mode, ReverseMode):
            # Where that leads was the user's decision; what Host a client names is not.
            return self.covers(mode.address[0])
        return self.covers(flow.request.pretty_host) or self.covers(flow.request.host)

    def _origin(self, flow: http.HTTPFlow) -> Origin:
        """Whose service a request is for: the key in it is for nobody else."""
        mode, request = flow.client_conn.proxy_mode, flow.request
        if isinstance(mode, ReverseMode):
            return origin_of(mode)
        host = request.pretty_host if self.covers(request.pretty_host) else request.host
        return Origin(request.scheme, plain_host(host), request.port)

    def _welcome(self, flow: http.HTTPFlow, gateway: Gateway) -> bool:
        """Being allowed to use the proxy stands in for a token, except for web pages: their users may know nothing."""
        allowed = is_loopback(flow.client_conn.peername) or "proxyauth" in flow.metadata
        return (allowed and not from_a_page(flow.request.headers)) or gateway.knows(flow.request.headers)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response and STEERED in flow.metadata:
            flow.response.stream = Kept() if _somebody_looks() else True
            annotate(flow, flow.response.headers)

    def response(self, flow: http.HTTPFlow) -> None:
        if flow.response and isinstance(flow.response.stream, Kept):
            flow.response.data.content = flow.response.stream.content()

    # A client that leaves ends its flow in an error; what was streamed till then is shown all the same.
    error = response

    def is_led(self, data: ServerConnectionHookData) -> bool:
        """Whether a connection is being opened to the gateway for a request that was steered there."""
        gateway = self.gateway
        return gateway is not None and data.server.address == gateway.address and data.client.peername in self._led

    def relay_to(self, client: Client, origin: Origin) -> Address | None:
        """The gateway's address, for the bytes of this client's requests to ``origin`` as they are; None where there is
        no gateway, or keys in them must be taken out."""
        gateway = self.gateway
        if gateway is None or gateway.passing():
            return None
        self._led.add(client.peername)
        self._relayed[client.peername] = origin
        return gateway.address

    def server_connected(self, data: ServerConnectionHookData) -> None:
        if self.gateway and self.is_led(data) and data.server.sockname:
            own = data.server.sockname[:2]
            origin = self._relayed.get(data.client.peername)
            if origin is not None:
                self.gateway.relayed[own] = origin
            self.gateway.proxied.add(own)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        if self.gateway and data.server.sockname:
            own = data.server.sockname[:2]
            self.gateway.proxied.discard(own)
            self.gateway.relayed.pop(own, None)

    def client_disconnected(self, client: Client) -> None:
        self._led.discard(client.peername)
        self._relayed.pop(client.peername, None)


def _somebody_looks() -> bool:
    """Whether flows are kept or written: only then is an answer's text worth its memory."""
    return addon("view") is not None or bool(ctx.options.save_stream_file)
