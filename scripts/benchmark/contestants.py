"""The processes that take part: how each is started, what it has used, and its end."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]

from scripts.benchmark.load import Plan, Tally, Unexpected, numbered

ROOT = Path(__file__).resolve().parent.parent.parent
DIRECT, RELAY, GATEWAY, LANE, MITMPROXY, PLAIN = NAMES = ("direct", "relay", "gateway", "lane", "mitmproxy", "plain")

KEY = "bench-key-0123456789"
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_URL = re.compile(r"https?://127\.0\.0\.1:([0-9]+)/v1")

# Limits that are counted and never reached.
_CONFIG = """
providers:
  bench: {{preset: groq, base_url: "{url}", keys: [env:BENCH_KEY], limits: {{rpm: 10000000, tpm: 10000000000}}}}
chains:
  default: [bench/whole]
"""

_NO_PIPES: Mapping[str, Any] = MappingProxyType({})
_T = TypeVar("_T")


class NoStart(Exception):
    """A process did not come up; the message is the last that it said."""


class Process:
    """A process of ours, whose output goes to a file. It is ended by ``stop``, by its own id."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, pipes: Mapping[str, Any] = _NO_PIPES, **environ: str
    ) -> None:
        self._output = folder / f"{name}.log"
        # Nothing of the user's: neither keys nor proxies nor a configuration may take part.
        environ = {"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(ROOT), "BENCH_KEY": KEY, **environ}
        with self._output.open("wb") as output:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, **pipes}
            self.popen = subprocess.Popen(command, cwd=folder, env=environ, **pipes)
        self._measured = psutil.Process(self.popen.pid)

    def cpu(self) -> float:
        """Seconds of CPU that all its threads have used, in user and system mode."""
        used = self._measured.cpu_times()
        return float(used.user + used.system)

    def memory(self) -> float:
        """Resident MB."""
        return float(self._measured.memory_info().rss) / 1e6

    def port(self) -> int:
        """The port of the first URL that it prints. Raises NoStart."""
        return int(self._wait(lambda: _URL.search(self._said()))[1])

    def listening(self, port: int) -> int:
        """``port``, as soon as it listens there. Raises NoStart."""
        return self._wait(lambda: port if _listens(port) else None)

    def _wait(self, look: Callable[[], _T | None]) -> _T:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            found = look()
            if found is not None:
                return found
            if self.popen.poll() is not None:
                break
            time.sleep(0.02)
        raise NoStart((self._said().strip().splitlines() or ["it said nothing"])[-1])

    def _said(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        self.popen.terminate()
        try:
            self.popen.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                pipe.close()


class Load:
    """The process that asks."""

    def __init__(self, folder: Path) -> None:
        self._process = Process(
            "load", module("load"), folder, {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        )
        self.stop = self._process.stop

    def carry_out(self, plan: Plan) -> Tally:
        """Raises Unexpected where an answer is not what the plan expects."""
        pipes = self._process.popen
        assert pipes.stdin
        assert pipes.stdout
        pipes.stdin.write(json.dumps(asdict(plan)) + "\n")
        pipes.stdin.flush()
        answer = json.loads(pipes.stdout.readline() or '{"error": "the load ended"}')
        if "error" in answer:
            raise Unexpected(answer["error"])
        return Tally(**answer)


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to the provider. ``process`` is what stands in the way; ``share`` of the load: less where it is slow."""

    name: str
    port: int
    token: str
    process: Process | None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Arena:
    """All that runs, and why what was asked for does not."""

    load: Load
    contestants: tuple[Contestant, ...]
    skipped: dict[str, str]


@contextmanager
def arena(folder: Path, names: Sequence[str], models: Sequence[str], limited: int = 0) -> Iterator[Arena]:
    """Start the contestants ``names``, and end them. The gateway has a chain of each of ``models``, and ``limited``
    chains that meet a refusal before they serve: each of them once, for then it is known."""
    with ExitStack() as stack:

        def start(name: str, command: Sequence[str]) -> Process:
            process = Process(name, command, folder)
            stack.callback(process.stop)
            return process

        provider = start("provider", module("provider")).port()
        url = f"http://127.0.0.1:{provider}/v1"
        config = folder / "chain429.yaml"
        chains = "".join(f"  {model}: [bench/{model}]\n" for model in models)
        refused = [numbered("limited", number) for number in range(limited)]
        chains += "".join(f"  {model}: [bench/{model}, bench/whole]\n" for model in refused)
        config.write_text(_CONFIG.format(url=url) + chains, encoding="utf-8")
        load = Load(folder)
        stack.callback(load.stop)
        contestants: list[Contestant] = []
        skipped: dict[str, str] = {}
        for name in names:
            data = folder / name
            try:
                if name == DIRECT:
                    contestants.append(Contestant(name, provider, KEY, None))
                elif name == RELAY:
                    process = start(name, [*module("relay"), url])
                    contestants.append(Contestant(name, process.port(), KEY, process))
                elif name == GATEWAY:
                    process = start(name, gateway(config, data))
                    contestants.append(Contestant(name, process.port(), token_of(data), process))
                elif name == PLAIN:
                    port = free_port()
                    process = start(name, _plain(provider, data, port))
                    process.listening(port)
                    contestants.append(Contestant(name, port, KEY, process, share=0.1))
                else:
                    port = free_port()
                    process = start(name, mitmdump(config, data, port, "never" if name == LANE else "always"))
                    process.port()
                    process.listening(port)
                    share = 1.0 if name == LANE else 0.1
                    contestants.append(Contestant(name, port, token_of(data), process, share))
                load.carry_out(Plan(contestants[-1].port, contestants[-1].token, "whole", requests=1))
            except (NoStart, Unexpected, OSError) as error:
                skipped[name] = str(error)
                contestants = [one for one in contestants if one.name != name]
        yield Arena(load, tuple(contestants), skipped)


def module(name: str) -> list[str]:
    """The command that starts a module of this package."""
    return [sys.executable, "-m", f"scripts.benchmark.{name}"]


def gateway(config: Path, data: Path) -> list[str]:
    """The command that starts it, on ports that are free."""
    listen = ["--listen", "127.0.0.1:0", "--pages", "127.0.0.1:0"]
    program = [sys.executable, "-c", "from chain429.cli import main; main()"]
    return [*program, "serve", "--config", str(config), "--data-dir", str(data), *listen]


def _plain(provider: int, data: Path, port: int) -> list[str]:
    """mitmproxy as a reverse proxy in front of the provider, without the addon; it streams answers."""
    return [
        str(Path(sys.executable).with_name("mitmdump")),
        *("-q", "--set", "flow_detail=0", "--set", f"confdir={data}", "--set", "stream_large_bodies=1"),
        *("--listen-host", "127.0.0.1", "--mode", f"reverse:http://127.0.0.1:{provider}@{port}"),
    ]


def mitmdump(config: Path, data: Path, port: int, inspect: str) -> list[str]:
    """The command that starts mitmproxy with the addon, as a reverse proxy by its HTTP layer or by the relay lane."""
    options = {
        "chain429_inspect": inspect,
        "chain429_config": config,
        "chain429_data_dir": data,
        "chain429_listen": "127.0.0.1:0",
        "chain429_pages": "127.0.0.1:0",
        "confdir": data,
    }
    return [
        str(Path(sys.executable).with_name("mitmdump")),
        *("-q", "--set", "flow_detail=0", "-s", str(ROOT / "addons" / "chain429.py")),
        *("--listen-host", "127.0.0.1", "--mode", f"reverse:http://chain429.internal@{port}"),
        *(word for name, value in options.items() for word in ("--set", f"{name}={value}")),
    ]


def token_of(data: Path) -> str:
    """The client token of the gateway whose data that is."""
    return (data / "client-token").read_text(encoding="ascii").strip()


def free_port() -> int:
    """One that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
