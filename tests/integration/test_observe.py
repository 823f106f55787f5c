"""Hosts that are only observed: what goes there, and comes back, is left as it is, and what it used is known."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ADDON, HELLO, PROGRAMS, TOOL_KEY, Front, Starter, address, direct, until
from tests.integration.tunnel import Tunnel

BODY = json.dumps(HELLO, indent=3).encode()
ANSWER = (
    b'{"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":12,"completion_tokens":3}}'
)
FIRST = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
REST = (
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3}}\n\ndata: [DONE]\n\n'
)


class Host:
    """A provider's server, over TLS. Each request is one of ``heard``; a stream goes on once ``more`` is set."""

    def __init__(self, certificate: Path) -> None:
        self.heard: list[bytes] = []
        self.more = threading.Event()
        self.left = threading.Event()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def _listen(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if connection.recv(4, socket.MSG_PEEK) == b"STOP":
                connection.close()
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), self._tls.wrap_socket(connection, server_side=True) as secure:
            request = b""
            while not request.endswith(b"\r\n\r\n") and b"Hello" not in request:
                piece = secure.recv(65536)
                if not piece:
                    return
                request += piece
            self.heard.append(request)
            head = b"HTTP/1.1 200 OK\r\nx-ratelimit-remaining-tokens: 77\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n"
            if b'"stream"' in request:
                secure.sendall(head + b"content-type: text/event-stream\r\nconnection: close\r\n\r\n" + FIRST)
                while not self.more.wait(0.02):
                    secure.settimeout(0.001)
                    with suppress(TimeoutError):
                        if secure.recv(1) == b"":
                            self.left.set()
                            return
                secure.settimeout(30)
                secure.sendall(REST)
            elif request.startswith(b"POST"):
                told = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
                secure.sendall(head + told + ANSWER)
            else:
                secure.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nnone")

    def stop(self) -> None:
        self.more.set()
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"STOP")
        for thread in self._threads:
            thread.join()
        self._socket.close()


@pytest.fixture(scope="module")
def server(certificate: Path) -> Iterator[Host]:
    server = Host(certificate)
    yield server
    server.stop()


@pytest.fixture
def host(server: Host) -> Host:
    server.heard.clear()
    server.more.clear()
    server.left.clear()
    return server


@pytest.fixture(scope="module")
def front(shared: Starter, certificate: Path) -> Front:
    shared.env["SSL_CERT_FILE"] = str(certificate)
    shared.config.write_text(
        shared.config.read_text(encoding="utf-8")
        + "proxy:\n  hosts:\n    localhost: observe\n    api.openai.com: failing\n    chain429.internal:\n",
        encoding="utf-8",
    )
    # Not forked: whom to trust is read where aiohttp is imported.
    front = shared.run(PROGRAMS / "mitmdump", "-q", "-s", ADDON, *shared.arguments(chain429_allow_local="true"))
    front.wait_for("^Try it:$")
    return front


def tunnel(front: Front, shared: Starter, where: str, *protocols: str) -> Tunnel:
    return Tunnel(front.proxy, shared.certificate, where, *protocols)


def logged(front: Front, shared: Starter) -> list[dict[str, Any]]:
    token = (shared.folder / "data" / "admin-token").read_text(encoding="ascii").strip()
    request = urllib.request.Request(f"{front.pages}/admin/api/requests", headers={"authorization": f"Bearer {token}"})
    with direct.open(request, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)["requests"]
        return found


