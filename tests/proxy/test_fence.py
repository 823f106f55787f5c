"""Where clients of the proxy are not taken."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow, tutils

from chain429.proxy.fence import Fence, is_local, is_loopback, is_own, refusal
from chain429.proxy.flows import STEERED
from chain429.proxy.steering import Steering
from tests.proxy.conftest import GATEWAY, Writer, opening, request

OWN_PORTS = {4290, 4291, 8081}


@pytest.fixture
def fence(steering: Steering) -> Fence:
    return Fence(steering.covers, steering.is_led, lambda: OWN_PORTS)


LOCAL = [
    *("127.0.0.1", "127.1.2.3", "0.0.0.0", "169.254.169.254", "::1", "::", "fe80::1", "fe80::1%eth0", "[::1]"),
    *("::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:0.0.0.0", "::ffff:169.254.169.254"),
    # By way of NAT64 and 6to4, and as it was once written.
    *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::127.0.0.1"),
    # Where clouds keep what a machine is to know, its keys with it.
    *("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "::ffff:100.100.100.200"),
]
ELSEWHERE = ["192.0.2.1", "10.0.0.1", "192.168.1.1", "2001:db8::1", "fd00::1", "::ffff:192.0.2.1", "localhost", "", "x"]
ELSEWHERE += ["64:ff9b::192.0.2.1", "2002:c000:201::", "::192.0.2.1", "100.100.100.201"]


@pytest.mark.parametrize("host", LOCAL)
def test_local(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_not_local(host: str) -> None:
    assert not is_local(host)


@given(st.ip_addresses(v=4))
def test_an_address_that_is_mapped_to_ipv6_is_what_it_was(address: ipaddress.IPv4Address) -> None:
    assert is_local(f"::ffff:{address}") == is_local(str(address))
    assert is_loopback((f"::ffff:{address}", 1)) == address.is_loopback


@pytest.mark.parametrize("host", ["2002:7f00:1::5", "64:ff9b::7f00:1", "::7f00:1", "localhost", ""])
def test_a_client_is_not_on_this_machine_by_an_address_that_only_looks_so(host: str) -> None:
    assert not is_loopback((host, 50_000))


@pytest.mark.parametrize(
    ("host", "port", "allow_local", "itself", "refused"),
    [
        ("127.0.0.1", 9999, False, False, True),
        ("127.0.0.1", 9999, True, False, False),
        ("127.0.0.1", 4291, True, False, True),
        ("192.0.2.1", 9999, False, False, False),
        ("192.0.2.1", 4291, False, False, False),
        # An address of this machine that others can reach as well.
        ("192.0.2.1", 4291, False, True, True),
        ("192.0.2.1", 9999, False, True, False),
    ],
)
def test_refusal(host: str, port: int, allow_local: bool, itself: bool, refused: bool) -> None:
    assert bool(refusal(host, port, OWN_PORTS, allow_local=allow_local, itself=itself)) is refused


@pytest.mark.parametrize("mode", ["regular", "socks5"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:7f00:1]", "169.254.169.254"])
async def test_a_request_there_is_answered_403(
    fence: Fence, options: Callable[..., None], host: str, mode: str
) -> None:
    plain, tunnel = request(f"http://{host}:9999/", mode=mode), request(f"http://{host}:9999/", mode=mode)
    await fence.requestheaders(plain)
    await fence.http_connect(tunnel)
    for flow in (plain, tunnel):
        assert flow.response
        assert flow.response.status_code == 403
        assert "NO_PROXY" in (flow.response.text or "")
    options(chain429_allow_local=True)
    allowed = request(f"http://{host}:9999/", mode=mode)
    await fence.requestheaders(allowed)
    assert allowed.response is None


@pytest.mark.parametrize("mode", ["reverse:http://127.0.0.1:9999", "upstream:http://proxy.example:3128"])
async def test_where_the_client_does_not_choose_nothing_is_refused(
    fence: Fence, options: Callable[..., None], mode: str
) -> None:
    flow = request("http://127.0.0.1:9999/", mode=mode)
    await fence.requestheaders(flow)
    data = opening(flow, ("127.0.0.1", 9999))
    fence.server_connect(data)
    fence.server_connected(data)
    assert (flow.response, data.server.error) == (None, None)


async def test_a_covered_name_is_not_looked_up_and_a_steered_flow_goes_its_way(
    steering: Steering, fence: Fence, options: Callable[..., None]
) -> None:
    tunnel, flow = request("https://chain429.internal/"), request()
    await fence.http_connect(tunnel)
    steering.requestheaders(flow)
    await fence.requestheaders(flow)
    data = opening(flow, GATEWAY)
    fence.server_connect(data)
    fence.server_connected(data)
    assert (tunnel.response, flow.response, data.server.error) == (None, None, None)


def test_only_what_was_led_to_the_gateway_may_connect_to_it(fence: Fence, options: Callable[..., None]) -> None:
    options(chain429_allow_local=True)
    flow = request("http://example.com/")
    # Whatever its metadata say, when a flow is read from a file and sent again.
    flow.metadata[STEERED] = True
    data = opening(flow, GATEWAY)
    fence.server_connect(data)
    assert "own" in (data.server.error or "")


def test_an_address_that_a_tunnel_or_socks_names_is_refused(fence: Fence, options: Callable[..., None]) -> None:
    near, far = opening(request(mode="socks5"), ("127.0.0.1", 22)), opening(request(mode="socks5"), ("192.0.2.1", 22))
    for data in (near, far):
        fence.server_connect(data)
    assert "on this machine" in (near.server.error or "")
    assert far.server.error is None


@pytest.mark.parametrize(
    ("address", "own", "port", "cut"),
    [
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", 80, True),
        ("169.254.169.254", "192.0.2.9", 80, True),
        ("192.0.2.1", "192.0.2.9", 80, False),
        ("192.0.2.9", "192.0.2.9", 80, False),
        ("192.0.2.9", "192.0.2.9", 4291, True),
    ],
)
def test_a_name_that_turned_out_to_mean_this_machine_is_cut_off(
    fence: Fence, proxyserver: Callable[..., Writer], address: str, own: str, port: int, cut: bool
) -> None:
    data = opening(request("http://rebinding.example/"), ("rebinding.example", port), peer=address)
    data.server.sockname = (own, 60_000)
    writer = proxyserver(data)
    fence.server_connect(data)
    assert data.server.error is None
    fence.server_connected(data)
    assert writer.closed is cut


@pytest.mark.parametrize(
    ("peer", "mode", "proxyauth", "refused"),
    [
        ("127.0.0.1", "regular", None, False),
        ("::1", "regular", None, False),
        ("::ffff:127.0.0.1", "regular", None, False),
        ("192.0.2.7", "regular", None, True),
        ("192.0.2.7", "socks5", None, True),
        ("192.0.2.7", "upstream:http://proxy.example:3128", None, True),
        ("192.0.2.7", "regular", "any", False),
        ("192.0.2.7", "reverse:https://api.openai.com", None, False),
    ],
)
def test_the_proxy_is_this_machines_own(
    fence: Fence, options: Callable[..., None], peer: str, mode: str, proxyauth: str | None, refused: bool
) -> None:
    options(proxyauth=proxyauth)
    client = tflow.tclient_conn()
    client.peername, client.proxy_mode = (peer, 50_000), ProxyMode.parse(mode)
    fence.client_connected(client)
    assert bool(client.error) is refused


def test_an_address_of_this_machine_is_known_by_what_comes_from_it() -> None:
    assert is_own("127.0.0.1")
    assert not is_own("192.0.2.1")
    assert not is_own("2130706433 is no address")
    assert not is_own("no name is looked up, or this\0 would be a TypeError")


def test_what_leads_back_to_the_proxy_itself_is_cut_off_in_every_mode(
    fence: Fence, proxyserver: Callable[..., Writer]
) -> None:
    data = opening(request(mode="upstream:http://me.example:8080"), ("example.com", 443), peer="127.0.0.1")
    data.server.peername = data.client.sockname = ("127.0.0.1", 8080)
    writer = proxyserver(data)
    fence.server_connected(data)
    assert writer.closed


@pytest.mark.parametrize("mode", ["transparent", "wireguard"])
def test_no_loop_is_seen_where_mitmproxy_says_that_the_client_came_to_its_destination(
    fence: Fence, proxyserver: Callable[..., Writer], mode: str
) -> None:
    data = opening(request(mode=mode), ("192.0.2.1", 443))
    data.server.peername = data.client.sockname = ("192.0.2.1", 443)
    writer = proxyserver(data)
    fence.server_connected(data)
    assert not writer.closed


async def test_what_others_have_answered_stays(fence: Fence, options: Callable[..., None]) -> None:
    flow = request("http://127.0.0.1:9999/")
    flow.response = there = tutils.tresp()
    await fence.requestheaders(flow)
    assert flow.response is there
