"""The pages on a port, and a browser's view of them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, CookieJar
from aiohttp.test_utils import TestClient, TestServer

from chain429.errors import RequestError
from chain429.routing.status import ChainStatus, LimitStatus, ProviderStatus, Status, TargetStatus
from chain429.routing.window import Window
from chain429.store.queries import Queries
from chain429.store.writer import Store
from chain429.web.pages import pages_app
from tests.fakes import FakeClock
from tests.web.gateway import FakeGateway

NOON = 1_750_000_000.0
TOKEN = "c429a_the-admin-token"
TEMPLATES = Path(__file__).resolve().parents[2] / "templates"

LIMITS = (
    LimitStatus("requests", Window.MINUTE, 30, 30, 0, NOON + 30, NOON + 41, "reported"),
    LimitStatus("tokens", Window.DAY, None, 5400, None, NOON + 80_000, NOON + 86_000, "counted"),
)
ALL_GOOD = Status(
    healthy=True,
    problems=(),
    chains=(
        ChainStatus(
            "default",
            (
                (TargetStatus("groq", "gpt-oss-120b", "groq-1", "cooling", "requests per minute", NOON + 30, LIMITS),),
                (TargetStatus("cerebras", "gpt-oss-120b", "cerebras-1", "available", "", None),),
            ),
        ),
    ),
    providers=(ProviderStatus("groq", "Groq", "free", "closed", "Not for <minors>."),),
    started=NOON - 60,
    version="0.1.0",
    simulated=False,
)


class Site:
    """The pages on a port, and a browser's view of them."""

    def __init__(self, client: TestClient[Any, Any], clock: FakeClock, store: Store, gateway: FakeGateway) -> None:
        self.client = client
        self.clock = clock
        self.store = store
        self.gateway = gateway
        self.status = ALL_GOOD
        self.cleared: list[tuple[str, str | None]] = []

    @property
    def origin(self) -> str:
        return str(self.client.make_url("")).rstrip("/")

    def clear(self, target: str, credential: str | None) -> tuple[str, ...]:
        if target != "groq/gpt-oss-120b":
            raise RequestError(f"There is no target {target!r}. There are: groq/gpt-oss-120b.", status=404)
        self.cleared.append((target, credential))
        return ("groq-1",) if credential is None else (credential,)

    async def get(self, path: str, **headers: str) -> ClientResponse:
        return await self.client.get(path, headers=headers, allow_redirects=False)

    async def post(self, path: str, data: dict[str, str], **headers: str) -> ClientResponse:
        return await self.client.post(path, data=data, headers=headers, allow_redirects=False)

    async def login(self) -> None:
        answer = await self.post("/login", {"token": TOKEN}, Origin=self.origin)
        assert (answer.status, answer.headers["Location"]) == (303, "/")

    async def page(self) -> str:
        answer = await self.get("/")
        assert answer.status == 200
        return await answer.text()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    clock = FakeClock(NOON)
    path = tmp_path / "log.db"
    store = Store(path, clock, lambda words: words)
    store.open()
    sites: list[Site] = []
    gateway = FakeGateway(tmp_path)

    def clear(target: str, credential: str | None) -> tuple[str, ...]:
        return sites[0].clear(target, credential)

    async def scrape(accept: str) -> tuple[bytes, str]:
        return f"for {accept}".encode(), "text/plain; version=0.0.4; charset=utf-8"

    app = pages_app(
        lambda now: sites[0].status,
        Queries(path),
        store,
        hashlib.sha256(TOKEN.encode()).digest(),
        clock,
        frozenset({"127.0.0.1", "localhost:4291"}),
        TEMPLATES,
        clear=clear,
        gateway=gateway,
        scrape=scrape,
    )
    async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as client:
        sites.append(Site(client, clock, store, gateway))
        yield sites[0]
    store.close()
