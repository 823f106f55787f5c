"""``chain429 run`` and ``env``: tools with hard-wired hosts, on a machine where nothing else was set up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain429.launch.run import found, surroundings
from chain429.launch.variables import Shell, lines
from tests.integration.conftest import ROOT, Program, address, started, until

ASK = """
import json, os
from openai import OpenAI
client = OpenAI(api_key="sk-0123456789", max_retries=0)
asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
said = client.chat.completions.create(**asked).choices[0].message.content
print(json.dumps({"host": client.base_url.host, "said": said, "proxy": os.environ["HTTPS_PROXY"]}))
"""


class Machine:
    """A user's home with nothing in it. ``waiting`` is a tool that runs through the proxy, and does nothing."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / ".local" / "share" / "chain429"
        self.env = {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "PYTHONPATH": str(ROOT),
        }
        os.mkfifo(home / "never")
        waits = [*self.command("run"), "sh", "-c", "echo it runs; read x < never"]
        self.waiting = Program(started(waits, cwd=home, env=self.env))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "chain429", *arguments]

    def do(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments)
        return subprocess.run(
            command, cwd=self.home, env=self.env, check=False, capture_output=True, text=True, timeout=60
        )

    def proxy(self) -> str:
        told: str = json.loads((self.data / "proxy.json").read_text())["proxy"]
        return told


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(tmp_path_factory.mktemp("home"))
    with made.waiting:
        made.waiting.wait_for("^it runs$", seconds=60)
        proxy = address(made.proxy())
        yield made
        # However the last tool ends, the proxy goes with it.
        made.waiting.send(signal.SIGKILL)
        made.waiting.wait()
        until(lambda: not listens(proxy))
        until(lambda: not (made.data / "proxy.json").exists())


def listens(where: tuple[str, int]) -> bool:
    try:
        socket.create_connection(where, timeout=5).close()
    except OSError:
        return False
    return True


def test_a_tool_with_a_hard_wired_host_is_served_and_shares_the_proxy(machine: Machine) -> None:
    done = machine.do("run", "--", "python", "-c", ASK)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["host"] == "api.openai.com"
    assert said["said"].endswith(" here. You said: Hello")
    assert said["proxy"] == machine.proxy()
    assert "a built-in simulator answers" in done.stderr


def test_it_ends_as_the_tool_does(machine: Machine) -> None:
    # And the proxy stays, for another tool still needs it.
    assert machine.do("run", "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
    assert listens(address(machine.proxy()))


def test_env_makes_a_shell_do_the_same(machine: Machine) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl here")
    printed = lines(surroundings(found(machine.data), machine.env, machine.data), Shell.BASH)
    ask = f"{curl} -sS -m 30 https://chain429.internal/health"
    done = subprocess.run(["sh", "-c", f"{printed} {ask}"], check=False, capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["simulated"] is True


def test_why_a_proxy_does_not_start_is_said(machine: Machine, tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text("chains: {default: [groq/x]}\nstrct: true\n")
    done = machine.do("run", "--data-dir", str(tmp_path), "--config", str(config), "true")
    assert done.returncode == 125
    assert f"{config}:2: strct: is not a known key" in done.stderr
    assert "Traceback" not in done.stderr
