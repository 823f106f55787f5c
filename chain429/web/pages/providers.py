"""Providers: one is added with its key, keys with their state and limits, models, terms.

What the page does, it does over the admin API; what changes by itself (states, limits) is renewed on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from chain429.catalog import presets
from chain429.clock import Clock
from chain429.routing.status import Status, TargetStatus
from chain429.web.admin import Gateway
from chain429.web.admin.shown import show_preset
from chain429.web.pages.frame import Frame, Page
from chain429.web.pages.written import Written
from chain429.web.view import TargetView

# The catalog's tiers as the form groups them, best first.
_TIERS = {
    "free": "Free tiers",
    "trial": "Trial credit",
    "paid": "Paid",
    "local": "On this machine",
}


@dataclass(frozen=True, slots=True)
class KeyCard:
    """A key as ``GET config`` tells it, and how the targets stand that use it."""

    told: Mapping[str, Any]
    name: str
    targets: tuple[TargetView, ...]


@dataclass(frozen=True, slots=True)
class ProviderCard:
    """A provider as ``GET config`` tells it. ``breaker`` is that of its circuit; ``others`` are targets of credentials
    that are no keys, such as those of a server that wants none."""

    told: Mapping[str, Any]
    breaker: str
    keys: tuple[KeyCard, ...]
    others: tuple[TargetView, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any], status: Status) -> ProviderCard:
        id = told["id"]
        targets = _targets(status, id)
        keys = tuple(
            KeyCard(
                key,
                key["id"].partition("/")[2],
                tuple(TargetView.of(target) for target in targets if target.credential == key["id"]),
            )
            for key in told["keys"]
        )
        known = {key["id"] for key in told["keys"]}
        others = tuple(TargetView.of(target) for target in targets if target.credential not in known)
        breaker = next((provider.breaker for provider in status.providers if provider.id == id), "closed")
        return cls(told, breaker, keys, others)


def _targets(status: Status, provider: str) -> Sequence[TargetStatus]:
    """Each target of a provider once, however many chains have it."""
    found = (target for chain in status.chains for tier in chain.tiers for target in tier)
    return list({(one.model, one.credential): one for one in found if one.provider == provider}.values())


class Providers:
    """``status`` is called with the time."""

    def __init__(self, frame: Frame, gateway: Gateway, status: Callable[[float], Status], clock: Clock) -> None:
        self._frame = frame
        self._gateway = gateway
        self._status = status
        self._clock = clock

    def pages(self) -> tuple[Page, ...]:
        return (
            Page("/providers", "Providers", self.show),
            Page("/providers/states", "", self.renew, part=True),
        )

    async def show(self, request: web.Request) -> web.Response:
        return await self._frame.page(request, "providers.html", self._values())

    async def renew(self, request: web.Request) -> web.Response:
        return await self._frame.part("providers_states.html", self._values())

    def _values(self) -> Callable[[], Mapping[str, object]]:
        now = self._clock.now()
        status = self._status(now)

        def make(told: Mapping[str, Any]) -> Mapping[str, object]:
            cards = [ProviderCard.of(one, status) for one in told["providers"]]
            return {"providers": cards, "presets": _presets(), "chains": bool(told["chains"])}

        return lambda: {"now": now, "providers": [], **Written.of(self._gateway).values(make)}


def _presets() -> list[tuple[str, list[dict[str, Any]]]]:
    """The catalog's providers by tier."""
    known = [show_preset(id, preset) for id, preset in presets().items()]
    return [(said, [one for one in known if one["tier"] == tier]) for tier, said in _TIERS.items()]
