"""Where mitmproxy itself listens: on this machine only, unless told otherwise; and under which URLs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mitmproxy import ctx
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Address
from mitmproxy.proxy.mode_specs import ProxyMode, RegularMode, ReverseMode, Socks5Mode, UpstreamMode

from chain429.errors import StartError
from chain429.proxy.host import addon

LOOPBACK = "127.0.0.1"
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104
# The others are about the traffic of other machines or of the system, and would not work on loopback.
_MAY_BE_LOOPBACK = (RegularMode, ReverseMode, Socks5Mode, UpstreamMode)


def wants_loopback(listen_host: str, modes: list[ProxyMode]) -> bool:
    """Whether mitmproxy, which would listen everywhere, is to be held to this machine: nobody said where."""
    return not listen_host and all(isinstance(mode, _MAY_BE_LOOPBACK) for mode in modes)


def parsed(modes: list[str]) -> list[ProxyMode]:
    """The modes of mitmproxy's option; those that are wrong are left for mitmproxy to complain of."""
    found = []
    for mode in modes:
        try:
            found.append(ProxyMode.parse(mode))
        except ValueError:
            continue
    return found


async def keep_to_loopback() -> None:
    """Listen again, on this machine only, where mitmproxy has begun to listen everywhere.

    A script is loaded after that on newer Pythons, and before it on older ones, which then need nothing more. Failures
    are in mitmproxy's log. Raises StartError.
    """
    server: Proxyserver | None = addon("proxyserver")
    if server is None or not any(
        instance.mode.custom_listen_host is None and address[0] in _EVERYWHERE
        for instance in server.servers
        for address in instance.listen_addrs
    ):
        return
    await server.servers.update([])
    if not await server.setup_servers():
        raise StartError(f"the proxy can't listen on {LOOPBACK}")


@dataclass(frozen=True, slots=True)
class Urls:
    """``proxy`` is what goes into HTTPS_PROXY; ``reverse`` are those whose upstream is a covered host."""

    proxy: str | None
    reverse: tuple[str, ...]


def urls(covers: Callable[[str], bool]) -> Urls:
    """Where mitmproxy really listens."""
    server: Proxyserver | None = addon("proxyserver")
    proxy: list[str] = []
    reverse: list[str] = []
    for instance in server.servers if server else ():
        mode = instance.mode
        if not instance.listen_addrs:
            continue
        if isinstance(mode, RegularMode | UpstreamMode):
            proxy.append(url(instance.listen_addrs[0]))
        elif isinstance(mode, ReverseMode) and covers(mode.address[0]):
            reverse.append(url(instance.listen_addrs[0]))
    return Urls(proxy[0] if proxy else None, tuple(reverse))


def ports() -> set[int]:
    """The ports that are mitmproxy's own: its listeners', and that of its web page."""
    server: Proxyserver | None = addon("proxyserver")
    found = {address[1] for address in server.listen_addrs()} if server else set()
    if addon("webaddon") is not None:
        found.add(ctx.options.web_port)
    return found


def url(address: Address) -> str:
    """How a client on this machine reaches a listener."""
    host = LOOPBACK if address[0] in _EVERYWHERE else address[0]
    return f"http://[{host}]:{address[1]}" if ":" in host else f"http://{host}:{address[1]}"
