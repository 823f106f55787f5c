"""What was asked and what it came to: requests in the log, sums of what was used, and what was saved by it."""

from __future__ import annotations

import asyncio
import math

from aiohttp import web

from chain429.clock import Clock
from chain429.errors import RequestError
from chain429.store.queries import Filter, Queries
from chain429.store.told import savings_of, told, told_request, told_sums
from chain429.store.usage import DIMENSIONS
from chain429.web.admin.routes import Route
from chain429.web.admin.schemas import (
    FLAG,
    NUMBER,
    TEXT,
    WHEN,
    WHOLE,
    Schema,
    array,
    in_path,
    in_query,
    operation,
    optional,
    shape,
)

_DAY = 86_400.0
_MOST = 500
_USUAL = 50

_ATTEMPT = shape(
    {
        "provider": TEXT, "model": TEXT, "credential": TEXT, "outcome": TEXT, "status": optional(WHOLE), "reason": TEXT,
        "duration": NUMBER, "until": WHEN,
    }
)  # fmt: skip
_MEMBERS: Schema = {
    "number": WHOLE, "id": TEXT, "at": NUMBER, "dialect": TEXT, "chain": TEXT, "model_asked": TEXT,
    "provider": optional(TEXT), "model": optional(TEXT), "credential": optional(TEXT), "status": WHOLE,
    "outcome": TEXT, "streamed": FLAG, "tokens_in": optional(WHOLE), "tokens_out": optional(WHOLE),
    "tokens_cached": optional(WHOLE), "latency": NUMBER, "first_token": optional(NUMBER), "client": TEXT,
    "error": TEXT, "cost": optional(NUMBER), "currency": TEXT, "list_cost": optional(NUMBER), "list_model": TEXT,
    "list_currency": TEXT, "priced": TEXT, "attempts": array(_ATTEMPT),
}  # fmt: skip
_REQUEST = shape(_MEMBERS)
_BODIES = shape({"asked": TEXT, "asked_size": WHOLE, "answered": TEXT, "answered_size": WHOLE})
_WHOLE_REQUEST = shape({**_MEMBERS, "bodies": optional(_BODIES)})
_SUMS = shape(
    {
        "name": TEXT, "currency": TEXT, "requests": WHOLE, "served": WHOLE, "failures": WHOLE, "tokens_in": WHOLE,
        "tokens_out": WHOLE, "tokens_cached": WHOLE, "tokens_wasted": WHOLE, "cost": NUMBER, "list_cost": NUMBER,
        "saved": NUMBER, "unpriced": WHOLE, "first_token": optional(NUMBER), "latency_p50": optional(NUMBER),
        "latency_p95": optional(NUMBER),
    }
)  # fmt: skip
_SAVINGS = shape(
    {
        "currency": TEXT, "requests": WHOLE, "priced": WHOLE, "unpriced": WHOLE, "cost": NUMBER, "list_cost": NUMBER,
        "saved": NUMBER, "tokens_cached": WHOLE, "tokens_wasted": WHOLE,
    }
)  # fmt: skip
_SINCE = in_query("since", "Unix seconds; a day ago where it is not said", NUMBER)
_UNTIL = in_query("until", "Unix seconds; now where it is not said", NUMBER)


