"""``GET /metrics`` on the pages' port: for whoever may read, or for all who reach the port where that is configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from chain429.web.admin import unauthorized
from chain429.web.pages.sessions import Door

# Takes the header Accept; returns the body and its content type.
Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]


def add_metrics(router: web.UrlDispatcher, door: Door, scrape: Scrape, is_open: Callable[[], bool]) -> None:
    async def metrics(request: web.Request) -> web.Response:
        if not is_open() and not door.reads(request):
            return unauthorized()
        body, kind = await scrape(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind})

    router.add_get("/metrics", metrics)
