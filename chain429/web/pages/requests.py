"""The log: requests with filters, live while the newest are shown, and one request with the trail of its attempts."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from chain429.clock import Clock
from chain429.routing.status import Status
from chain429.store.queries import Filter, Found, Logged, Queries
from chain429.web.pages.frame import Frame, Page
from chain429.web.view import RequestView, request_words

_SHOWN = 50
_LARGEST = 2**63 - 1  # what a row's number can be
_OUTCOMES = ("served", "exhausted", "broken", "cancelled", "refused")
# Seconds, and how it is said.
_SPANS = {"1h": (3600.0, "1 hour"), "24h": (86_400.0, "24 hours"), "7d": (604_800.0, "7 days"),
          "30d": (2_592_000.0, "30 days")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Search:
    """What the form asks for, as it was typed; what can't be understood is in ``problems`` and asks for nothing.

    ``span`` is how far back, from ``until`` (a minute in UTC, as browsers write one) or from now; ``before`` is the
    number of a row, for the pages that follow.
    """

    chain: str = ""
    provider: str = ""
    outcome: str = ""
    status: str = ""
    text: str = ""
    span: str = ""
    until: str = ""
    before: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Search:
        return cls(**{name: query.get(name, "").strip()[:200] for name in cls.__slots__})

    @property
    def problems(self) -> tuple[str, ...]:
        found = []
        if self.status and _whole(self.status, 999) is None:
            found.append("A status is a number such as 429.")
        if self.span and self.span not in _SPANS:
            found.append(f"A span of time is one of {', '.join(_SPANS)}.")
        if self.until and _time(self.until) is None:
            found.append("A time is written like 2026-01-31T12:00.")
        return tuple(found)

    @property
    def narrowed(self) -> bool:
        """Whether not all requests are asked for."""
        return self != Search(before=self.before)

    @property
    def live(self) -> bool:
        """Whether new requests may turn up here."""
        return not self.before and not self.until

    def filter(self, now: float) -> Filter:
        until = _time(self.until) if self.until else None
        seconds = _SPANS[self.span][0] if self.span in _SPANS else None
        return Filter(
            since=None if seconds is None else (now if until is None else until) - seconds,
            until=until,
            chain=self.chain,
            provider=self.provider,
            outcome=self.outcome,
            status=_whole(self.status, 999),
            text=self.text,
        )

    def address(self, before: int | None = None) -> str:
        """The query of the same search, from the beginning or from another row on."""
        told = {name: getattr(self, name) for name in self.__slots__ if name != "before" and getattr(self, name)}
        if before is not None:
            told["before"] = str(before)
        return f"?{urlencode(told)}" if told else ""


def _whole(text: str, most: int) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return int(text) if int(text) <= most else None


def _time(text: str) -> float | None:
    try:
        found = datetime.datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


class Requests:
    """``status`` is called with the time, for the names of chains and providers. ``flush`` waits until what is
    to be logged was written; it is called in a thread."""

    def __init__(
        self,
        frame: Frame,
        queries: Queries,
        status: Callable[[float], Status],
        clock: Clock,
        flush: Callable[[], object],
    ) -> None:
        self._frame = frame
        self._queries = queries
        self._status = status
        self._clock = clock
        self._flush = flush

    def pages(self) -> tuple[Page, ...]:
        return (
            Page("/requests", "Requests", self.show),
            Page("/requests/rows", "", self.renew, part=True),
            Page("/requests/{number}", "", self.one),
        )

    async def show(self, request: web.Request) -> web.Response:
        search, now = Search.of(request.query), self._clock.now()
        status = self._status(now)
        form = {
            "outcomes": [(outcome, request_words(outcome)) for outcome in _OUTCOMES],
            "spans": [(name, said) for name, (_, said) in _SPANS.items()],
            "chains": _names([chain.name for chain in status.chains], search.chain),
            "providers": _names([provider.id for provider in status.providers], search.provider),
        }
        return await self._frame.page(request, "requests.html", lambda: {**form, **self._rows(search, now)})

    async def renew(self, request: web.Request) -> web.Response:
        search, now = Search.of(request.query), self._clock.now()
        return await self._frame.part("requests_rows.html", lambda: self._rows(search, now))

    async def one(self, request: web.Request) -> web.Response:
        asked, now = request.match_info["number"], self._clock.now()
        found = await asyncio.to_thread(self._find, asked)
        values = {"now": now, "asked": asked, "request": RequestView.of(found) if found else None}
        return await self._frame.page(request, "request.html", lambda: values, status=200 if found else 404)

    def _find(self, asked: str) -> Logged | None:
        """By the row's number, which the list leads to, or by the id that the client was told."""
        number = _whole(asked, _LARGEST)
        found = None if number is None else self._queries.numbered(number)
        found = found or self._queries.request(asked)
        if found is None and number is None:
            # Links from the playground are followed sooner than the log is written.
            self._flush()
            found = self._queries.request(asked)
        return found

    def _rows(self, search: Search, now: float) -> dict[str, Any]:
        found = Found([])
        if not search.problems:
            found = self._queries.search(search.filter(now), _SHOWN, _whole(search.before, _LARGEST))
        return {
            "now": now,
            "search": search,
            "requests": [RequestView.of(row) for row in found.requests],
            "older": None if found.older is None else search.address(found.older),
            "searched": self._queries.searched,
            "searched_to": found.until,
            "newest": search.address() if search.before else None,
        }


def _names(known: list[str], asked: str) -> list[tuple[str, str]]:
    """Those that there are, and the one that is asked for even where only the log knows it."""
    return [(name, name) for name in dict.fromkeys((*known, asked)) if name]
