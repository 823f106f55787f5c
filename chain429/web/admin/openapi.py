"""``GET openapi.json``: the description of every route, put together of what each says of itself, and the shapes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from chain429 import __version__
from chain429.web.admin.routes import CSRF_HEADER, PREFIX, Route
from chain429.web.admin.schemas import ANYTHING, operation
from chain429.web.admin.shapes import SHAPES


class OpenApi:
    """``routes`` are all the others."""

    def __init__(self, routes: Iterable[Route]) -> None:
        own = Route("GET", "/openapi.json", self.answer, operation("openapi", "This document", ANYTHING))
        self.routes = (*routes, own)
        self._document = document(self.routes)

    async def answer(self, request: web.Request) -> web.Response:
        return web.json_response(self._document)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(f"{PREFIX}{route.path}", {})[route.method.lower()] = dict(route.operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chain429's admin API",
            "version": __version__,
            "description": "See docs/admin-api.md. Members may be added to answers; those that are here stay.",
        },
        "paths": paths,
        "security": [{"token": []}, {"session": [], "csrf": []}],
        "components": {
            "schemas": SHAPES,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "the admin token"},
                "session": {"type": "apiKey", "in": "cookie", "name": "chain429_session"},
                "csrf": {"type": "apiKey", "in": "header", "name": CSRF_HEADER},
            },
        },
    }
