"""What comes of silence: the memory of streams that say nothing, and the first word after a while of none."""

from __future__ import annotations

import socket
import ssl
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from mitmproxy.certs import CertStore

from scripts.benchmark.contestants import (
    DIRECT,
    GATEWAY,
    KEY,
    LANE,
    Process,
    free_port,
    gateway,
    mitmdump,
    module,
    token_of,
)
from scripts.benchmark.load import WORD, Plan, Unexpected
from scripts.benchmark.report import Bar, Figures, verdicts

# What stands for it among the contestants.
IDLING = "idling"

_CONFIG = """
providers:
  bench: {{preset: groq, base_url: "https://localhost:{port}/v1", keys: [env:BENCH_KEY], limits: {{rpm: 10000000}}}}
chains:
  default: [bench/whole]
  idle: [bench/idle]
"""
_HOST = "127.0.0.1"
# Seconds to the provider, one way: as far as one on the same continent.
_AWAY = 0.01
_WAIT = 30.0
# Connections that are being made at a time: no more than wait to be accepted.
_AT_ONCE = 50


def measure(folder: Path, streams: int, times: int, pause: float) -> dict[str, dict[str, float]]:
    """The figures of each contestant: ``memory`` in MB that so many idle streams take, and ``first``, the seconds to
    the first word, the one in the middle of so many times, after ``pause`` seconds without a request. The provider
    speaks TLS and is some way off; what is asked directly is asked over a new connection each time. Raises NoStart and
    Unexpected."""
    certificate, authority = _certificate(folder)
    trusting = ssl.create_default_context(cafile=authority)
    found: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:

        def start(name: str, command: list[str]) -> Process:
            process = Process(name, command, folder, SSL_CERT_FILE=str(authority))
            stack.callback(process.stop)
            return process

        near = start("provider", [*module("provider"), str(certificate)]).port()
        provider = start("distance", [*module("distance"), str(near), str(_AWAY)]).port()
        config = folder / "chain429.yaml"
        config.write_text(_CONFIG.format(port=provider), encoding="utf-8")

        def directly() -> socket.socket:
            return trusting.wrap_socket(socket.create_connection((_HOST, provider), _WAIT), server_hostname="localhost")

        found[DIRECT] = {"first": _first(directly, Plan(provider, KEY, "stream-8", 1, words=8), times, pause)}
        for name in (GATEWAY, LANE):
            data, port = folder / name, free_port()
            process = start(name, gateway(config, data) if name == GATEWAY else mitmdump(config, data, port, "never"))
            port = process.port() if name == GATEWAY else process.listening(port)
            process.port()  # It has come up.
            found[name] = _figures(process, port, token_of(data), streams, times, pause)
    return found


def _figures(process: Process, port: int, token: str, streams: int, times: int, pause: float) -> dict[str, float]:
    def connect() -> socket.socket:
        return socket.create_connection((_HOST, port), _WAIT)

    asked = Plan(port, token, "bench/stream-8", 1, words=8)
    first = _first(connect, asked, times, pause)
    before = process.memory()
    request = Plan(port, token, "idle", 1, words=1).request()
    with ExitStack() as stack:
        opened: list[socket.socket] = []
        for number in range(streams):
            opened.append(stack.enter_context(connect()))
            opened[-1].sendall(request)
            if number % _AT_ONCE == _AT_ONCE - 1:
                for one in opened[-_AT_ONCE:]:
                    _hear(one)
        for one in opened[streams - streams % _AT_ONCE :]:
            _hear(one)
        return {"first": first, "memory": process.memory() - before}


def _first(connect: Callable[[], socket.socket], plan: Plan, times: int, pause: float) -> float:
    taken = []
    for number in range(times + 1):
        began = time.perf_counter()
        with connect() as connection:
            connection.sendall(plan.request())
            _hear(connection)
            taken.append(time.perf_counter() - began)
        if number < times:
            time.sleep(pause)
    # The very first one finds nothing that it needs in memory yet.
    return statistics.median(taken[1:])


def _hear(connection: socket.socket) -> None:
    """Until the first word has come."""
    heard = b""
    while WORD not in heard:
        piece = b""
        with suppress(TimeoutError):
            piece = connection.recv(65536)
        if not piece:
            raise Unexpected(f"{heard[:1000]!r}")
        heard += piece


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Files: a certificate for localhost with its key, and the authority's that it is to be checked with."""
    store = CertStore.from_store(folder, "bench", 2048)
    made = store.get_cert("localhost", [x509.DNSName("localhost")])
    key = made.privatekey.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = folder / "localhost.pem"
    certificate.write_bytes(made.cert.to_pem() + key)
    return certificate, folder / "bench-ca-cert.pem"


def bars(figures: Figures) -> list[Bar]:
    """What the gateway has to live up to."""
    direct = figures[DIRECT]["first"]
    return [
        bar
        for name in (GATEWAY, LANE)
        for bar in (
            Bar(f"first word after idling, {name}", figures[name]["first"] / direct, 1.0, "x a new call, directly"),
            Bar(f"memory of idle streams, {name}", figures[name]["memory"], 60.0, "MB over the idle process"),
        )
    ]


def table(figures: Mapping[str, Mapping[str, float]], streams: int) -> str:
    """A line for each contestant, then the bars."""
    lines = [f"{'':44}{'first word [ms]':>18}{f'{streams} streams [MB]':>18}"]
    for name, own in figures.items():
        memory = f"{own['memory']:.1f}" if "memory" in own else ""
        lines.append(f"{name + ', after idling':44}{own['first'] * 1e3:>18.3f}{memory:>18}")
    return "\n".join([*lines, "", *verdicts(bars(figures))])
