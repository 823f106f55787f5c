"""The admin API: what the pages show, as JSON for scripts and for ``chain429 quota``, and what may be changed.

It lives on the pages' port, behind their guard. Whoever reads needs the admin token or a session; whoever changes
something needs the token, or a session and its ``csrf`` in the header ``x-chain429-csrf``. The shape of each answer is
written down in docs/admin-api.md; members may be added, none goes or changes its meaning. Times are Unix seconds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from chain429.clock import Clock
from chain429.errors import RequestError
from chain429.routing.status import ChainStatus, Status

CSRF_HEADER = "x-chain429-csrf"

# Forgets what speaks against a target, given as ``provider/model``, with one of its credentials or all of them (None).
# Returns the credentials that it was done for; raises RequestError where nothing is known of such a target.
Clear = Callable[[str, str | None], tuple[str, ...]]
Admits = Callable[[web.Request], bool]


class Admin:
    """The routes. ``reads`` and ``changes`` say whether a request may do that."""

    def __init__(
        self, status: Callable[[float], Status], clear: Clear, clock: Clock, reads: Admits, changes: Admits
    ) -> None:
        self._status = status
        self._clear = clear
        self._clock = clock
        self._reads = reads
        self._changes = changes

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/admin/api/status", self.status)
        router.add_get("/admin/api/limits", self.limits)
        router.add_post("/admin/api/limits/clear", self.clear_limits)

    async def status(self, request: web.Request) -> web.Response:
        if not self._reads(request):
            return unauthorized()
        return web.json_response(dataclasses.asdict(self._status(self._clock.now())))

    async def limits(self, request: web.Request) -> web.Response:
        if not self._reads(request):
            return unauthorized()
        now = self._clock.now()
        return web.json_response({"now": now, "chains": [_chain(chain) for chain in self._status(now).chains]})

    async def clear_limits(self, request: web.Request) -> web.Response:
        if not self._changes(request):
            return unauthorized()
        try:
            target, credential = _asked(await request.read())
            return web.json_response({"cleared": self._clear(target, credential)})
        except RequestError as error:
            return web.json_response({"error": error.message}, status=error.status)


def _chain(chain: ChainStatus) -> dict[str, Any]:
    return {"name": chain.name, "tiers": [[dataclasses.asdict(target) for target in tier] for tier in chain.tiers]}


def _asked(body: bytes) -> tuple[str, str | None]:
    """The target and the credential that a request to clear names."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or asked.keys() - {"target", "credential"}:
        raise RequestError('Send JSON such as {"target": "groq/openai/gpt-oss-120b", "credential": "groq/KEY"}.')
    target, credential = asked.get("target"), asked.get("credential")
    if not isinstance(target, str) or not target:
        raise RequestError("'target' must be a provider and its model, such as groq/openai/gpt-oss-120b.")
    if credential is not None and not isinstance(credential, str):
        raise RequestError("'credential' must be a credential's id; without it, all credentials are meant.")
    return target, credential


def unauthorized() -> web.Response:
    return web.json_response(
        {"error": "the admin token is needed, as Authorization: Bearer"},
        status=401,
        headers={"WWW-Authenticate": 'Bearer realm="chain429"'},
    )
