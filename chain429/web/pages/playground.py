"""A prompt for a chain or a model, its answer as it comes, and who served it. The prompt goes over the admin API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from chain429.config import DEFAULT_CHAIN
from chain429.web.admin import Gateway
from chain429.web.pages.chains import known_targets
from chain429.web.pages.frame import Frame, Page
from chain429.web.pages.written import Written


class Playground:
    def __init__(self, frame: Frame, gateway: Gateway) -> None:
        self._frame = frame
        self._gateway = gateway

    def pages(self) -> tuple[Page, ...]:
        return (Page("/playground", "Playground", self.show),)

    async def show(self, request: web.Request) -> web.Response:
        asked = request.query.get("model", "")[:200]
        config = self._gateway.config
        # What is at work counts here, not what the file says: a file that is wrong stops no prompt.
        values = {
            "chains": list(config.chains),
            "aliases": [alias for alias in config.aliases if "*" not in alias],
            "model": asked or DEFAULT_CHAIN,
            "empty": not config.chains,
            "simulated": config.simulated,
        }

        def make(told: Mapping[str, Any]) -> Mapping[str, object]:
            return {"targets": known_targets(told)}

        return await self._frame.page(
            request, "playground.html", lambda: {"targets": [], **Written.of(self._gateway).values(make), **values}
        )
