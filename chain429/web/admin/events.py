"""The state of the gateway as server-sent events, for pages that stay open.

Each is told at most once a second, and nothing while nothing changes; a comment now and then shows that the connection
still stands. Those who watch at the same time share what is found out.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable

from aiohttp import web

from chain429.clock import Clock
from chain429.routing.status import ChainStatus, Status, TargetStatus
from chain429.store.queries import Queries
from chain429.web.admin.routes import Admits, Problem, Route
from chain429.web.admin.schemas import TEXT, operation

_EVERY = 1.0
_HEARTBEAT = 15.0
_MOST = 16
_RETRY_MS = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """``newest`` is the number of the last request in the log; ``news`` is what is worth an event when it changes."""

    status: Status
    newest: int
    news: tuple[Status, int]

    @classmethod
    def of(cls, status: Status, newest: int) -> Snapshot:
        # When the next part of a limit frees moves on with the time where it refills steadily.
        chains = tuple(
            ChainStatus(chain.name, tuple(tuple(map(_without_frees, tier)) for tier in chain.tiers))
            for chain in status.chains
        )
        return cls(status, newest, (dataclasses.replace(status, chains=chains), newest))

    def event(self, now: float) -> bytes:
        """As it is sent: ``now`` is Unix seconds, the rest as ``GET /status`` tells it."""
        told = {"now": now, "newest_request": self.newest, "status": dataclasses.asdict(self.status)}
        return b"event: snapshot\ndata: " + json.dumps(told, separators=(",", ":")).encode() + b"\n\n"


def _without_frees(target: TargetStatus) -> TargetStatus:
    limits = tuple(dataclasses.replace(limit, frees_at=None) for limit in target.limits)
    return dataclasses.replace(target, limits=limits)


class Events:
    """``reads`` is asked again at each turn, so that a session that ends takes its stream with it."""

    def __init__(self, status: Callable[[float], Status], queries: Queries, clock: Clock, reads: Admits) -> None:
        self._status = status
        self._queries = queries
        self._clock = clock
        self._reads = reads
        self._watching = 0
        self._stopping = asyncio.Event()
        self._turn = asyncio.Lock()
        self._taken = float("-inf")  # monotonic seconds
        self._snapshot: Snapshot | None = None

    def routes(self) -> tuple[Route, ...]:
        told = operation(
            "events",
            "How everything stands, whenever that changes, as server-sent events named 'snapshot'",
            TEXT,
            media="text/event-stream",
            errors=(429,),
        )
        return (Route("GET", "/events", self.events, told),)

    async def events(self, request: web.Request) -> web.StreamResponse:
        if self._watching >= _MOST:
            raise Problem(429, f"{_MOST} are watching already; close one of the pages that are open.")
        self._watching += 1
        try:
            return await self._send(request)
        finally:
            self._watching -= 1

    async def stop(self, app: web.Application) -> None:
        """End all streams."""
        self._stopping.set()

    async def _send(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        answer.force_close()
        await answer.prepare(request)
        try:
            await self._tell(request, answer)
            await answer.write_eof()
        except ConnectionError:
            pass  # it left, which is how most of them end
        return answer

    async def _tell(self, request: web.Request, answer: web.StreamResponse) -> None:
        await answer.write(b"retry: %d\n\n" % _RETRY_MS)
        shown: tuple[Status, int] | None = None
        spoke = self._clock.monotonic()
        while self._reads(request) and not self._stopping.is_set():
            snapshot = await self._current()
            now = self._clock.monotonic()
            if snapshot.news != shown:
                await answer.write(snapshot.event(self._clock.now()))
                shown, spoke = snapshot.news, now
            elif now - spoke >= _HEARTBEAT:
                await answer.write(b": still here\n\n")
                spoke = now
            try:
                async with self._clock.timeout(_EVERY):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def _current(self) -> Snapshot:
        """The snapshot of this second."""
        async with self._turn:
            now = self._clock.monotonic()
            # All wait for a second, some a little longer than others.
            if self._snapshot is None or now - self._taken >= _EVERY / 2:
                newest = await asyncio.to_thread(self._queries.newest)
                self._snapshot, self._taken = Snapshot.of(self._status(self._clock.now()), newest), now
            return self._snapshot
