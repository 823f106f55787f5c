"""The way to the providers and back, as the engine's upstream: seeded latencies, and what goes wrong on that day.

No socket is opened. A call takes a while to arrive, which is when its provider decides; its answer takes a while to
come back, and a streamed one comes in pieces.
"""

from __future__ import annotations

import json
import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from chain429.clock import Clock
from chain429.errors import ConnectFailed, UpstreamError
from chain429.simulator.reply import Reply
from chain429.upstream import UpstreamRequest
from scripts.quota_day.judge import Judge
from scripts.quota_day.traffic import Request, number_of
from scripts.quota_day.truth import OUTAGE
from scripts.quota_day.world import BY_KEY, LIE_SECONDS, SITES, Account, Day, Provider

_BYTES_PER_SECOND = 600.0  # at which a model writes
_PIECES_AT_ONCE = 4  # pieces of a stream that come in one go


class PlayedAnswer:
    """A ``chain429.upstream.Answer``: each piece comes after a pause in seconds."""

    def __init__(self, reply: Reply, pieces: Iterable[tuple[float, bytes]], clock: Clock) -> None:
        self.status = reply.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in reply.headers.items()}
        self._pieces = deque(pieces)
        self._clock = clock

    async def chunk(self) -> bytes:
        if not self._pieces:
            return b""
        pause, piece = self._pieces.popleft()
        await self._clock.sleep(pause)
        return piece

    async def read(self, limit: int) -> bytes:
        body = b""
        while piece := await self.chunk():
            body += piece
        if len(body) > limit:
            raise UpstreamError(f"its answer is larger than {limit} bytes")
        return body

    async def finish(self) -> None:
        self._pieces.clear()

    def close(self) -> None:
        self._pieces.clear()


class Network:
    """A ``chain429.upstream.Upstream`` to the simulated providers of a day. Every call is told to the judge."""

    def __init__(
        self, day: Day, requests: Sequence[Request], sites: Mapping[str, str], judge: Judge, clock: Clock
    ) -> None:
        """``sites``: by base URL, the name of the site that is there."""
        self._day = day
        self._requests = requests
        self._sites = sites
        self._judge = judge
        self._clock = clock
        self._providers = {site.name: Provider(site) for site in SITES.values()}
        self._attempts: Counter[int] = Counter()
        self._lied = False
        self._lowered = False

    async def send(self, request: UpstreamRequest) -> PlayedAnswer:
        account = self._account(request)
        body = json.loads(request.body)
        asked = self._requests[number_of(body)]
        self._attempts[asked.number] += 1
        # By request and attempt: what the engine does with one request changes nothing for another.
        dice = random.Random(f"{self._day.seed}/{asked.number}/{self._attempts[asked.number]}")
        self._judge.sent(asked, account, self._clock.now())
        try:
            await self._clock.sleep(dice.uniform(0.02, 0.12))
            reply = self._decide(account, asked, body, dice)
            if reply.status != 200:
                await self._clock.sleep(dice.uniform(0.03, 0.15))
        finally:
            self._judge.known(asked, account)
        if reply.status != 200:
            return PlayedAnswer(reply, ((0.0, reply.body),), self._clock)
        await self._clock.sleep(dice.uniform(0.15, 0.9))
        return PlayedAnswer(reply, _paced(reply, dice), self._clock)

    def _account(self, request: UpstreamRequest) -> Account:
        account = BY_KEY[request.headers["authorization"].removeprefix("Bearer ")]
        there = next(name for url, name in self._sites.items() if request.url.startswith(url + "/"))
        assert there == account.site.name, f"a key of {account.site.name} was sent to {there}"
        return account

    def _decide(self, account: Account, asked: Request, body: object, dice: random.Random) -> Reply:
        now, day, site = self._clock.now(), self._day, account.site
        provider = self._providers[site.name]
        if not self._lowered and now >= day.lowers_at:
            self._lowered = True
            self._providers[day.lowers].lower(day.lowered)
        if day.is_down(site, now):
            self._judge.failed(account, OUTAGE)
            if dice.random() < 0.5:
                raise ConnectFailed("no connection: Connection refused")
            return site.dialect.error(500, *site.dialect.failures[500])
        if not self._lied and site.name == day.liar and now >= day.lies_at:
            self._lied = True
            provider.script("429", retry_after=str(LIE_SECONDS))
            self._judge.lied(account, now)
            return provider.respond(account.key, body, now)
        reply = provider.respond(account.key, body, now)
        if reply.status == 200:
            self._judge.admitted(asked, account, now)
        elif reply.status in (413, 429):
            self._judge.limited(asked, account, now)
        else:
            self._judge.failed(account, f"status {reply.status}")
        return reply


def _paced(reply: Reply, dice: random.Random) -> Iterable[tuple[float, bytes]]:
    """The pieces of an answer, each with the pause before it."""
    step = _PIECES_AT_ONCE if reply.streamed else len(reply.pieces)
    for start in range(0, len(reply.pieces), step):
        piece = b"".join(reply.pieces[start : start + step])
        size = len(piece) / (3 if reply.streamed else 1)  # most of a chunk is not text
        yield dice.uniform(0.7, 1.3) * size / _BYTES_PER_SECOND, piece
