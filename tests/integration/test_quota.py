"""Limits in real time, though a faster one: what is known to be used up is not called, and is used again in time."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chain429.app import Options, launch
from chain429.clock import SystemClock
from chain429.redact import Redactor
from chain429.simulator import Simulator
from tests.integration.sdk import openai_client

# The providers' own limits are wider: what is tested is that the gateway keeps to what it is told.
CONFIG = """
providers:
  first: {{base_url: {home}, keys: [{{key: env:KEY, rpm: 20}}]}}
  groq:  {{base_url: {groq}, keys: [env:KEY]}}
chains:
  default: [first/qwen3, groq/openai/gpt-oss-120b]
patience: 0
"""
HELLO = [{"role": "user", "content": "Hello"}]


class Pace(SystemClock):
    """The machine's clock; from ``faster`` on what is counted in Unix seconds passes so much faster."""

    def __init__(self) -> None:
        super().__init__()
        self._scale = 1.0
        self._from = (super().now(), super().now())  # the machine's time, and ours

    def now(self) -> float:
        real, ours = self._from
        return ours + (super().now() - real) * self._scale

    def faster(self, scale: float) -> None:
        self._from = (super().now(), self.now())
        self._scale = scale


class World:
    def __init__(self, sdk: Any, simulator: Simulator, clock: Pace, folder: Path) -> None:
        self.sdk = sdk
        self.simulator = simulator
        self.clock = clock
        self.folder = folder

    def calls(self, provider: str) -> int:
        return sum(record.method == "POST" for record in self.simulator.control.received(provider))

    async def ask(self) -> str:
        """Who answered."""
        raw = await self.sdk.chat.completions.with_raw_response.create(model="default", messages=HELLO)
        return str(raw.headers["x-chain429-provider"])

    async def quota(self) -> str:
        """What ``chain429 quota`` prints, run as a user runs it."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chain429", "quota", "--data-dir", str(self.folder / "data"),
            cwd=self.folder, env={"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        return out.decode()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = Pace()
    async with Simulator(clock=clock) as simulator:
        path = tmp_path / "chain429.yaml"
        path.write_text(CONFIG.format(home=simulator.base_url("generic"), groq=simulator.base_url("groq")))
        options = Options(path, tmp_path / "data", "127.0.0.1:0", "127.0.0.1:0", drain=0.1)
        app = await launch(options, {"KEY": "sim-key-0123456789"}, clock, Redactor())
        try:
            assert app.api
            async with openai_client(app.api.url, app.client_token) as sdk:
                yield World(sdk, simulator, clock, tmp_path)
        finally:
            await app.stop()


async def test_the_21st_request_of_a_minute_goes_to_the_next_one_without_a_call(world: World) -> None:
    assert [await world.ask() for _ in range(20)] == ["first"] * 20
    assert await world.ask() == "groq"
    assert (world.calls("generic"), world.calls("groq")) == (20, 1)

    text = await world.quota()
    row = text[text.index("1. first/qwen3") :].splitlines()[0]
    target, credential, state, limit, *numbers, more, source = re.split(r" {2,}", row.strip())
    assert (target, credential, limit, numbers) == (
        "1. first/qwen3",
        "first/KEY",
        "requests per minute",
        ["20", "20", "0"],
    )
    assert state.startswith("cooling, back in ")
    assert more.endswith(" s")
    assert source == "configured"

    world.clock.faster(60)
    async with asyncio.timeout(20):
        # Not so often that the other one's minute is used up as well.
        while await world.ask() != "first":  # noqa: ASYNC110  a minute is over after a second
            await asyncio.sleep(0.1)
    assert world.calls("generic") == 21
