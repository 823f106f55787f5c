"""Chains and aliases: made, given another order, deleted. What the page does, it does over the admin API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from chain429.catalog import presets
from chain429.config import DEFAULT_CHAIN
from chain429.web.admin import Gateway
from chain429.web.pages.frame import Frame, Page
from chain429.web.pages.written import Written


class Chains:
    def __init__(self, frame: Frame, gateway: Gateway) -> None:
        self._frame = frame
        self._gateway = gateway

    def pages(self) -> tuple[Page, ...]:
        return (Page("/chains", "Chains", self.show),)

    async def show(self, request: web.Request) -> web.Response:
        return await self._frame.page(request, "chains.html", lambda: Written.of(self._gateway).values(_values))


def _values(told: Mapping[str, Any]) -> Mapping[str, object]:
    return {
        "chains": told["chains"],
        "aliases": told["aliases"],
        "strict": told["settings"]["strict"],
        "affinity": told["settings"]["affinity"],
        "default_chain": DEFAULT_CHAIN,
        "asked": [one["id"] for one in told["providers"] if one["enabled"]],
        "targets": known_targets(told),
    }


def known_targets(told: Mapping[str, Any]) -> list[str]:
    """``provider/model`` of what is in a chain, and of what the catalog knows of the providers that there are."""
    found = dict.fromkeys(target for chain in told["chains"] for tier in chain["tiers"] for target in tier)
    for provider in told["providers"]:
        preset = presets().get(provider["preset"] or "")
        if preset is not None and provider["enabled"]:
            found |= dict.fromkeys(f"{provider['id']}/{model}" for model in preset.defaults)
    return list(found)
