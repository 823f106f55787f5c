"""mitmweb: requests and their attempts are flows that one can look at, and streaming goes on streaming."""

from __future__ import annotations

import json
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import HELLO, TOOL_KEY, Front, Providers, Starter, address, direct, free_port, until

PASSWORD = "a-password-for-the-test"
# What tests that drive a browser leave behind.
SCREENSHOTS = Path(__file__).parent.parent.parent / "screenshots"


@pytest.fixture(scope="module")
def started(shared: Starter) -> Iterator[tuple[Front, int]]:
    """A running mitmweb, and the port of its page."""
    port = free_port()
    options = {"web_port": str(port), "web_password": PASSWORD}
    front = shared.start("-q", "--no-web-open-browser", program="mitmweb", **options)
    yield front, port
    assert front.stop() == 0


@pytest.fixture
def mitmweb(started: tuple[Front, int]) -> tuple[Front, int]:
    """The same, without the flows of other tests."""
    web(started[1], "/clear", "POST")
    return started


def web(port: int, path: str, method: str = "GET") -> bytes:
    """Ask mitmweb as its own page does."""
    headers = {
        "Authorization": f"Bearer {PASSWORD}",
        "Cookie": "_xsrf=abcd; _mitmproxy_xsrf=abcd",
        "X-XSRFToken": "abcd",
    }
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers, method=method)
    with direct.open(request, timeout=30) as answer:
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


def test_flows_are_shown_while_they_stream(mitmweb: tuple[Front, int], providers: Providers) -> None:
    front, port = mitmweb

    def flows() -> list[dict[str, Any]]:
        """Those of clients; their attempts are beside them."""
        found: list[dict[str, Any]] = json.loads(web(port, "/flows"))
        return [flow for flow in found if not flow["comment"].startswith("attempt ")]

    providers.script("groq", "hang_mid_stream")
    with begin(front, "gpt-4o") as hanging:
        read_till(hanging, b"here. ")
        (flow,) = flows()
        assert flow["request"]["pretty_host"] == "api.openai.com"
        assert flow["request"]["path"] == "/v1/chat/completions"
        assert flow["comment"].startswith("default -> groq/openai/gpt-oss-120b, 1 attempt (")
    until(lambda: flows()[0].get("error"))
    assert b"here." in web(port, f"/flows/{flow['id']}/response/content.data")

    providers.script("cerebras", "503")
    with begin(front, "failing") as connection:
        # To the end, as a flow is replayed only when it is over.
        assert b"data: [DONE]" in b"".join(iter(lambda: connection.recv(65536), b""))
    until(lambda: len(flows()) == 2 and flows()[1]["response"]["timestamp_end"])
    flow = flows()[1]
    assert (flow["comment"].partition(" (")[0], bool(flow["marked"])) == ("failing -> home/qwen3, 2 attempts", True)
    text = web(port, f"/flows/{flow['id']}/response/content.data")
    assert text.startswith(b"data: ")
    assert text.endswith(b"data: [DONE]\n\n")
    assert TOOL_KEY not in json.dumps(flows())

    web(port, f"/flows/{flow['id']}/replay", "POST")
    until(lambda: len(providers.received()) == 4)
    until(lambda: flows()[1].get("response"))
    flow = flows()[1]
    assert ", 1 attempt (" in flow["comment"]
    assert flow["response"]["status_code"] == 200

    where = f"127.0.0.1:{port}"
    with socket.create_connection(address(front.proxy), timeout=30) as connection:
        connection.sendall(f"GET http://{where}/flows HTTP/1.1\r\nhost: {where}\r\nconnection: close\r\n\r\n".encode())
        assert read_till(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 403")


def test_attempts_and_commands_are_seen_in_the_browser(mitmweb: tuple[Front, int], providers: Providers) -> None:
    front, port = mitmweb
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 700})
        page.set_default_timeout(60_000)
        page.goto(f"http://127.0.0.1:{port}/?token={PASSWORD}")

        def command(line: str, answer: str) -> str:
            """What the command bar says."""
            bar = page.locator(".command input")
            bar.fill(line)
            bar.press("Enter")
            said: str = page.get_by_text(answer).inner_text()
            return said

        try:
            page.get_by_text("Options", exact=True).click()
            page.get_by_text("Display Command Bar").click()
            command("chain429.clear cerebras/gpt-oss-120b", '"cerebras/gpt-oss-120b is cleared, with cerebras/')
            command("chain429.chain failing api.openai.com", '"api.openai.com: chain failing"')
            providers.script("cerebras", "429")
            with begin(front, "gpt-4o") as connection:
                read_till(connection, b"data: [DONE]")
            rows = page.locator("tbody tr.has-request")
            rows.nth(2).get_by_text("attempt 2 of").wait_for()
            rows.nth(2).get_by_text("200").wait_for()
            client, refused, served = [" ".join(text.split()) for text in rows.all_inner_texts()]
            rows.nth(1).click()
            limits = command("chain429.limits", '["target","key","state","back in","left"]')
            command("chain429.chain -", "chain429.internal: as configured")
        finally:
            # Of a failure as well.
            SCREENSHOTS.mkdir(exist_ok=True)
            page.screenshot(path=SCREENSHOTS / "mitmweb.png")
            browser.close()
    assert "api.openai.com" in client
    assert "failing -> home/qwen3, 2 attempts (req_" in client
    assert "/cerebras/v1/chat/completions" in refused
    assert " 429 " in refused
    assert "attempt 1 of req_" in refused
    assert "/generic/v1/chat/completions" in served
    assert '"cerebras/gpt-oss-120b","cerebras/PROVIDER_KEY",' in limits
