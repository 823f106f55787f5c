"""One gateway on simulated providers, and one Chromium that looks at its pages."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.integration.conftest import ROOT, Front, Providers, Starter, direct
from tests.npm import NotInstalled, installed

SCREENSHOTS = ROOT / "screenshots"
AXE = Path(__file__).parent / "axe"
KEY = "sim-typed-key-0123456789"
CONFIG = """
providers:
  groq: {{keys: [env:PROVIDER_KEY], base_url: {groq}}}
  cerebras: {{keys: [env:PROVIDER_KEY], base_url: {cerebras}}}
  home: {{keys: [env:PROVIDER_KEY], base_url: {generic}}}
chains:
  default: [groq/openai/gpt-oss-120b, cerebras/gpt-oss-120b, home/qwen3]
aliases: {{"gpt-*": default}}
"""
TARGETS = ("groq/openai/gpt-oss-120b", "cerebras/gpt-oss-120b", "home/qwen3")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# For what a page does over several requests, on a machine that is busy.
MILLISECONDS = 10_000


@dataclass
class Gateway:
    """The running gateway. ``providers`` are the simulated ones that it has, ``config`` is its file."""

    front: Front
    config: Path
    providers: Providers

    def ask(self, prompt: str, model: str = "default") -> tuple[str, str]:
        """A chat completion: its id, and what it says."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        _, headers, told = self._call("POST", f"{self.front.api}/v1/chat/completions", self.front.token, body)
        return headers["x-chain429-request-id"], json.dumps(told)

    def admin(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        status, _, told = self._call(method, f"{self.front.pages}/admin/api/{path}", self.admin_token, body)
        assert status == 200, told
        return told

    def is_logged(self, id: str) -> bool:
        return self._call("GET", f"{self.front.pages}/admin/api/requests/{id}", self.admin_token)[0] == 200

    @property
    def admin_token(self) -> str:
        return self.front.wait_for(r"^  pages +\S+/login#(\S+)$")[1]

    def calm(self) -> None:
        """Nothing is left of what went wrong before."""
        self.providers.call(self.providers.simulator.control.reset)
        for target in TARGETS:
            self.admin("POST", "limits/clear", {"target": target})

    def _call(
        self, method: str, url: str, token: str, body: object = None
    ) -> tuple[int, Mapping[str, str], dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with direct.open(request, timeout=30) as answer:
                return answer.status, _lower(answer.headers), json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lower(error.headers), json.load(error)


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@dataclass
class Visit:
    """Somebody who is logged in. ``faults`` is what the browser's console complained of, and what no script caught."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: self._said(said.type, said.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(text)

    def open(self, path: str, *, width: int = 1280) -> Page:
        self.page.set_viewport_size({"width": width, "height": 844})
        self.page.goto(path)
        return self.page


@dataclass(frozen=True)
class Axe:
    """The source of axe-core, which finds what keeps people from using a page; or why it is missing."""

    source: str = ""
    missing: str = ""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    providers = Providers()
    urls = {name: providers.simulator.base_url(name) for name in ("groq", "cerebras", "generic")}
    folder = tmp_path_factory.mktemp("gateway")
    with ExitStack() as stack:
        stack.callback(providers.stop)
        starter = Starter(folder, folder, CONFIG.format(**urls), stack)
        front = starter.serve()
        yield Gateway(front, starter.config, providers)
        assert front.stop() == 0


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not on the path")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def contexts(chromium: Browser, gateway: Gateway) -> Callable[[], BrowserContext]:
    """Makes a browser's context in which nobody is logged in."""

    def make() -> BrowserContext:
        context = chromium.new_context(base_url=gateway.front.pages, locale="en-GB", reduced_motion="reduce")
        context.set_default_timeout(MILLISECONDS)
        return context

    expect.set_options(timeout=MILLISECONDS)
    return make


@pytest.fixture(scope="module")
def session(contexts: Callable[[], BrowserContext], gateway: Gateway) -> Iterator[Visit]:
    """A page that is logged in, by the link that is printed. One for all tests, as each takes a process of its own."""
    with contexts() as context:
        found = Visit(context.new_page())
        found.open(f"/login#{gateway.admin_token}").wait_for_url("**/")
        yield found


@pytest.fixture
def visit(session: Visit) -> Iterator[Visit]:
    """A browser, which must have had nothing to complain about when the test is over."""
    session.faults.clear()
    yield session
    assert not session.faults


@pytest.fixture(scope="module")
def axe() -> Axe:
    """axe-core, as npm installs it once into ``.clients``."""
    try:
        folder = installed(AXE)
    except NotInstalled as error:
        return Axe(missing=str(error))
    return Axe((folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
