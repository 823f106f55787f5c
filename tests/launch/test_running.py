"""What a running proxy tells of itself, and what is believed of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from chain429.launch.running import Running, forget, health, record, recorded, running_proxy

RUNNING = Running("http://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1", Path("/ca.pem"))


class Gateway(BaseHTTPRequestHandler):
    said = b'{"status": "ok", "simulated": true}'

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.said if self.path == "/health" else b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


class Other(Gateway):
    said = b"<html>"


@pytest.fixture
def serve() -> Iterator[dict[type[Gateway], str]]:
    servers = {kind: HTTPServer(("127.0.0.1", 0), kind) for kind in (Gateway, Other)}
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers.values()]
    for thread in threads:
        thread.start()
    yield {kind: f"http://127.0.0.1:{server.server_port}" for kind, server in servers.items()}
    for server in servers.values():
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join()


def test_what_was_recorded_is_found_until_it_is_forgotten(tmp_path: Path) -> None:
    assert recorded(tmp_path) is None
    record(tmp_path, RUNNING)
    assert recorded(tmp_path) == RUNNING
    forget(tmp_path, replace(RUNNING, proxy="http://127.0.0.1:2"))
    assert recorded(tmp_path) == RUNNING
    forget(tmp_path, RUNNING)
    assert recorded(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", '{"proxy": "x"}', "\xff"])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "proxy.json").write_text(text, encoding="latin-1")
    assert recorded(tmp_path) is None


def test_one_that_was_killed_is_not_running(tmp_path: Path, serve: dict[type[Gateway], str]) -> None:
    record(tmp_path, RUNNING)
    assert running_proxy(tmp_path) is None
    # Another program has its port now.
    record(tmp_path, replace(RUNNING, api=serve[Other]))
    assert running_proxy(tmp_path) is None
    alive = replace(RUNNING, api=serve[Gateway])
    record(tmp_path, alive)
    assert running_proxy(tmp_path) == alive
    assert (health(alive) or {})["simulated"] is True