class Usage:
    """The log is read in a thread, for it may be large."""

    def __init__(self, queries: Queries, clock: Clock, priced: str) -> None:
        self._queries = queries
        self._clock = clock
        self._priced = priced  # the date of the table of prices

    def routes(self) -> tuple[Route, ...]:
        filters = [
            in_query("chain", "only of this chain"),
            in_query("provider", "only those that this provider served or was asked for"),
            in_query("outcome", "served, broken, cancelled, refused or exhausted"),
            in_query("status", "only those that were answered with this HTTP status", WHOLE),
            in_query("text", "part of the id, of the model that was asked for, or of the error"),
            in_query("since", "Unix seconds", NUMBER),
            in_query("until", "Unix seconds", NUMBER),
            in_query("limit", f"how many, {_USUAL} where it is not said", {**WHOLE, "minimum": 1, "maximum": _MOST}),
            in_query("before", "only those before this 'number': what the page before calls 'older'", WHOLE),
        ]
        kinds: Schema = {"type": "string", "enum": list(DIMENSIONS)}
        return (
            Route(
                "GET",
                "/requests",
                self.requests,
                operation(
                    "requests",
                    "Requests in the log, newest first",
                    shape({"requests": array(_REQUEST), "older": optional(WHOLE), "searched_to": WHEN}),
                    parameters=filters,
                    errors=(400,),
                ),
            ),
            Route(
                "GET",
                "/requests/{id}",
                self.request,
                operation(
                    "request",
                    "One request with its attempts, and with what was asked and answered where that is kept",
                    _WHOLE_REQUEST,
                    parameters=[in_path("id", "as x-request-id said")],
                    errors=(404,),
                ),
            ),
            Route(
                "GET",
                "/usage",
                self.usage,
                operation(
                    "usage",
                    "What was used, by whole hours",
                    shape({"by": kinds, "since": NUMBER, "until": NUMBER, "usage": array(_SUMS)}),
                    parameters=[in_query("by", "provider where it is not said", kinds), _SINCE, _UNTIL],
                    errors=(400,),
                ),
            ),
            Route(
                "GET",
                "/savings",
                self.savings,
                operation(
                    "savings",
                    "What requests cost, and what they would have cost by list prices",
                    shape({"since": NUMBER, "until": NUMBER, "prices": TEXT, "savings": array(_SAVINGS)}),
                    parameters=[_SINCE, _UNTIL],
                    errors=(400,),
                ),
            ),
        )

    async def requests(self, request: web.Request) -> web.Response:
        asked = request.query
        wanted = Filter(
            _time(request, "since"),
            _time(request, "until"),
            asked.get("chain", ""),
            asked.get("provider", ""),
            asked.get("outcome", ""),
            _whole(request, "status", 0, 999),
            asked.get("text", "")[:200],
        )
        limit = _whole(request, "limit", 1, _MOST) or _USUAL
        before = _whole(request, "before", 0, 2**62)
        found = await asyncio.to_thread(self._queries.search, wanted, limit, before)
        rows = [told(row) for row in found.requests]
        return web.json_response({"requests": rows, "older": found.older, "searched_to": found.until})

    async def request(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(self._queries.request, request.match_info["id"])
        if found is None:
            raise RequestError("There is no request of that id in the log.", status=404)
        return web.json_response(told_request(found))

    async def usage(self, request: web.Request) -> web.Response:
        asked = request.query.get("by", "provider")
        by = next((dimension for dimension in DIMENSIONS if dimension == asked), None)
        if by is None:
            raise RequestError(f"'by' is one of {', '.join(DIMENSIONS)}.")
        since, until = self._span(request)
        found = await asyncio.to_thread(self._queries.usage, by, since, until)
        return web.json_response({"by": by, "since": since, "until": until, "usage": [told_sums(one) for one in found]})

    async def savings(self, request: web.Request) -> web.Response:
        since, until = self._span(request)
        found = await asyncio.to_thread(self._queries.usage, "day", since, until)
        return web.json_response({"since": since, "until": until, "prices": self._priced, "savings": savings_of(found)})

    def _span(self, request: web.Request) -> tuple[float, float]:
        now = self._clock.now()
        since, until = _time(request, "since"), _time(request, "until")
        return (now - _DAY if since is None else since, now if until is None else until)


def _time(request: web.Request, name: str) -> float | None:
    given = request.query.get(name)
    if not given:
        return None
    try:
        time = float(given)
    except ValueError:
        time = math.nan
    if not 0 <= time < 1e12:
        raise RequestError(f"'{name}' is a time in Unix seconds.")
    return time


def _whole(request: web.Request, name: str, least: int, most: int) -> int | None:
    given = request.query.get(name)
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 20 and least <= int(given) <= most):
        raise RequestError(f"'{name}' is a whole number from {least} to {most}.")
    return int(given)
