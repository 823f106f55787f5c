"""What the gateway says of itself: frozen values for the page, the admin API and the command line.

Only values belong here. Whoever builds them asks limits, breakers and chains; whoever shows them adds no knowledge.
Every time is Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TargetState = Literal["available", "cooling", "exhausted", "refused", "gone", "open", "half-open"]
BreakerState = Literal["closed", "open", "half-open"]
Tier = Literal["free", "trial", "paid", "local"]


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One target of a chain, and whether it would be tried now.

    ``cooling``: benched for a short while; ``exhausted``: its quota is spent; ``refused``: the provider does not take
    its credential; ``gone``: the model is retired; ``open`` and ``half-open``: the provider's circuit breaker.
    ``credential`` is the credential's id, never its secret; ``reason`` is plain words, empty when available; ``until``
    is when it is expected back, None when that is unknown or nothing is wrong.
    """

    provider: str
    model: str
    credential: str
    state: TargetState
    reason: str
    until: float | None


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
