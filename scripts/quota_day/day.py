"""One whole day: the engine and the oracle on the same traffic, and the figures of it."""

from __future__ import annotations

import asyncio
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from chain429.config import Config, parse
from chain429.engine import Call, Engine, Stream
from chain429.routing.ledger import Ledger
from chain429.store.records import AttemptRecord, RequestRecord
from chain429.wire.chat import ChatRequest
from scripts.quota_day import oracle, virtual
from scripts.quota_day.judge import Failure, Judge, Late, Tally
from scripts.quota_day.network import Network
from scripts.quota_day.traffic import Request, requests
from scripts.quota_day.world import ENVIRON, Account, Day, configuration

# A client that has not seen the beginning of an answer by then has left.
_LEAVES_AFTER = 90.0
_FIRST = 3600.0
_MOMENT = 0.001
# From so many seconds on a request waited.
WAITED = 1.0


@dataclass(slots=True)
class Figures:
    """What came of one day, or of several together: counts, and lists of seconds. ``placed``: served by the oracle."""

    seeds: list[int] = field(default_factory=list)
    requests: int = 0
    served: int = 0
    placed: int = 0
    free_now: int = 0  # failed while its chain had room at that moment
    free_soon: int = 0  # failed while its chain had room within its patience
    contested: int = 0  # failed at the end of its patience, and another took the slot
    outrun: int = 0  # failed without that, though the oracle served it
    hopeless: int = 0  # the oracle could not serve it either
    served_first: int = 0  # in the first hour
    refused_first: int = 0
    refused: int = 0
    waits: list[float] = field(default_factory=list)
    placed_waits: list[float] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    late: list[Late] = field(default_factory=list)
    causes: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return self.requests - self.served

    @property
    def avoidable(self) -> int:
        return self.free_now + self.free_soon

    @property
    def share(self) -> float:
        """Served, in percent of what the oracle served."""
        return 100.0 * self.served / self.placed if self.placed else 100.0

    @property
    def wasted(self) -> float:
        """Refused calls per 100 requests that were served."""
        return _per_hundred(self.refused, self.served)

    @property
    def wasted_first(self) -> float:
        return _per_hundred(self.refused_first, self.served_first)

    @property
    def wasted_after(self) -> float:
        return _per_hundred(self.refused - self.refused_first, self.served - self.served_first)

    @property
    def beyond(self) -> float:
        """The longest that a recovered account was left unused beyond its window, while there was demand."""
        return max((late.beyond for late in self.late), default=0.0)

    def add(self, other: Figures) -> None:
        """Count another day in."""
        for name in ("requests", "served", "placed", "free_now", "free_soon", "contested", "outrun", "hopeless"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("served_first", "refused_first", "refused", "seeds", "waits", "placed_waits", "late"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for provider, tally in other.tallies.items():
            own = self.tallies.setdefault(provider, Tally())
            own.calls += tally.calls
            own.served += tally.served
            own.refused += tally.refused
            own.failed += tally.failed
        for title, causes in other.causes.items():
            self.causes[title] = self.causes.get(title, Counter()) + causes


def _per_hundred(count: int, served: int) -> float:
    return 100.0 * count / served if served else 0.0


def percentile(seconds: Sequence[float], share: float) -> float:
    """The value below which so much of them lies (0 to 1); 0 where there are none."""
    if len(seconds) < 2:
        return seconds[0] if seconds else 0.0
    return statistics.quantiles(seconds, n=1000, method="inclusive")[min(int(share * 1000), 999) - 1]


class _Records:
    """The engine's recorder: every record, by its request's id."""

    def __init__(self) -> None:
        self.by_id: dict[str, RequestRecord] = {}

    def record(self, record: RequestRecord) -> None:
        self.by_id[record.id] = record


def played(seed: int, *, hours: float, configured: bool) -> Figures:
    """The day of a seed; see ``play``."""
    return play(Day.of(seed, hours), configured=configured)


def play(day: Day, *, configured: bool) -> Figures:
    """Play one day. ``configured``: the true limits, as they are in the morning, are in the configuration."""
    asked = requests(day)
    judge, records = Judge(day), _Records()
    config = parse(configuration(configured=configured), ENVIRON)
    served = virtual.run(day.start, partial(_live, day, asked, config, judge, records))
    placed = {one.request.number: one.at - one.request.at for one in oracle.place(day, asked)}
    return _figures(day, asked, served, placed, judge, records)


async def _live(
    day: Day, asked: Sequence[Request], config: Config, judge: Judge, records: _Records, clock: virtual.VirtualClock
) -> list[Request]:
    """Let every client ask the engine at its time; those that were served, in the order in which they were."""
    sites = {endpoint.base_url: name for name, endpoint in config.endpoints.items()}
    ledger = Ledger(config.breaker)
    ledger.configure(config.breaker, config.providers.values())
    engine = Engine(config, ledger, Network(day, asked, sites, judge, clock), records, clock, str)
    served: list[Request] = []

    async def unserved(request: Request) -> None:
        # By then whoever was given a slot at this very moment has sent its call.
        await clock.sleep(_MOMENT)
        judge.unserved(request, clock.now())

    async def client(request: Request) -> None:
        parsed = ChatRequest.parse(request.body)
        chain = config.resolve(parsed.model)
        assert chain
        call = Call(request.id, parsed, chain, "quota-day", clock.now(), clock.monotonic())
        try:
            async with clock.timeout(_LEAVES_AFTER):
                reply = await engine.run(call)
        except TimeoutError:
            await unserved(request)
            return
        if isinstance(reply.body, Stream):
            while await reply.body.next():
                pass
            reply.body.close()
        if reply.status == 200 and records.by_id[request.id].outcome == "served":
            served.append(request)
        else:
            await unserved(request)

    async with asyncio.TaskGroup() as clients:
        for request in asked:
            await clock.until(request.at)
            clients.create_task(client(request))
    judge.end()
    return served


def _figures(
    day: Day,
    asked: Sequence[Request],
    served: Sequence[Request],
    placed: dict[int, float],
    judge: Judge,
    records: _Records,
) -> Figures:
    first = day.start + _FIRST
    found = Figures(
        seeds=[day.seed],
        requests=len(asked),
        served=len(served),
        placed=len(placed),
        served_first=sum(request.at < first for request in served),
        refused_first=sum(at < first for at in judge.refusals),
        refused=len(judge.refusals),
        waits=[wait for request in served if (wait := judge.waited(request)) >= WAITED],
        placed_waits=[wait for wait in placed.values() if wait >= WAITED],
        tallies=judge.tallies,
        late=judge.late,
    )
    lost, outrun = Counter[str](), Counter[str]()
    for failure in judge.failures:
        if failure.had_room and judge.contested(failure):
            found.contested += 1
        elif failure.had_room:
            found.free_now += failure.lack is None
            found.free_soon += failure.lack is not None
            lost[_cause(failure, records)] += 1
        elif failure.request.number in placed:
            found.outrun += 1
            outrun[_lacking(failure)] += 1
        else:
            found.hopeless += 1
    passed = Counter(_told(request, account, records) for request, account in judge.passed_over)
    refused = Counter[str]()
    for provider, tally in judge.tallies.items():
        refused.update({f"{provider}: {kind}": count for kind, count in tally.refused.items()})
    found.causes = {
        "failed with a free slot": lost,
        "failed without one, though the oracle served it": outrun,
        "refused calls": refused,
        "better tiers passed over though they had room": passed,
    }
    return found


def _cause(failure: Failure, records: _Records) -> str:
    """Why the engine did not use the slot that there was."""
    when = "free now" if failure.lack is None else "free within its patience"
    return f"{when}: {_told(failure.request, failure.account, records)}"


def _lacking(failure: Failure) -> str:
    kind = failure.lack.kind if failure.lack else ""
    return f"soonest free was {failure.account.site.name}: {kind}"


def _told(request: Request, account: Account, records: _Records) -> str:
    """What the engine's trail says of the account."""
    record = records.by_id.get(request.id)
    trail = [one for one in record.attempts if one.credential == account.credential] if record else []
    return f"{account.site.name}: {_words(trail[-1]) if trail else 'not looked at'}"


def _words(attempt: AttemptRecord) -> str:
    return re.sub(r"\d[\d.]*", "#", f"{attempt.outcome}: {attempt.reason}")[:100]
