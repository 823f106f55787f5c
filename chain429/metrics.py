"""What Prometheus reads at ``/metrics``: counters and histograms out of the records, gauges of how everything stands.

Records are counted some time after their requests, many together; everything else is asked for at the scrape. Names
that clients choose are labels only up to a number: what comes after is counted as ``other``.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from chain429.clock import Clock
from chain429.config import OBSERVE, Config
from chain429.routing.status import BreakerState, LimitStatus, Status, TargetStatus
from chain429.store.hours import counted
from chain429.store.records import RequestRecord

_OTHER = "other"
_MOST_MODELS = 300
_LONGEST_NAME = 200
# Seconds.
_STEPS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

_TARGET = ("provider", "model", "credential")
_LIMIT = (*_TARGET, "metric", "window")

_Labels = tuple[str, ...]


class Lost(Protocol):
    """The request log, as ``Store`` is."""

    @property
    def dropped(self) -> int:
        """Records that were given up."""

    @property
    def failure(self) -> str | None:
        """What is wrong with writing."""


class _Histogram:
    """How many were how long; the last count is of those beyond all steps."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_STEPS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_STEPS, seconds)] += 1
        self.total += seconds


class Tally:
    """Counts records. A chain that is not configured is ``other``: one of a single target, which a client named.
    ``redact`` is given the names of models, which clients choose."""

    def __init__(self, config: Callable[[], Config], redact: Callable[[str], str]) -> None:
        self._config = config
        self._redact = redact
        self._models: dict[str, str] = {}  # their labels
        self._requests: dict[_Labels, int] = {}
        self._attempts: dict[_Labels, int] = {}
        self._tokens: dict[_Labels, list[int]] = {}  # in, out, and those of the first that came from a cache
        self._durations: dict[_Labels, _Histogram] = {}
        self._first_tokens: dict[_Labels, _Histogram] = {}

    def count(self, records: Iterable[RequestRecord]) -> None:
        chains = self._config().chains
        for record in records:
            chain = record.chain if record.chain in chains or record.chain in ("", OBSERVE) else _OTHER
            provider = record.provider or ""
            _add(self._requests, (chain, record.outcome, str(record.status)))
            _histogram(self._durations, (chain, provider)).add(record.latency)
            if record.streamed and record.first_token is not None:
                _histogram(self._first_tokens, (provider,)).add(record.first_token)
            for attempt in record.attempts:
                _add(self._attempts, (attempt.provider, self.model(attempt.model), attempt.outcome))
            if record.tokens_in is not None or record.tokens_out is not None:
                key = (provider, self.model(record.model or ""))
                sums = self._tokens.get(key) or self._tokens.setdefault(key, [0, 0, 0])
                sums[0] += counted(record.tokens_in) or 0
                sums[1] += counted(record.tokens_out) or 0
                sums[2] += counted(record.tokens_cached) or 0

    def model(self, name: str) -> str:
        """The label of a model: its name, as long as there are not too many."""
        known = name[:_LONGEST_NAME]
        label = self._models.get(known)
        if label is None:
            if len(self._models) >= _MOST_MODELS:
                return _OTHER
            # Redacted before it is cut: half a key would not be known as one. What is half a pair can't be encoded.
            label = self._redact(name)[:_LONGEST_NAME].encode("utf-8", "replace").decode("utf-8")
            self._models[known] = label
        return label

    def families(self) -> Iterable[Metric]:
        yield _counter(
            "requests", "Requests of clients, by how they ended and the status they were sent.",
            ("chain", "outcome", "status"), self._requests,
        )  # fmt: skip
        yield _counter(
            "attempts", "Calls to providers, and targets that were passed over without one (skipped), by outcome.",
            ("provider", "model", "outcome"), self._attempts,
        )  # fmt: skip
        told = (
            ("tokens_in", "Tokens of prompts, as providers count them."),
            ("tokens_out", "Tokens of answers, as providers count them."),
            ("tokens_cached", "Tokens of prompts that came from a provider's cache; they are in tokens_in, too."),
        )
        for at, (name, about) in enumerate(told):
            yield _counter(name, about, ("provider", "model"), {key: sums[at] for key, sums in self._tokens.items()})
        yield _histograms(
            "request_duration_seconds", "From a request's arrival to the last byte of its answer.",
            ("chain", "provider"), self._durations,
        )  # fmt: skip
        yield _histograms(
            "first_token_seconds", "From a streamed request's arrival to the first words of its answer.",
            ("provider",), self._first_tokens,
        )  # fmt: skip


