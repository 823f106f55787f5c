"""How long the pages and the admin API take over a long log: a real gateway, asked over HTTP."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from chain429.store.queries import Filter, Queries
from scripts.benchmark.contestants import Process, gateway
from scripts.benchmark.load import Unexpected
from scripts.benchmark.made import DAYS, make
from scripts.benchmark.report import Bar, Figures, verdicts

# What stands for it among the contestants.
PAGES = "pages"

# Seconds that an answer may take: the one in the middle, for whatever else the machine does hits the worst.
_MOST = 0.3
_DAY = 86_400.0
# Nothing listens there; nobody is going to ask it anything.
_CONFIG = """
providers:
  groq: {base_url: "http://127.0.0.1:9/v1", keys: [env:BENCH_KEY]}
chains:
  default: [groq/openai/gpt-oss-120b]
"""


def measure(folder: Path, requests: int, repeated: int) -> dict[str, dict[str, float]]:
    """The figures of each page, in seconds: ``first``, ``median`` and ``worst`` of so many times, over a log of so many
    requests, which is made in ``folder``. Raises NoStart and Unexpected."""
    data = folder / PAGES
    now = time.time()
    make(data / "chain429.db", requests, now)
    config = folder / "pages.yaml"
    config.write_text(_CONFIG, encoding="utf-8")
    process = Process(PAGES, gateway(config, data), folder)
    try:
        process.port()
        return _ask(data, now, repeated)
    finally:
        process.stop()


def _ask(data: Path, now: float, repeated: int) -> dict[str, dict[str, float]]:
    url = urlsplit((data / "pages-url").read_text(encoding="ascii").strip())
    token = (data / "admin-token").read_text(encoding="ascii").strip()
    found: dict[str, dict[str, float]] = {}
    with closing(http.client.HTTPConnection(str(url.hostname), url.port, timeout=60)) as connection:
        for page, path in _paths(data, now).items():
            taken = []
            for _ in range(repeated):
                began = time.perf_counter()
                connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
                answer = connection.getresponse()
                answer.read()
                taken.append(time.perf_counter() - began)
                if answer.status != 200:
                    raise Unexpected(f"{path} was answered with {answer.status}")
            found[page] = {"first": taken[0], "median": statistics.median(taken), "worst": max(taken)}
    return found


def _paths(data: Path, now: float) -> Mapping[str, str]:
    page = Queries(data / "chain429.db").search(Filter(until=now - DAYS / 2 * _DAY), 50)
    old = page.requests[-1]
    month = urlencode({"since": now - DAYS * _DAY})
    return {
        "Overview": "/",
        "Overview, renewed": "/fragment",
        "Requests": "/requests",
        "Requests, two weeks back": f"/requests?{urlencode({'before': old.number})}",
        "Requests, by a text that is not there": "/requests?text=nowhere",
        "Requests, by an id": f"/requests?{urlencode({'text': old.request.id})}",
        "Requests, by a provider that was not asked": "/requests?provider=nobody",
        "Requests, what broke off in a chain": "/requests?outcome=broken&chain=code",
        "One request, by its row": f"/requests/{old.number}",
        "One request, by its id": f"/requests/{old.request.id}",
        "Usage, 24 hours": "/usage?span=24h",
        "Usage, 7 days by model": "/usage?span=7d&by=model",
        "Usage, 30 days by key": "/usage?span=30d&by=credential",
        "API: requests by a status": "/admin/api/requests?status=418&limit=500",
        "API: one request": f"/admin/api/requests/{old.request.id}",
        "API: usage by day, 30 days": f"/admin/api/usage?by=day&{month}",
        "API: savings, 30 days": f"/admin/api/savings?{month}",
    }


def bars(figures: Figures) -> list[Bar]:
    """What each page has to live up to."""
    return [Bar(page, own["median"] * 1e3, _MOST * 1e3, "ms") for page, own in figures.items()]


def table(figures: Figures, requests: int) -> str:
    """The pages under each other; then the bars."""
    title = f"pages over a log of {requests:,} requests"
    lines = [f"{title:48}" + "".join(f"{f'{key} [ms]':>16}" for key in ("first", "median", "worst"))]
    for page, own in figures.items():
        lines.append(f"{page:48}" + "".join(f"{own[key] * 1e3:16.1f}" for key in ("first", "median", "worst")))
    return "\n".join([*lines, "", *verdicts(bars(figures))])
