"""What the gateway says of itself: frozen values for the page, the admin API and the command line.

Only values belong here. Whoever builds them asks limits, breakers and chains; whoever shows them adds no knowledge.
Every time is Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chain429.routing.headers import Metric
from chain429.routing.window import Window

TargetState = Literal["available", "tracking", "cooling", "exhausted", "refused", "gone", "open", "half-open"]
Layer = Literal["reported", "concluded", "configured", "counted"]
BreakerState = Literal["closed", "open", "half-open"]
Tier = Literal["free", "trial", "paid", "local"]


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One limit of a target: so much of ``metric`` per ``window``; without a window, so many at a time.

    ``limit`` and ``left`` are None while nobody knows them; ``used`` and ``left`` are whole numbers, what is under way
    included. ``frees_at`` is when the next part of what is used comes back, ``resets_at`` when all of it is back if
    nothing more is sent; both None where nothing is used. ``layer`` says how the size is known: the provider
    ``reported`` it (in a header, or as it refused), it was ``concluded`` from what went through until a refusal, it is
    ``configured``, or it is not known and there is only what was ``counted``.
    """

    metric: Metric
    window: Window | None
    limit: float | None
    used: int
    left: int | None
    frees_at: float | None
    resets_at: float | None
    layer: Layer


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One target of a chain, and whether it would be tried now.

    ``available``: nothing speaks against it; ``tracking``: the same, and some of its limits are known; ``cooling``:
    benched for a short while; ``exhausted``: its quota is spent; ``refused``: the provider does not take its
    credential; ``gone``: the model is retired; ``open``: not called while the provider's circuit breaker is open;
    ``half-open``: one request tests whether the provider is well again.
    ``credential`` is the credential's id, never its secret; ``reason`` is plain words, empty when available; ``until``
    is when it is expected back, None when that is unknown or nothing is wrong. ``limits`` has only those that say
    something: their size is known, or something of them is used.
    """

    provider: str
    model: str
    credential: str
    state: TargetState
    reason: str
    until: float | None
    limits: tuple[LimitStatus, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether the next request may go to it."""
        return self.state in ("available", "tracking") or (self.state == "half-open" and self.until is None)


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """One chain, in the order it is walked; targets of the same tier are of equal rank."""

    name: str
    tiers: tuple[tuple[TargetStatus, ...], ...]


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """One provider: ``name`` is for people, ``terms`` the restrictions that a user must know (empty: none known)."""

    id: str
    name: str
    tier: Tier
    breaker: BreakerState
    terms: str


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at one moment.

    ``healthy`` is False when someone should do something; ``problems`` says what, in plain words, most urgent first.
    ``started`` is when this process began to serve; ``simulated`` says that providers are the built-in simulator.
    """

    healthy: bool
    problems: tuple[str, ...]
    chains: tuple[ChainStatus, ...]
    providers: tuple[ProviderStatus, ...]
    started: float
    version: str
    simulated: bool
