"""Keeps clients of the proxy out of where they have no business: this machine's own addresses, chain429's own ports.

Whoever may use the proxy could otherwise reach, through it, servers that trust whatever comes from this machine; a web
page can make a browser do so. The user's own choices (where a reverse proxy leads) are not touched.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Container

from mitmproxy import ctx, http
from mitmproxy.connection import Address, Client
from mitmproxy.proxy.mode_specs import RegularMode, ReverseMode, Socks5Mode, UpstreamMode, WireGuardMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from chain429.proxy.flows import STEERED
from chain429.proxy.host import addon

_log = logging.getLogger("chain429.proxy")

# Modes in which the client says where it wants to be taken.
_TOLD_BY_CLIENT = (RegularMode, Socks5Mode, WireGuardMode)
# Modes that an open proxy is made of.
_OPEN_TO_ALL = (RegularMode, Socks5Mode, UpstreamMode)
# Modes in which a client's connection comes to a port of ours. In others mitmproxy says that it came to where it was
# meant to go.
_AT_OUR_PORT = (*_OPEN_TO_ALL, ReverseMode)

# Where clouds tell machines about themselves, keys included; most do so at a link-local address.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
# IPv6 addresses whose last four bytes are an IPv4 address: by way of NAT64, and an old way to write one.
_HOLDS_IPV4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))


def is_loopback(peer: Address | None) -> bool:
    """Whether whoever has this address is on this machine. Unlike in ``is_local``, an IPv6 address that only has such
    an IPv4 address in it is not enough: on some networks another machine may have it."""
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0]) if peer else None
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address is not None and (mapped or address).is_loopback


def is_local(host: str) -> bool:
    """Whether ``host`` is an IP address of this machine or of its link alone: loopback, link-local, unspecified, or
    where a cloud tells it about itself. A name is none."""
    address = _address(host)
    return address is not None and (
        address.is_loopback or address.is_link_local or address.is_unspecified or address in _METADATA
    )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    if any(address in network for network in _HOLDS_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_own(host: str) -> bool:
    """Whether ``host`` is an IP address of this machine, loopback or not: what is sent there comes from there."""
    if _address(host) is None:
        return False  # a name would be looked up, and everybody would wait for that
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # of UDP: nothing is sent
            return bool(probe.getsockname()[0] == host)
    except OSError:
        return False


def refusal(host: str, port: int, own_ports: Container[int], *, allow_local: bool, itself: bool = False) -> str | None:
    """Why nobody is taken to this IP address, in one sentence; None where everybody may go.

    ``itself`` tells that the address is this machine's by other evidence.
    """
    if not (itself or is_local(host)):
        return None
    if port in own_ports:
        return (
            f"Port {port} here is chain429's own, which is not reached through its proxy: leave it out (NO_PROXY="
            "localhost,127.0.0.1)."
        )
    if allow_local or not is_local(host):
        return None
    return (
        f"{host} is on this machine or its own link, where the proxy takes nobody: leave it out (NO_PROXY=localhost,"
        "127.0.0.1), or start with --set chain429_allow_local=true."
    )


async def _resolved(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port)
    except (OSError, UnicodeError):
        return []  # mitmproxy says so itself when it tries
    return [str(address[0]) for *_, address in found]


class Fence:
    """Covered hosts are not its business, nor are connections that are led to the gateway.

    ``own_ports`` gives the ports of chain429 and mitmproxy.
    """

    name = "chain429-fence"

    def __init__(
        self,
        covers: Callable[[str], bool],
        is_led: Callable[[ServerConnectionHookData], bool],
        own_ports: Callable[[], Container[int]],
    ) -> None:
        self._covers = covers
        self._is_led = is_led
        self._own_ports = own_ports

    def client_connected(self, client: Client) -> None:
        if isinstance(client.proxy_mode, _OPEN_TO_ALL) and not (is_loopback(client.peername) or ctx.options.proxyauth):
            client.error = "Only clients on this machine may use the proxy, unless proxyauth is set."
            _log.warning("refused a client at %s: %s", client.peername[0], client.error)

    async def http_connect(self, flow: http.HTTPFlow) -> None:
        # The name of a covered host need not even exist.
        if not self._covers(flow.request.host):
            await self._check(flow)

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        if STEERED not in flow.metadata:
            await self._check(flow)

    async def _check(self, flow: http.HTTPFlow) -> None:
        """Answer 403 while the client can still be told why."""
        if not flow.live or flow.response or flow.error or not isinstance(flow.client_conn.proxy_mode, _TOLD_BY_CLIENT):
            return
        host, port = flow.request.host, flow.request.port
        for address in (host, *await _resolved(host, port)):
            reason = self.refusal(address, port)
            if reason:
                _log.warning("refused %s:%s through the proxy: %s", host, port, reason)
                flow.response = http.Response.make(403, f"{reason}\n", {"content-type": "text/plain; charset=utf-8"})
                return

    def server_connect(self, data: ServerConnectionHookData) -> None:
        if self._concerns(data) and data.server.address:
            data.server.error = self.refusal(*data.server.address[:2])

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """The last word: a name may resolve to something else from one moment to the next."""
        peer, own = data.server.peername, data.server.sockname
        if peer and isinstance(data.client.proxy_mode, _AT_OUR_PORT) and peer[:2] == data.client.sockname[:2]:
            _log.warning("cut a connection through the proxy that leads back to itself, at %s:%s", *peer[:2])
            _close(data)
            return
        if not self._concerns(data) or not peer:
            return
        # A connection to an address of one's own has that address at both ends.
        reason = self.refusal(peer[0], peer[1], itself=own is not None and own[0] == peer[0])
        if reason:
            _log.warning("cut a connection through the proxy to %s:%s: %s", peer[0], peer[1], reason)
            _close(data)

    def _concerns(self, data: ServerConnectionHookData) -> bool:
        told = isinstance(data.client.proxy_mode, _TOLD_BY_CLIENT)
        return told and not data.server.error and not data.server.via and not self._is_led(data)

    def refusal(self, host: str, port: int, *, itself: bool = False) -> str | None:
        """Why nobody may be taken to this IP address now; see the function of that name."""
        allow = bool(ctx.options.chain429_allow_local)
        own_ports = self._own_ports()
        itself = itself or (port in own_ports and is_own(host))
        return refusal(host, port, own_ports, allow_local=allow, itself=itself)


def _close(data: ServerConnectionHookData) -> None:
    """Close a connection that is just open, before anything is sent: mitmproxy has no way to say so in a hook."""
    handler = addon("proxyserver").connections.get(data.client.id)
    if handler is not None:  # None where the user sends a flow again
        handler.transports[data.server].writer.close()
