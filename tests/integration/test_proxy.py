"""``HTTPS_PROXY``: tools with a hard-wired host, and what the proxy keeps its hands off."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.integration.conftest import HELLO, PROVIDER_KEY, TOOL_KEY, Front, Local, Providers, Starter, address, until

# What the system's resolver takes for 127.0.0.1.
SPELLINGS = ["2130706433", "0177.0.0.1", "0x7f.1", "127.1"]
# What a user has: a tool that knows nothing of chain429, and two environment variables.
TOOL = """
import json
from openai import OpenAI
client = OpenAI(max_retries=0)
asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
whole = client.chat.completions.create(**asked).choices[0].message.content
pieces = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(stream=True, **asked)
          if chunk.choices]
print(json.dumps({"host": client.base_url.host, "whole": whole, "pieces": pieces}))
"""


@pytest.fixture(scope="module")
def front(shared: Starter) -> Front:
    return shared.start("-q")


def ask(front: Front, *lines: str) -> str:
    """Send these header lines to the proxy; everything that comes back."""
    with socket.create_connection(address(front.proxy), timeout=30) as connection:
        connection.sendall(("\r\n".join([*lines, "connection: close"]) + "\r\n\r\n").encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def curl(front: Front, shared: Starter, url: str, *more: str) -> str:
    """As ``curl -x`` has it; the tests need no curl of their own version."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("there is no curl here")
    command = [program, "-sS", "-m", "30", "--noproxy", "", "-x", front.proxy, "--cacert", str(shared.certificate)]
    done = subprocess.run([*command, *more, url], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_tool_with_a_hard_wired_host_is_served_by_the_chain(
    front: Front, shared: Starter, providers: Providers
) -> None:
    environment = {
        "HTTPS_PROXY": front.proxy,
        "SSL_CERT_FILE": str(shared.certificate),
        "OPENAI_API_KEY": TOOL_KEY,
        "PATH": os.defpath,
    }
    command = [sys.executable, "-c", TOOL]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["host"] == "api.openai.com"
    assert said["whole"] == "".join(said["pieces"]) == "groq/openai/gpt-oss-120b here. You said: Hello"
    assert len(said["pieces"]) > 2
    received = providers.received()
    assert [record.key for record in received] == [PROVIDER_KEY] * 2
    assert TOOL_KEY not in json.dumps([asdict(record) for record in received])


@pytest.mark.parametrize(
    ("host", "version"),
    [
        ("https://chain429.internal", "--http1.1"),
        ("https://chain429.internal", "--http2"),
        ("https://API.openai.com", "--http2"),
        ("http://chain429.internal", "--http1.1"),
    ],
)
def test_curl(front: Front, shared: Starter, providers: Providers, host: str, version: str) -> None:
    sent = ["-H", "content-type: application/json", "-H", f"authorization: Bearer {TOOL_KEY}", "-d", json.dumps(HELLO)]
    answer = json.loads(curl(front, shared, f"{host}/v1/chat/completions", version, *sent))
    assert answer["choices"][0]["message"]["content"] == "groq/openai/gpt-oss-120b here. You said: Hello"


def test_the_next_target_answers_when_the_first_is_at_its_limit(
    front: Front, shared: Starter, providers: Providers
) -> None:
    providers.script("cerebras", "503")
    sent = ["-H", "content-type: application/json", "-d", json.dumps({**HELLO, "model": "failing"})]
    answer = curl(front, shared, "https://api.openai.com/v1/chat/completions", "-i", *sent)
    assert "x-chain429-provider: home" in answer
    assert "x-chain429-attempts: 2" in answer


def test_a_client_that_leaves_ends_the_providers_work(front: Front, providers: Providers) -> None:
    providers.script("groq", "hang_mid_stream")
    body = json.dumps({**HELLO, "stream": True})
    head = [
        "POST http://api.openai.com/v1/chat/completions HTTP/1.1",
        "host: api.openai.com",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    with socket.create_connection(address(front.proxy), timeout=30) as connection:
        connection.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
        # The provider has not finished and never will: what arrives now was passed on as it came.
        seen = b""
        while b"here" not in seen:
            piece = connection.recv(65536)
            assert piece, seen
            seen += piece
        (record,) = providers.received()
        assert not record.done
    until(lambda: record.done, seconds=1)
    assert record.closed_early


@pytest.mark.parametrize("target", ["api", "pages"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "[::1]", *SPELLINGS])
def test_the_gateways_own_ports_are_not_reached_through_the_proxy(front: Front, target: str, host: str) -> None:
    where = f"{host}:{address(getattr(front, target))[1]}"
    for head in (f"GET http://{where}/health HTTP/1.1", f"CONNECT {where} HTTP/1.1"):
        answer = ask(front, head, f"host: {where}")
        assert answer.startswith("HTTP/1.1 403"), answer
        assert "leave it out (NO_PROXY=" in answer


@pytest.fixture
def plain_server() -> Iterator[Local]:
    server = Local()
    yield server
    server.stop()


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[Local]:
    server = Local(certificate)
    yield server
    server.stop()


def test_other_servers_of_this_machine_are_out_of_reach_too(front: Front, plain_server: Local) -> None:
    where = f"localhost:{plain_server.port}"
    for head in (f"GET http://{where}/ HTTP/1.1", f"CONNECT {where} HTTP/1.1"):
        assert ask(front, head, f"host: {where}").startswith("HTTP/1.1 403")
    assert plain_server.heard == []


def test_by_socks_neither_not_even_by_name(starter: Starter, plain_server: Local) -> None:
    """The way on which nothing can be answered, so that only cutting the connection is left."""
    front = starter.start("--mode", "socks5")
    port = int(front.wait_for(r"SOCKS v5 proxy listening at 127\.0\.0\.1:(\d+)")[1])
    name = b"localhost"
    connect = b"\x05\x01\x00\x03" + bytes([len(name)]) + name + plain_server.port.to_bytes(2, "big")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"\x05\x01\x00")
        assert connection.recv(2) == b"\x05\x00"
        connection.sendall(connect)
        assert connection.recv(65536).startswith(b"\x05\x00")
        # No HTTP, which would be answered.
        connection.sendall(b"\x00\x01\x02 not HTTP")
        assert connection.recv(65536) == b""
    assert [piece for piece in plain_server.heard if piece] == []
    front.wait_for("cut a connection through the proxy to 127.0.0.1", stream="err")


def test_a_host_that_is_not_covered_keeps_its_own_certificate(
    starter: Starter, tls_server: Local, certificate: Path
) -> None:
    front = starter.start("-q", chain429_allow_local="true")
    trust = ssl.create_default_context(cafile=certificate)
    with socket.create_connection(address(front.proxy), timeout=30) as connection:
        connection.sendall(f"CONNECT localhost:{tls_server.port} HTTP/1.1\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with trust.wrap_socket(connection, server_hostname="localhost") as secure:
            assert secure.getpeercert(binary_form=True) == own_certificate(certificate)
            secure.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer theirs\r\n\r\n")
            assert b"".join(iter(lambda: secure.recv(65536), b"")).endswith(b"HELLO")
    # Not even what one is allowed to reach makes chain429's own ports reachable.
    where = f"127.0.0.1:{address(front.pages)[1]}"
    assert ask(front, f"GET http://{where}/ HTTP/1.1", f"host: {where}").startswith("HTTP/1.1 403")
    assert tls_server.heard == [b"GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer theirs\r\n\r\n"]


def own_certificate(certificate: Path) -> bytes:
    pem = certificate.read_text(encoding="ascii")
    return ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])


def test_a_flow_file_has_no_key_and_no_token(starter: Starter, providers: Providers, tmp_path: Path) -> None:
    file = tmp_path / "flows"
    front = starter.start("-q", "-w", file)
    providers.script("cerebras", "401")
    sent = ["-H", "content-type: application/json", "-H", f"authorization: Bearer {TOOL_KEY}"]
    for body in ({**HELLO, "model": "failing"}, {**HELLO, "stream": True}):
        url = f"https://api.openai.com/v1/chat/completions?key={TOOL_KEY}"
        assert "here." in curl(front, starter, url, *sent, "-H", f"api-key: {TOOL_KEY}", "-d", json.dumps(body))
    admin = (starter.folder / "data" / "admin-token").read_text(encoding="ascii").strip()
    token = front.token
    assert front.stop() == 0
    written = file.read_bytes()
    for expected in (
        b"api.openai.com",
        b"home/qwen3, 2 attempts",
        b"groq/openai/gpt-oss-120b, 1 attempt",
        b"data: [DONE]",
    ):
        assert expected in written
    for secret in (TOOL_KEY, PROVIDER_KEY, token, admin):
        assert secret.encode() not in written