def headers_of(request: bytes) -> dict[str, str]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def test_what_is_observed_goes_on_unchanged_and_its_usage_is_known(front: Front, shared: Starter, host: Host) -> None:
    where = f"localhost:{host.port}"
    answer = tunnel(front, shared, where).ask(
        f"POST /v1/chat/completions?key={TOOL_KEY}&b=%7Ea HTTP/1.1",
        f"host: {where}",
        f"authorization: Bearer {TOOL_KEY}",
        "cookie: session=1; other=2",
        "openai-organization: org",
        "x-request-id: mine-1",
        "content-type: application/json",
        body=BODY,
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == ANSWER
    assert head.count(b"et-cookie: ") + head.count(b"et-Cookie: ") == 2
    assert b"x-ratelimit-remaining-tokens: 77" in head
    (heard,) = host.heard
    assert heard.startswith(f"POST /v1/chat/completions?key={TOOL_KEY}&b=%7Ea HTTP/1.1\r\n".encode())
    assert heard.endswith(b"\r\n\r\n" + BODY)
    headers = headers_of(heard)
    assert (headers["host"], headers["authorization"]) == (where, f"Bearer {TOOL_KEY}")
    assert (headers["cookie"], headers["openai-organization"]) == ("session=1; other=2", "org")
    assert not [name for name in headers if "chain429" in name]
    until(lambda: any(row["id"] == "mine-1" for row in logged(front, shared)))
    row = next(row for row in logged(front, shared) if row["id"] == "mine-1")
    assert (row["chain"], row["provider"], row["model"], row["outcome"]) == ("observe", "localhost", "gpt-4o", "served")
    assert (row["tokens_in"], row["tokens_out"]) == (12, 3)
    assert TOOL_KEY.encode() not in b"".join(path.read_bytes() for path in (shared.folder / "data").rglob("*.db*"))


def test_over_http2_keys_are_out_of_the_flow_and_back_at_the_host(front: Front, shared: Starter, host: Host) -> None:
    """mitmproxy's HTTP layer, where flows are shown and written."""
    client = tunnel(front, shared, f"localhost:{host.port}", "h2")
    assert client.socket.selected_alpn_protocol() == "h2"
    sent = (("authorization", f"Bearer {TOOL_KEY}"), ("x-request-id", "mine-2"), ("content-type", "application/json"))
    path = f"/v1/chat/completions?api_key={TOOL_KEY}&b=%7Ea"
    assert client.ask_http2("POST", path, *sent, body=BODY) == (200, ANSWER)
    (heard,) = host.heard
    assert heard.startswith(f"POST /v1/chat/completions?api_key={TOOL_KEY}&b=%7Ea HTTP/1.1\r\n".encode())
    headers = headers_of(heard)
    assert headers["authorization"] == f"Bearer {TOOL_KEY}"
    assert not [name for name in headers if "chain429" in name]
    until(lambda: any(row["id"] == "mine-2" and row["tokens_in"] == 12 for row in logged(front, shared)))


def test_a_stream_comes_as_it_is_made(front: Front, shared: Starter, host: Host) -> None:
    client = tunnel(front, shared, f"localhost:{host.port}")
    body = json.dumps({"stream": True, **HELLO}).encode()
    with client.socket:
        client.send(
            "POST /v1/chat/completions HTTP/1.1", "host: localhost", "connection: close", "x-request-id: s-1", body=body
        )
        seen = b""
        while FIRST not in seen:
            seen += client.socket.recv(65536)
        host.more.set()
        while piece := client.socket.recv(65536):
            seen += piece
    assert b"data: [DONE]\n\n" in seen
    until(lambda: any(row["id"] == "s-1" and row["tokens_out"] == 3 for row in logged(front, shared)))


def test_a_client_that_leaves_takes_the_hosts_work_with_it(front: Front, shared: Starter, host: Host) -> None:
    client = tunnel(front, shared, f"localhost:{host.port}")
    body = json.dumps({"stream": True, **HELLO}).encode()
    with client.socket:
        client.send("POST /v1/chat/completions HTTP/1.1", "host: localhost", "x-request-id: left-1", body=body)
        seen = b""
        while FIRST not in seen:
            seen += client.socket.recv(65536)
    assert host.left.wait(5)
    until(lambda: any((row["id"], row["outcome"]) == ("left-1", "cancelled") for row in logged(front, shared)))


def test_whatever_is_asked_is_for_the_host_to_answer(front: Front, shared: Starter, host: Host) -> None:
    for path in ("/health", "/v1/models?after=1", "/v1/files/a%2Fb"):
        answer = tunnel(front, shared, f"localhost:{host.port}").ask(f"GET {path} HTTP/1.1", "host: localhost")
        assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n"), answer
        assert answer.endswith(b"none")
    assert [heard.split(b" ")[1] for heard in host.heard] == [b"/health", b"/v1/models?after=1", b"/v1/files/a%2Fb"]


def test_no_page_of_a_browser_and_none_of_our_own_ports(front: Front, shared: Starter, host: Host) -> None:
    where = f"localhost:{host.port}"
    page = tunnel(front, shared, where).ask("GET / HTTP/1.1", f"host: {where}", "origin: https://evil.example")
    assert page.startswith(b"HTTP/1.1 401")
    own = address(front.pages)[1]
    answer = tunnel(front, shared, f"localhost:{own}").ask("GET / HTTP/1.1", f"host: localhost:{own}")
    assert answer.startswith(b"HTTP/1.1 502")
    assert b"is chain429's own" in answer
    assert host.heard == []


def test_a_host_has_its_chain(front: Front, shared: Starter) -> None:
    for host, chain in (("api.openai.com", "failing"), ("chain429.internal", "default")):
        answer = tunnel(front, shared, f"{host}:443").ask(
            "POST /v1/chat/completions HTTP/1.1", f"host: {host}", "content-type: application/json", body=BODY
        )
        assert f"x-chain429-chain: {chain}".encode() in answer, answer
