"""How things stand: the status, what is left of limits; and what can be forgotten of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from chain429.clock import Clock
from chain429.errors import RequestError
from chain429.routing.status import ChainStatus, Status
from chain429.web.admin.routes import Route, read_body
from chain429.web.admin.schemas import TEXT, array, operation, optional, ref, shape

# Forgets what speaks against a target, given as ``provider/model``, with one of its credentials or all of them (None).
# Returns the credentials that it was done for; raises RequestError where nothing is known of such a target.
Clear = Callable[[str, str | None], tuple[str, ...]]


class Reading:
    """``status`` is called with the time."""

    def __init__(self, status: Callable[[float], Status], clear: Clear, clock: Clock) -> None:
        self._status = status
        self._clear = clear
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        return (
            Route("GET", "/status", self.status, operation("status", "How everything stands", ref("Status"))),
            Route("GET", "/limits", self.limits, operation("limits", "What is left of limits", ref("Limits"))),
            Route(
                "POST",
                "/limits/clear",
                self.clear_limits,
                operation(
                    "clearLimits",
                    "Forget what speaks against a target",
                    shape({"cleared": array(TEXT)}),
                    body=shape({"target": TEXT}, {"credential": optional(TEXT)}, closed=True),
                    errors=(400, 404),
                ),
            ),
        )

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(dataclasses.asdict(self._status(self._clock.now())))

    async def limits(self, request: web.Request) -> web.Response:
        now = self._clock.now()
        return web.json_response({"now": now, "chains": [_chain(chain) for chain in self._status(now).chains]})

    async def clear_limits(self, request: web.Request) -> web.Response:
        target, credential = _asked(await read_body(request))
        return web.json_response({"cleared": self._clear(target, credential)})


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
