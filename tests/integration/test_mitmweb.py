"""mitmweb: each request is a flow that one can look at, and streaming goes on streaming."""

from __future__ import annotations

import json
import socket
import urllib.request
from typing import Any

from tests.integration.conftest import HELLO, TOOL_KEY, Front, Providers, Starter, address, free_port, until

PASSWORD = "a-password-for-the-test"


def web(port: int, path: str, method: str = "GET") -> bytes:
    """Ask mitmweb as its own page does."""
    headers = {
        "Authorization": f"Bearer {PASSWORD}",
        "Cookie": "_xsrf=abcd; _mitmproxy_xsrf=abcd",
        "X-XSRFToken": "abcd",
    }
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        body: bytes = answer.read()
        return body


def begin(front: Front, model: str) -> socket.socket:
    """A streamed request that is under way."""
    body = json.dumps({**HELLO, "model": model, "stream": True})
    head = [
        "POST http://api.openai.com/v1/chat/completions HTTP/1.1",
        "host: api.openai.com",
        f"authorization: Bearer {TOOL_KEY}",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    connection = socket.create_connection(address(front.proxy), timeout=30)
    connection.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
    return connection


def read_till(connection: socket.socket, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        piece = connection.recv(65536)
        assert piece, seen
        seen += piece
    return seen


def test_flows_are_shown_while_they_stream(starter: Starter, providers: Providers) -> None:
    port = free_port()
    options = {"web_port": str(port), "web_password": PASSWORD}
    front = starter.start("-q", "--no-web-open-browser", program="mitmweb", **options)

    def flows() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(web(port, "/flows"))
        return found

    providers.script("groq", "hang_mid_stream")
    with begin(front, "gpt-4o") as hanging:
        read_till(hanging, b"here. ")
        (flow,) = flows()
        assert flow["request"]["pretty_host"] == "api.openai.com"
        assert flow["request"]["path"] == "/v1/chat/completions"
        assert flow["comment"] == "default -> groq/openai/gpt-oss-120b, 1 attempt"
    until(lambda: flows()[0].get("error"))
    assert b"here." in web(port, f"/flows/{flow['id']}/response/content.data")

    providers.script("cerebras", "503")
    with begin(front, "failing") as connection:
        read_till(connection, b"data: [DONE]")
    until(lambda: len(flows()) == 2 and flows()[1]["response"]["timestamp_end"])
    flow = flows()[1]
    assert (flow["comment"], bool(flow["marked"])) == ("failing -> home/qwen3, 2 attempts", True)
    text = web(port, f"/flows/{flow['id']}/response/content.data")
    assert text.startswith(b"data: ")
    assert text.endswith(b"data: [DONE]\n\n")
    assert TOOL_KEY not in json.dumps(flows())

    web(port, f"/flows/{flow['id']}/replay", "POST")
    until(lambda: len(providers.received()) == 4)
    until(lambda: flows()[1].get("response"))
    assert (flows()[1]["comment"], flows()[1]["response"]["status_code"]) == ("failing -> home/qwen3, 1 attempt", 200)

    where = f"127.0.0.1:{port}"
    with socket.create_connection(address(front.proxy), timeout=30) as connection:
        connection.sendall(f"GET http://{where}/flows HTTP/1.1\r\nhost: {where}\r\nconnection: close\r\n\r\n".encode())
        assert read_till(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert front.stop() == 0
