"""As processes of their own, where signals matter."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.running import run


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


def test_a_format_of_the_log_that_there_is_not_is_one_line(tmp_path: Path) -> None:
    code, text = run("serve", CHAIN429_LOG_FORMAT="xml", CHAIN429_DATA_DIR=str(tmp_path))
    assert code == 2
    assert text == "chain429: the format of the log is 'xml'; it can be 'text' or 'json'\n"


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, text = run("serve", "--listen", address, "--pages", "127.0.0.1:0", CHAIN429_DATA_DIR=str(tmp_path))
    assert code == 2
    assert text == f"chain429: the API can't listen on {address}: the port is taken\n"
