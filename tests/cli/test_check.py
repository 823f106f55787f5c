from __future__ import annotations

import asyncio
import re
from pathlib import Path

from chain429.clock import SystemClock
from chain429.simulator import Simulator
from tests.cli.running import run


def test_check_names_every_fault(tmp_path: Path) -> None:
    path = tmp_path / "chain429.yaml"
    path.write_text("providers:\n  home: {base_url: nonsense}\nchains: {default: [home/x]}\nstrct: true\n")
    code, text = run("check", "--config", str(path))
    assert code == 2
    assert f"{path}:2: providers.home.base_url: " in text
    assert f"{path}:4: strct: is not a known key: did you mean 'strict'?" in text
    assert "Traceback" not in text


def test_check_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    code, text = run("check", "--config", str(tmp_path / "none.yaml"))
    assert code == 2
    assert "can't be read: No such file" in text


async def test_check_tries_every_key(tmp_path: Path) -> None:
    async with Simulator(clock=SystemClock()) as simulator:
        path = tmp_path / "chain429.yaml"
        path.write_text(
            f"""
providers:
  groq: {{base_url: {simulator.base_url("groq")}, keys: [env:GOOD, env:BAD]}}
  gone: {{base_url: http://127.0.0.1:9/v1}}
chains: {{default: [groq/openai/gpt-oss-120b]}}
"""
        )
        keys = {"GOOD": "sim-good-0123456789", "BAD": "sim-bad-0123456789"}
        code, text = await asyncio.to_thread(run, "check", "--config", str(path), **keys)
    assert code == 1
    assert "ok   groq/GOOD: the provider answers" in text
    assert f"{path}: 2 providers, 1 chain: no fault found" in text
    assert re.search(r"FAIL groq/BAD: key refused \(HTTP 401\)", text)
    assert "FAIL gone/no-key: " in text
    assert "0123456789" not in text
