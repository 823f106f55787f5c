"""Programs that tests start, watch and end; and the simulated providers that they talk to."""

from __future__ import annotations

import asyncio
import datetime
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mitmproxy.http import HTTPFlow
from mitmproxy.io import FlowReader

from chain429.simulator import Simulator
from tests.integration.forked import Forked

ROOT = Path(__file__).resolve().parent.parent.parent
ADDON = ROOT / "addons" / "chain429.py"
# Beside the Python that runs the tests.
PROGRAMS = Path(sys.executable).parent

PROVIDER_KEY = "sim-provider-key-0123456789"
TOOL_KEY = "sk-tool-0123456789abcdef"
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}

CONFIG = """
providers:
  groq: {{keys: [env:PROVIDER_KEY], base_url: {groq}}}
  cerebras: {{keys: [env:PROVIDER_KEY], base_url: {cerebras}}}
  home: {{keys: [env:PROVIDER_KEY], base_url: {generic}}}
chains:
  default: [groq/openai/gpt-oss-120b]
  # For faults: a target that failed is left alone for a while.
  failing: [cerebras/gpt-oss-120b, home/qwen3]
aliases: {{"gpt-*": default}}
"""

# Asks by HTTP, through no proxy. One for all, for to make one is to read whom to trust by TLS, which takes longer than
# the answer.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def started(command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    """A process for a Program."""
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Program:
    """A program that runs till the block is left; what it prints is there to wait for."""

    def __init__(self, process: subprocess.Popen[str] | Forked) -> None:
        self._process = process
        self._printed = threading.Condition()
        self._text = {"out": "", "err": ""}
        self._open = {"out", "err"}
        assert self._process.stdout
        assert self._process.stderr
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream))
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._printed:
                    self._text[name] += line
                    self._printed.notify_all()
        with self._printed:
            self._open.remove(name)
            self._printed.notify_all()

    @property
    def out(self) -> str:
        return self._text["out"]

    @property
    def err(self) -> str:
        return self._text["err"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, pattern: str, *, stream: str = "out", seconds: float = 30) -> re.Match[str]:
        """The first match in what was printed; fails when the program ends, or time does, without one."""

        def said() -> re.Match[str] | None:
            return re.search(pattern, self._text[stream], re.MULTILINE)

        with self._printed:
            self._printed.wait_for(lambda: said() or not self._open, seconds)
            found = said()
        assert found, f"no {pattern!r} in what it printed:\n{self.out}\n{self.err}"
        return found

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Its exit status, once it has ended by itself."""
        status = self._process.wait(seconds)
        for reader in self._readers:
            reader.join()
        return status

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.send(number)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait()


class Front(Program):
    """mitmdump or mitmweb with the addon, on free ports."""

    @property
    def api(self) -> str:
        return self.wait_for(r"^  API +(http://\S+)/v1$")[1]

    @property
    def pages(self) -> str:
        return self.wait_for(r"^  pages +(http://[^/\s]+)")[1]

    @property
    def proxy(self) -> str:
        return self.wait_for(r"^  proxy +(http://\S+) ")[1]

    @property
    def reverse(self) -> str:
        return self.wait_for(r"^  reverse +(http://\S+/v1) ")[1]

    @property
    def token(self) -> str:
        return self.wait_for(r"^  token +(\S+)$")[1]


class Providers:
    """The simulator, in a thread of its own; ``call`` does something to it there."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.simulator = Simulator()
        self.run(self.simulator.start())

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        async def there() -> Any:
            return function(*arguments, **named)

        return self.run(there())

    def received(self) -> list[Any]:
        """The requests, without those for the lists of models, which come when they come."""
        return [record for record in self.call(self.simulator.control.received) if record.method == "POST"]

    def script(self, provider: str, fault: str, times: int = 1, **arguments: object) -> None:
        self.call(self.simulator.control.script, provider, fault, times, **arguments)

    def stop(self) -> None:
        self.run(self.simulator.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Local:
    """A server on this machine that answers HELLO, over TLS if it has a certificate; ``heard`` is all that it got."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.heard: list[bytes] = []
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                # What ends the server is a connection that says so.
                if connection.recv(4, socket.MSG_PEEK) == b"STOP":
                    return
                with suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True)
        self.heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nHELLO")
        connection.close()

    def stop(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"STOP")
        self._thread.join()
        self._socket.close()


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


def flows_in(path: Path) -> list[HTTPFlow]:
    """What mitmproxy wrote to a file."""
    with path.open("rb") as file:
        return [flow for flow in FlowReader(file).stream() if isinstance(flow, HTTPFlow)]


def free_port() -> int:
    """One that nothing listens on, by TCP or by UDP, for what can't choose one itself."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            port: int = stream.getsockname()[1]
            with suppress(OSError):
                datagrams.bind(("127.0.0.1", port))
                return port


def until(condition: Callable[[], object], *, seconds: float = 10) -> None:
    """Wait for what happens in another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not come about in time"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def simulated() -> Iterator[Providers]:
    providers = Providers()
    yield providers
    providers.stop()


@pytest.fixture
def providers(simulated: Providers) -> Providers:
    """The simulated providers, with nothing left of what other tests did to them."""
    simulated.call(simulated.simulator.control.reset)
    return simulated


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate for localhost, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server of its own")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("certificate") / "server.pem"
    path.write_bytes(key.private_bytes(*form) + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where mitmproxy keeps its certificate authority: made once, for that takes a second."""
    return tmp_path_factory.mktemp("mitmproxy")


class Starter:
    """Starts fronts in a folder of their own, elsewhere than in the checkout, and ends them.

    ``run`` starts a program as a shell does. The others fork it, which takes a tenth of the time.
    """

    def __init__(self, folder: Path, confdir: Path, config: str, stack: ExitStack) -> None:
        self.folder = folder
        self.certificate = confdir / "mitmproxy-ca-cert.pem"
        self.config = folder / "config.yaml"
        self.config.write_text(config, encoding="utf-8")
        self.env = {
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PATH": os.defpath,
            "PROVIDER_KEY": PROVIDER_KEY,
        }
        self.options = {
            "confdir": str(confdir),
            "chain429_config": str(self.config),
            "chain429_data_dir": str(folder / "data"),
            "chain429_listen": "127.0.0.1:0",
            "chain429_pages": "127.0.0.1:0",
        }
        self._stack = stack

    def arguments(self, **options: str) -> list[str]:
        """mitmproxy's, with options of ours changed or added; a free port for itself."""
        told = {**self.options, **options}
        return ["--listen-port", "0", *(part for name in told for part in ("--set", f"{name}={told[name]}"))]

    def begin(self, *more: str | Path, program: str = "mitmdump", **options: str) -> Front:
        return self.fork(program, "-s", ADDON, *self.arguments(**options), *more)

    def run(self, *command: str | Path, cwd: Path | None = None) -> Front:
        return self._stack.enter_context(Front(started(command, cwd=cwd or self.folder, env=self.env)))

    def fork(self, program: str, *arguments: str | Path) -> Front:
        command = [program, *(str(argument) for argument in arguments)]
        return self._stack.enter_context(Front(Forked(command, cwd=self.folder, env=self.env)))

    def start(self, *more: str | Path, program: str = "mitmdump", **options: str) -> Front:
        """One that has started."""
        front = self.begin(*more, program=program, **options)
        front.wait_for("^Try it:$")
        return front

    def serve(self) -> Front:
        """The gateway without a proxy."""
        told: list[str | Path] = ["--config", self.config, "--data-dir", self.folder / "data"]
        told += ["--listen", "127.0.0.1:0", "--pages", "127.0.0.1:0"]
        front = self.fork("chain429", "serve", *told)
        front.wait_for("^Try it:$")
        return front


def config_of(simulated: Providers) -> str:
    return CONFIG.format(**{name: simulated.simulator.base_url(name) for name in ("groq", "cerebras", "generic")})


@pytest.fixture(scope="module")
def shared(simulated: Providers, confdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """For what several tests of a module use."""
    with ExitStack() as stack:
        yield Starter(tmp_path_factory.mktemp("shared"), confdir, config_of(simulated), stack)


@pytest.fixture
def starter(simulated: Providers, confdir: Path, tmp_path: Path) -> Iterator[Starter]:
    """For what one test alone uses."""
    with ExitStack() as stack:
        yield Starter(tmp_path, confdir, config_of(simulated), stack)
