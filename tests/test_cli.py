"""The command line, as a process of its own where signals matter."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from chain429 import __version__
from chain429.cli import main
from chain429.clock import SystemClock
from chain429.simulator import Simulator


def run(*arguments: str, **environ: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments, env={"XDG_CONFIG_HOME": "/nowhere", **environ})
    return result.exit_code, result.output


def test_the_version() -> None:
    assert run("version") == (0, f"chain429 {__version__}\n")


@pytest.mark.parametrize("command", ["serve", "simulate", "check", "version"])
def test_every_command_has_help(command: str) -> None:
    code, text = run(command, "--help")
    assert code == 0
    assert text.startswith(f"Usage: main {command}")
    assert command in run("--help")[1]


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
    assert re.search(r"FAIL groq/BAD: HTTP 401: unauthorized", text)
    assert "FAIL gone/no-key: " in text
    assert "0123456789" not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "command", [["serve", "--listen", "127.0.0.1:0", "--pages", "127.0.0.1:0"], ["simulate", "--port", "0"]]
)
async def test_a_signal_stops_it_cleanly(tmp_path: Path, command: list[str], number: int) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_TOKEN"))} | {
        "CHAIN429_DATA_DIR": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chain429", *command,
        cwd=tmp_path, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout
        seen = b""
        async with asyncio.timeout(30):
            while b"/control" not in seen and b"for chunk in stream" not in seen:
                line = await process.stdout.readline()
                assert line, (await process.communicate())[1]
                seen += line
            process.send_signal(number)
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    assert b"Traceback" not in errors


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, text = run("serve", "--listen", address, "--pages", "127.0.0.1:0", CHAIN429_DATA_DIR=str(tmp_path))
    assert code == 2
    assert text == f"chain429: the API can't listen on {address}: the port is taken\n"
