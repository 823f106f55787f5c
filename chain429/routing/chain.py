"""Chains and what they consist of: frozen values, built once from the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from fnmatch import fnmatchcase

from chain429.routing.fit import UNKNOWN, Capabilities, Models
from chain429.routing.headers import Metric
from chain429.routing.outcome import Provision
from chain429.routing.window import Window

# How the accounts begin of callers that bring their own key; no provider's name does. What is learned of them is of no
# use after a restart, nor may it be kept.
CALLERS = "~"
_CALLER = "#"


def is_callers(account: str) -> bool:
    """Whether a key that the caller brings is behind it."""
    return account.startswith(CALLERS)


def configured_account(account: str) -> str:
    """The account that the configuration knows: one stands there for those of all callers."""
    return account.partition(_CALLER)[0] if is_callers(account) else account


class Strategy(StrEnum):
    """In which order a provider's credentials are taken."""

    LEAST_LOADED = "least_loaded"
    ROUND_ROBIN = "round_robin"
    PRIORITY = "priority"
    WEIGHTED = "weighted"


class Cost(IntEnum):
    """What calls cost, to compare: nothing (free tiers, one's own servers), credit once given, money."""

    FREE = 0
    TRIAL = 1
    PAID = 2


@dataclass(frozen=True, slots=True)
class Limit:
    """A configured limit: so much of ``metric`` per ``window``; without a window, so many at a time."""

    metric: Metric
    window: Window | None
    amount: float


@dataclass(frozen=True, slots=True)
class Credential:
    """One API key, by id: the key itself is not known here. ``account`` is unique over all providers; where each caller
    brings a key, it is that of ``is_callers``."""

    id: str
    account: str
    priority: int = 0
    weight: float = 1.0
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Provider:
    """What choosing needs to know of a provider.

    ``shared``: globs of the models that count against one bucket. ``up_front``: it charges all the tokens that a
    request allows to be made before it makes any. ``free_models``: globs of the models that cost nothing, where all
    others cost money; without any, ``cost`` is that of all. ``models``: what is known of what they can do.
    """

    id: str
    credentials: tuple[Credential, ...]
    strategy: Strategy = Strategy.LEAST_LOADED
    family: str = "generic"
    provision: Provision = field(default_factory=Provision)
    shared: tuple[str, ...] = ()
    up_front: bool = False
    cost: Cost = Cost.FREE
    free_models: tuple[str, ...] = ()
    models: Models = field(default_factory=Models, hash=False)

    @property
    def passing(self) -> bool:
        """Whether it is called with a key that the caller brings."""
        return any(is_callers(credential.account) for credential in self.credentials)


@dataclass(frozen=True, slots=True)
class Target:
    """What one attempt is sent to. ``bucket`` is the model's id, or the glob of those that it shares its limits
    with."""

    provider: str
    model: str
    credential: str
    account: str
    bucket: str
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Hundreds are looked up for one request where a chain is long.
        parts = (self.provider, self.model, self.credential, self.account, self.bucket)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} ({self.credential})"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model at one provider: a place in a chain, with a target for each credential."""

    provider: Provider
    model: str
    targets: tuple[Target, ...]
    cost: Cost = Cost.FREE
    capabilities: Capabilities = UNKNOWN

    @classmethod
    def of(cls, provider: Provider, model: str) -> Entry:
        bucket = next((glob for glob in provider.shared if fnmatchcase(model, glob)), model)
        targets = tuple(Target(provider.id, model, key.id, key.account, bucket) for key in provider.credentials)
        cost = provider.cost
        if provider.free_models:
            cost = Cost.FREE if any(fnmatchcase(model, glob) for glob in provider.free_models) else Cost.PAID
        return cls(provider, model, targets, cost, provider.models.of(model))

    @property
    def name(self) -> str:
        return f"{self.provider.id}/{self.model}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Tiers in strict order; the entries of one tier are of equal rank. ``affinity``: conversations are kept where
    they are, by the rule of ``routing.affinity``. ``passing``: the provider that is called with the caller's own key,
    if one is; ``caller``: whose accounts its targets have there (see ``of_caller``).
    """

    name: str
    tiers: tuple[tuple[Entry, ...], ...]
    affinity: bool = True
    passing: str = ""
    caller: str = ""

    def of_caller(self, caller: str) -> Chain:
        """The same for one caller that brings a key, with accounts of its own. ``caller`` tells keys apart."""
        tiers = tuple(
            tuple(_of_caller(entry, caller) for entry in tier)
            if any(entry.provider.id == self.passing for entry in tier)
            else tier
            for tier in self.tiers
        )
        return replace(self, tiers=tiers, caller=caller)

    @property
    def keeps(self) -> bool:
        """Whether it matters where a conversation was served: not where there is one target only."""
        first = self.tiers[0]
        return self.affinity and (len(self.tiers) > 1 or len(first) > 1 or len(first[0].targets) > 1)

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(target for tier in self.tiers for entry in tier for target in entry.targets)


def _of_caller(entry: Entry, caller: str) -> Entry:
    targets = tuple(
        replace(target, account=f"{target.account}{_CALLER}{caller}") if is_callers(target.account) else target
        for target in entry.targets
    )
    return replace(entry, targets=targets)
