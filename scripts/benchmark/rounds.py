"""Who is asked what, in which order, and the figures that come of it.

The contestants take turns within each round, so that whatever else the machine does hits all of them; a figure is the
median over the rounds. CPU is what the contestant's process used, counted until its log is written.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from scripts.benchmark.contestants import DIRECT, GATEWAY, Arena, Contestant
from scripts.benchmark.load import Plan, Tally


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked in one round.

    ``settle`` are seconds after each turn: longer than the gateway lets records gather before it writes them, so that
    the CPU of its log is counted where it belongs. ``translated`` is how often each translation is measured, ``shown``
    how often each page over a log of ``logged`` requests. ``idle`` streams say nothing; ``idled`` times there is a
    ``pause`` of so many seconds.
    """

    rounds: int = 5
    serial: int = 300
    busy: int = 2000
    clients: int = 32
    short: int = 200
    streams: int = 10
    words: int = 1000
    paced: int = 50
    paced_words: int = 100
    limited: int = 200
    settle: float = 0.7
    translated: int = 100
    logged: int = 1_000_000
    shown: int = 5
    idle: int = 500
    idled: int = 11
    pause: float = 1.0

    @property
    def turns(self) -> tuple[Turn, ...]:
        return (
            Turn("serial", "whole", self.serial),
            Turn("limited", "limited", self.limited, attempts=2),
            Turn("busy", "whole", self.busy, self.clients),
            Turn("short", "stream-8", self.short, words=8),
            Turn("full", f"stream-{self.words}", self.streams, words=self.words),
            Turn("paced", f"paced-{self.paced_words}", self.paced, self.paced, words=self.paced_words),
        )

    @property
    def models(self) -> tuple[str, ...]:
        """What the gateway must have a chain for, besides those that it always has."""
        return tuple(dict.fromkeys(turn.model for turn in self.turns if turn.model != "limited"))


@dataclass(frozen=True, slots=True)
class Turn:
    """One kind of load; see ``load.Plan``. With ``attempts`` it is for the gateway alone."""

    name: str
    model: str
    requests: int
    clients: int = 1
    words: int = 0
    attempts: int = 0

    def plan(self, contestant: Contestant, number: int = 0) -> Plan:
        """What the contestant is asked in the round of that number."""
        # A slow one gets fewer requests. Not fewer streams at a time: their number is the point.
        requests = self.requests if self.clients == self.requests else max(int(self.requests * contestant.share), 1)
        first = number * self.requests if self.attempts else None
        return Plan(
            contestant.port, contestant.token, self.model, requests, self.clients, self.words, self.attempts, first
        )


FULL = Sizes()
QUICK = Sizes(
    rounds=2, serial=100, busy=400, short=50, streams=3, words=500, paced=20, paced_words=25, limited=30, translated=20,
    logged=50_000, shown=3, idle=100, idled=5, pause=0.2,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """What one contestant's turn gave. ``cpu`` in seconds; None where nothing stood in the way."""

    tally: Tally
    cpu: float | None


@dataclass(slots=True)
class Results:
    """All samples, by contestant and turn, one a round; and resident MB: at the start, after each round."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=dict)


def compete(arena: Arena, sizes: Sizes, say: Callable[[str], None]) -> Results:
    """Raises Unexpected where a contestant answers what it should not."""
    results = Results()
    measured = {one.name: one.process for one in arena.contestants if one.process}
    results.memory = {name: [process.memory()] for name, process in measured.items()}
    for one in arena.contestants:
        results.samples[one.name] = {turn.name: [] for turn in sizes.turns}
        for turn in [turn for turn in sizes.turns if turn.name in ("serial", "short")]:  # warm up
            arena.load.carry_out(Plan(one.port, one.token, turn.model, requests=30, words=turn.words))
        for turn in [turn for turn in sizes.turns if turn.attempts and one.name == GATEWAY]:
            # A limit is mostly met where a target has served before, so each of them serves once.
            known = turn.requests * sizes.rounds
            arena.load.carry_out(Plan(one.port, one.token, turn.model, requests=known, first=0))
    time.sleep(sizes.settle)
    for number in range(sizes.rounds):
        say(f"round {number + 1} of {sizes.rounds}")
        for turn in sizes.turns:
            before = {name: process.cpu() for name, process in measured.items()}
            entrants = [one for one in arena.contestants if not turn.attempts or one.name == GATEWAY]
            shift = number % len(arena.contestants)
            order = (*entrants[shift:], *entrants[:shift])
            tallies = {one.name: arena.load.carry_out(turn.plan(one, number)) for one in order}
            time.sleep(sizes.settle)
            for name, tally in tallies.items():
                cpu = measured[name].cpu() - before[name] if name in measured else None
                results.samples[name][turn.name].append(Sample(tally, cpu))
        for name, process in measured.items():
            results.memory[name].append(process.memory())
    return results


def figures(results: Results, sizes: Sizes) -> dict[str, dict[str, float]]:
    """The figures of each contestant; what they are and their units stand in ``report.ROWS``."""
    found: dict[str, dict[str, float]] = {}
    for name, samples in results.samples.items():
        direct = results.samples[DIRECT]
        own = found[name] = {
            "latency_p50": _median(_p50(one.tally.whole) for one in samples["serial"]),
            "latency_p99": _median(_p99(one.tally.whole) for one in samples["serial"]),
            "rate": _median(len(one.tally.whole) / one.tally.wall for one in samples["busy"]),
            "first_p50": _median(_p50(one.tally.first) for one in samples["short"]),
        }
        if name != DIRECT:
            own["added_p50"] = _difference(samples["serial"], direct["serial"], lambda tally: _p50(tally.whole))
            own["added_p99"] = _difference(samples["serial"], direct["serial"], lambda tally: _p99(tally.whole))
            own["added_first"] = _difference(samples["short"], direct["short"], lambda tally: _p50(tally.first))
            own["cpu_serial"] = _cpu(samples["serial"], per=1000)
            own["cpu_busy"] = _cpu(samples["busy"], per=1000)
            own["cpu_full"] = _cpu(samples["full"], per=10_000 / sizes.words)
            own["cpu_paced"] = _cpu(samples["paced"], per=10_000 / sizes.paced_words)
            start, warm, *rest = results.memory[name]
            own |= {"memory_start": start, "memory_warm": warm, "memory_end": [warm, *rest][-1]}
        if samples["limited"]:
            own["refusal"] = _median(
                _p50(limited.tally.whole) - _p50(whole.tally.whole)
                for limited, whole in zip(samples["limited"], samples["serial"], strict=True)
            )
            own["cpu_refusal"] = _cpu(samples["limited"], per=1000) - own["cpu_serial"]
    return found


def _cpu(samples: Sequence[Sample], per: float) -> float:
    """Seconds of CPU for ``per`` requests."""
    return _median((one.cpu or 0.0) / len(one.tally.whole) * per for one in samples)


def _difference(samples: Sequence[Sample], base: Sequence[Sample], of: Callable[[Tally], float]) -> float:
    return _median(of(one.tally) - of(other.tally) for one, other in zip(samples, base, strict=True))


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


def _p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0
