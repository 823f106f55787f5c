"""The command line, as a process of its own where signals matter."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from chain429 import __version__
from chain429.app import App, Options, launch
from chain429.cli import _span, main
from chain429.clock import SystemClock
from chain429.redact import Redactor
from chain429.routing.headers import Reading
from chain429.routing.limits import Need
from chain429.routing.outcome import SERVED, Kind, Outcome
from chain429.routing.window import Window
from chain429.simulator import Simulator
from tests.fakes import FakeClock


def run(*arguments: str, **environ: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments, env={"XDG_CONFIG_HOME": "/nowhere", **environ})
    return result.exit_code, result.output


def test_the_version() -> None:
    assert run("version") == (0, f"chain429 {__version__}\n")


@pytest.mark.parametrize("command", ["serve", "simulate", "check", "quota", "version"])
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


QUOTA = """
providers:
  lab: {base_url: http://127.0.0.1:9/v1, keys: [{key: env:KEY, rpm: 20}]}
  home: {base_url: http://127.0.0.1:9/v1}
chains:
  default: [lab/openai/gpt-oss-120b, home/qwen3]
  other: [home/qwen3]
"""


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[App]:
    """One that runs, and whose data is in ``folder``."""
    path = folder / "quota.yaml"
    path.write_text(QUOTA)
    options = Options(path, folder, "127.0.0.1:0", "127.0.0.1:0")
    app = await launch(options, {"KEY": "key-0123456789"}, FakeClock(), Redactor())
    try:
        yield app
    finally:
        await app.stop()


def call(app: App, provider: str, outcome: Outcome, tokens: int, *readings: Reading) -> None:
    now = FakeClock().now()
    target = next(target for target in app.config.chains["default"].targets if target.provider == provider)
    lease = app.ledger.take(app.config.providers[provider], target, Need(), now)
    app.ledger.observe(lease, readings, now)
    app.ledger.learn(lease, outcome, (tokens, 0), now)


async def test_quota_is_a_table_of_what_is_left(tmp_path: Path) -> None:
    now = FakeClock().now()
    async with gateway(tmp_path) as app:
        report = Reading("requests", Window.DAY, 1000, 1, now + 3 * 3600 + 720)
        call(app, "lab", SERVED, 1500, report)
        call(app, "home", Outcome.of(Kind.UNAUTHORIZED, "it refuses the key " + "very " * 20 + "much"), 0)
        code, text = await asyncio.to_thread(run, "quota", CHAIN429_DATA_DIR=str(tmp_path))
        assert code == 0
        assert text.splitlines() == [
            "chain default                            LIMIT          USED          LEFT   ALL BACK IN  KNOWN",
            "1. lab/openai/gpt-oss-120b  (lab/KEY)",
            "   tracking",
            "     requests per minute                    20             1            19          61 s  configured",
            "     requests per day                    1,000           999             1    3 h 12 min  reported",
            "     tokens per minute                       ?         1,500             ?          61 s  counted",
            "     tokens per day                          ?         1,500             ?    24 h 1 min  counted",
            "2. home/qwen3  (home/no-key)",
            "   refused: it refuses the key very very very very very very very very very very very very very very",
            "   very very very very very very much; back in 10 min",
            "",
            "chain other                              LIMIT          USED          LEFT   ALL BACK IN  KNOWN",
            "1. home/qwen3  (home/no-key)",
            "   refused: it refuses the key very very very very very very very very very very very very very very",
            "   very very very very very very much; back in 10 min",
        ]
        assert max(map(len, text.splitlines())) <= 100


async def test_quota_of_one_chain_and_as_json(tmp_path: Path) -> None:
    async with gateway(tmp_path) as app:
        call(app, "lab", SERVED, 1500)
        command = ["quota", "--data-dir", str(tmp_path), "--json", "--chain"]
        code, text = await asyncio.to_thread(run, *command, "default")
        assert code == 0
        found = json.loads(text)
        assert [chain["name"] for chain in found["chains"]] == ["default"]
        assert found["now"] == FakeClock().now()
        assert found["chains"][0]["tiers"][0][0]["limits"][0]["left"] == 19
        wrong = await asyncio.to_thread(run, *command, "defualt")
        assert wrong == (1, "chain429: there is no chain 'defualt'; there are: default, other\n")


async def test_quota_says_in_a_line_why_it_can_tell_nothing(tmp_path: Path) -> None:
    async def said() -> str:
        code, text = await asyncio.to_thread(run, "quota", CHAIN429_DATA_DIR=str(tmp_path))
        assert code == 1
        return text.removeprefix("chain429: ")

    assert await said() == f"no gateway runs with its data in {tmp_path}; 'chain429 serve' starts one\n"
    async with gateway(tmp_path) as app:
        assert app.pages
        url = app.pages.url
        token = (tmp_path / "admin-token").read_text()
        (tmp_path / "admin-token").write_text("another")
        taken = f"the admin token in {tmp_path / 'admin-token'}\n"
        assert await said() == f"the gateway at {url} does not take {taken}"
        (tmp_path / "admin-token").unlink()
        assert await said() == f"the admin token can't be read from {tmp_path / 'admin-token'}\n"
        (tmp_path / "admin-token").write_text(token)
        # Another program has the port now.
        assert app.api
        (tmp_path / "pages-url").write_text(app.api.url)
        assert await said() == f"the gateway at {app.api.url} does not take {taken}"
    (tmp_path / "pages-url").write_text(url)
    assert await said() == f"no gateway answers at {url} any more; 'chain429 serve' starts one\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5940, "99 min"),
        (5941, "1 h 40 min"),
        (172_740, "47 h 59 min"),
        (172_800, "2 days"),
    ],
)
def test_how_long_it_is_in_words(seconds: float, words: str) -> None:
    assert _span(seconds) == words


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