class Metrics:
    """Everything that there is to scrape.

    ``status`` and ``in_flight`` (calls under way by provider and model) are called on the event loop.
    """

    def __init__(
        self,
        tally: Tally,
        status: Callable[[float], Status],
        in_flight: Callable[[], Mapping[tuple[str, str], int]],
        store: Lost,
        clock: Clock,
    ) -> None:
        self._tally = tally
        self._status = status
        self._in_flight = in_flight
        self._store = store
        self._clock = clock

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """All of it in the text format that a header ``Accept`` asks for, and the content type."""
        families = [*self._tally.families(), *self._gauges()]
        encode, kind = choose_encoder(accept)
        # A registry for each scrape: what is found above is of one moment, and made where everything else runs.
        registry = CollectorRegistry()
        registry.register(_Found(families))
        ProcessCollector(registry=registry)
        return await asyncio.to_thread(encode, registry), kind

    def _gauges(self) -> Iterable[Metric]:
        status = self._status(self._clock.now())
        in_flight: dict[_Labels, int] = {}
        for (provider, model), calls in self._in_flight().items():
            _add(in_flight, (provider, self._tally.model(model)), calls)
        yield _gauge("attempts_in_flight", "Calls to providers that are under way.", ("provider", "model"), in_flight)
        # A target may be in several chains.
        targets = {(one.provider, one.model, one.credential): one
                   for chain in status.chains for tier in chain.tiers for one in tier}  # fmt: skip
        ready: dict[_Labels, float] = {key: float(one.ready) for key, one in targets.items()}
        yield _gauge("target_ready", "Whether the next request may go to a target of a chain.", _TARGET, ready)
        yield from _limits(targets.values())
        states: dict[_Labels, float] = {(one.id, state): float(one.breaker == state)
                  for one in status.providers for state in get_args(BreakerState)}  # fmt: skip
        yield _gauge("breaker_state", "1 at the state of a provider's circuit breaker.", ("provider", "state"), states)
        yield CounterMetricFamily(
            "chain429_log_records_lost", "Requests that the request log has lost.", value=self._store.dropped
        )
        failing = float(self._store.failure is not None)
        yield _gauge("log_failing", "Whether something is wrong with the request log.", (), {(): failing})
        yield _gauge("healthy", "Whether nobody has to do anything.", (), {(): float(status.healthy)})
        yield _gauge("start_time_seconds", "When this process began to serve, Unix seconds.", (), {(): status.started})
        yield InfoMetricFamily("chain429_build", "The version.", {"version": status.version})


class _Found(Collector):
    """What was collected already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _limits(targets: Iterable[TargetStatus]) -> Iterable[Metric]:
    """What is known of the limits: the scarcest, where a target has several on the same."""
    scarcest: dict[_Labels, LimitStatus] = {}
    for one in targets:
        for limit in one.limits:
            key = (one.provider, one.model, one.credential, limit.metric, limit.window or "")
            if limit.left is not None and (key not in scarcest or limit.left < (scarcest[key].left or 0)):
                scarcest[key] = limit
    left = {key: float(limit.left or 0) for key, limit in scarcest.items()}
    yield _gauge("limit_left", "What is left of a target's limit; without window: of so many at a time.", _LIMIT, left)
    sizes = {key: limit.limit for key, limit in scarcest.items() if limit.limit is not None}
    yield _gauge("limit", "The size of a target's limit.", _LIMIT, sizes)
    resets = {key: limit.resets_at for key, limit in scarcest.items() if limit.resets_at is not None}
    yield _gauge("limit_reset_timestamp_seconds", "When all of a limit is back, Unix seconds.", _LIMIT, resets)


def _add(counts: dict[_Labels, int], key: _Labels, by: int = 1) -> None:
    counts[key] = counts.get(key, 0) + by


def _histogram(found: dict[_Labels, _Histogram], key: _Labels) -> _Histogram:
    return found.get(key) or found.setdefault(key, _Histogram())


def _counter(name: str, about: str, labels: Sequence[str], values: Mapping[_Labels, int]) -> Metric:
    family = CounterMetricFamily(f"chain429_{name}", about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauge(name: str, about: str, labels: Sequence[str], values: Mapping[_Labels, float]) -> Metric:
    family = GaugeMetricFamily(f"chain429_{name}", about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histograms(name: str, about: str, labels: Sequence[str], values: Mapping[_Labels, _Histogram]) -> Metric:
    family = HistogramMetricFamily(f"chain429_{name}", about, labels=labels)
    ends = [*map(floatToGoString, _STEPS), "+Inf"]
    for key, one in values.items():
        family.add_metric(key, list(zip(ends, map(float, accumulate(one.counts)), strict=True)), one.total)
    return family
