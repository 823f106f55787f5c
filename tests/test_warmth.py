from __future__ import annotations

import asyncio

import pytest

from chain429.config import Config, parse
from chain429.errors import ConnectFailed
from chain429.warmth import Warmth
from tests.fakes import FakeClock, settle

CONFIG = """
providers:
  one: {base_url: http://127.0.0.1:8/v1, timeouts: {connect: 3}}
  two: {base_url: http://127.0.0.1:9/v1}
  three: {base_url: http://127.0.0.1:10/v1}
chains: {default: [[one/a, two/b], three/c], other: [one/c]}
"""


class Connector:
    """Cannot reach what is in ``down``."""

    def __init__(self, *down: str) -> None:
        self.warmed: list[tuple[str, float]] = []
        self._down = down

    async def warm(self, url: str, connect_timeout: float) -> None:
        self.warmed.append((url, connect_timeout))
        if url in self._down:
            raise ConnectFailed("no connection: unreachable")


def config(text: str = CONFIG) -> Config:
    return parse(text, {})


async def test_who_comes_first_in_a_chain_is_kept_connected() -> None:
    connector, clock = Connector("http://127.0.0.1:8/v1"), FakeClock()
    running = asyncio.create_task(Warmth(connector, config, clock).run())
    await settle()
    first = [("http://127.0.0.1:8/v1", 3.0), ("http://127.0.0.1:9/v1", 10.0)]
    assert connector.warmed == first
    await clock.advance(60)
    assert connector.warmed == first * 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_nobody_is_where_that_is_not_wanted() -> None:
    connector = Connector()
    await Warmth(connector, lambda: config(f"{CONFIG}preconnect: false\n"), FakeClock()).look()
    assert connector.warmed == []
