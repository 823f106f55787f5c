"""The request log of a real gateway, while its disk and its file fail in every way that they can."""

from __future__ import annotations

import json
import resource
import signal
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chain429.store.queries import Filter, Queries
from tests.integration.conftest import HELLO, Front, Providers, Starter, direct, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux's")

SAYS = "The request log can't be written: "


@pytest.fixture(scope="module")
def gateway(shared: Starter) -> Iterator[Front]:
    with shared.serve() as front:
        yield front


@pytest.fixture
def path(shared: Starter) -> Path:
    return shared.folder / "data" / "chain429.db"


def ask(front: Front, name: str) -> None:
    """A request is served, whatever the log does."""
    headers = {
        "authorization": f"Bearer {front.token}",
        "content-type": "application/json",
        "x-request-id": name.replace(" ", "-"),
    }
    body = json.dumps({**HELLO, "model": "default"}).encode()
    with direct.open(urllib.request.Request(f"{front.api}/v1/chat/completions", body, headers), timeout=30) as answer:
        assert answer.status == 200


def log_says(front: Front) -> str:
    with direct.open(f"{front.api}/health", timeout=30) as answer:
        health: dict[str, Any] = json.loads(answer.read())
    assert health["status"] == "ok" if health["log"] == "ok" else "degraded"
    return str(health["log"])


def page_of(front: Front, starter: Starter, path: str) -> str:
    token = (starter.folder / "data" / "admin-token").read_text().strip()
    request = urllib.request.Request(f"{front.pages}{path}", headers={"authorization": f"Bearer {token}"})
    with direct.open(request, timeout=30) as answer:
        return str(answer.read().decode())


def logged(path: Path, name: str) -> bool:
    return Queries(path).request(name.replace(" ", "-")) is not None


def test_a_disk_that_takes_no_more(gateway: Front, shared: Starter, path: Path) -> None:
    ask(gateway, "before")
    until(lambda: logged(path, "before"))
    usual = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (4096, usual[1]))
    ask(gateway, "while full")
    until(lambda: log_says(gateway).startswith(f"{SAYS}the disk fails, or is full"))
    ask(gateway, "while known to be full")
    assert "The request log can&#39;t be written: the disk fails" in page_of(gateway, shared, "/")
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, usual)
    until(lambda: log_says(gateway) == "ok")
    assert all(logged(path, name) for name in ("before", "while full", "while known to be full"))


def test_a_lock_of_another_program(gateway: Front, shared: Starter, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ask(gateway, "while locked")
        until(lambda: log_says(gateway).startswith(f"{SAYS}another program has locked it."))
        assert "another program has locked it" in page_of(gateway, shared, "/")
        ask(gateway, "while known to be locked")
        other.execute("ROLLBACK")
    until(lambda: log_says(gateway) == "ok")
    assert logged(path, "while locked")
    assert logged(path, "while known to be locked")


def test_a_kill_in_the_middle_of_writing(gateway: Front, path: Path) -> None:
    before = time.monotonic()
    told: list[tuple[float, str]] = []
    while time.monotonic() < before + 1.2:
        name = f"hurry-{len(told)}"
        ask(gateway, name)
        told.append((time.monotonic(), name))
    killed = time.monotonic()
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept = {row.request.id for row in Queries(path).search(Filter(), 10_000).requests}
    assert {name for ended, name in told if ended < killed - 1} <= kept
    assert "while-locked" in kept


def test_a_damaged_file(shared: Starter, providers: Providers, path: Path) -> None:
    """A part of it is overwritten, as by a failing disk: nobody sees that before it is read."""
    before = [row.request.id for row in Queries(path).search(Filter(), 10_000).requests]
    damaged = before[len(before) // 2]
    content = path.read_bytes()
    page = content.index(damaged.encode()) // 4096 * 4096
    path.write_bytes(content[:page] + b"\xff" * 4096 + content[page + 4096 :])

    front = shared.serve()
    assert log_says(front) == "ok"
    ask(front, "after the damage")
    until(lambda: logged(path, "after the damage"))
    page_of(front, shared, "/requests?text=nothing")
    until(lambda: "was set aside as chain429.db.corrupt-20" in log_says(front))
    ask(front, "in the new one")
    until(lambda: logged(path, "in the new one"))
    assert "requests that could still be read" in page_of(front, shared, "/")
    assert logged(path, "after the damage")
    kept = {row.request.id for row in Queries(path).search(Filter(), 10_000).requests}
    assert kept.intersection(before)
