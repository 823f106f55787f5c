"""The admin API: what the pages show, as JSON for scripts and for ``chain429 quota``, and what may be changed.

It lives on the pages' port, behind their guard. Whoever reads needs the admin token or a session; whoever changes
something needs the token, or a session and its ``csrf`` in the header ``x-chain429-csrf``. The shape of each answer is
written down in docs/admin-api.md; members may be added, none goes or changes its meaning. Times are Unix seconds.

Each module here has the routes of one subject, in a class whose ``routes`` lists them; ``Admin`` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web

from chain429.clock import Clock
from chain429.routing.status import Status
from chain429.web.admin.chains import Chains
from chain429.web.admin.gateway import Edits, Gateway
from chain429.web.admin.openapi import OpenApi
from chain429.web.admin.prompts import Prompts
from chain429.web.admin.providers import Providers
from chain429.web.admin.reading import Clear, Reading
from chain429.web.admin.routes import CSRF_HEADER, PREFIX, Admits, Gate, Route, unauthorized, without_routes
from chain429.web.admin.settings import Settings

__all__ = ["CSRF_HEADER", "Admin", "Clear", "Gateway", "Route", "unauthorized"]


class Admin:
    """All routes. ``reads`` and ``changes`` say whether a request may do that; ``more`` are routes of others."""

    def __init__(
        self,
        status: Callable[[float], Status],
        clear: Clear,
        clock: Clock,
        reads: Admits,
        changes: Admits,
        gateway: Gateway,
        more: Iterable[Route] = (),
    ) -> None:
        self._gate = Gate(reads, changes, gateway.redact)
        self._edits = Edits(gateway)
        written = (
            *Reading(status, clear, clock).routes(),
            *Settings(gateway, self._edits).routes(),
            *Providers(gateway, self._edits, clock).routes(),
            *Chains(self._edits).routes(),
            *Prompts(gateway, clock).routes(),
            *more,
        )
        self.routes = OpenApi(written).routes

    def add_to(self, app: web.Application) -> None:
        for route in self.routes:
            app.router.add_route(route.method, f"{PREFIX}{route.path}", self._gate.guarded(route))
        app.middlewares.append(without_routes)
        app.on_cleanup.append(self._edits.finish)
