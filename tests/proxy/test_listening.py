"""Where mitmproxy listens."""

from __future__ import annotations

import pytest

from chain429.proxy.listening import parsed, url, wants_loopback


@pytest.mark.parametrize(
    ("listen_host", "modes", "wanted"),
    [
        ("", ["regular"], True),
        ("", ["regular@8888", "reverse:https://api.openai.com@8090", "socks5@8091"], True),
        ("0.0.0.0", ["regular"], False),
        ("192.0.2.1", ["regular"], False),
        ("", ["wireguard"], False),
        ("", ["regular", "transparent"], False),
        # mitmproxy complains of it itself.
        ("", ["nonsense"], True),
    ],
)
def test_it_is_held_to_this_machine_unless_told_otherwise(listen_host: str, modes: list[str], wanted: bool) -> None:
    assert wants_loopback(listen_host, parsed(modes)) is wanted


@pytest.mark.parametrize(
    ("address", "written"),
    [
        (("127.0.0.1", 8080), "http://127.0.0.1:8080"),
        (("0.0.0.0", 8080), "http://127.0.0.1:8080"),
        (("::", 8080, 0, 0), "http://127.0.0.1:8080"),
        (("::1", 8080, 0, 0), "http://[::1]:8080"),
    ],
)
def test_url(address: tuple[str, int], written: str) -> None:
    assert url(address) == written
