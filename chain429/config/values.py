"""What the rest of the package sees of a configuration: frozen values, without pydantic or YAML."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

from chain429.catalog import Free, ModelList
from chain429.routing.breaker import BreakerPolicy
from chain429.routing.chain import Chain, Entry, Provider
from chain429.routing.fit import Capabilities
from chain429.routing.status import Tier
from chain429.wire.cleanup import Cleanup
from chain429.wire.dialect import DialectName

DEFAULT_CHAIN = "default"
# In the place of a chain: requests for that host are sent on to it, and logged.
OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; see ``ProviderTimeoutsFile``."""

    connect: float = 10.0
    first_event: float = 60.0
    answer: float = 180.0
    idle: float = 60.0


class Secret:
    """A key. Only ``reveal`` gives it; printing, logging and comparing show nothing of it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to talk to one provider. ``secrets`` by credential id; None for a server that wants no key. ``passing`` is
    the id of the credential that stands for the callers' own keys, if these are taken; it has no secret.

    ``vendor``: it is the one that made its dialect. ``header_secrets`` are those values of ``headers`` that came from a
    reference."""

    id: str
    name: str
    base_url: str
    auth: Literal["bearer", "x-api-key", "none"]
    dialect: DialectName
    headers: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, Secret | None]
    cleanup: tuple[Cleanup, ...]
    timeouts: Timeouts
    models_url: str | None
    model_list: ModelList
    preset: str
    tier: Tier
    terms: str
    free: Free | None
    header_secrets: tuple[Secret, ...] = ()
    vendor: bool = False
    passing: str | None = None

    @property
    def host(self) -> str:
        return (urlsplit(self.base_url).hostname or "").rstrip(".")

    def authorization(self, credential: str) -> dict[str, str]:
        """The header that shows the credential to the provider; none where it wants no key."""
        secret = self.secrets[credential]
        if secret is None:
            return {}
        if self.auth == "x-api-key":
            return {"x-api-key": secret.reveal()}
        return {"authorization": f"Bearer {secret.reveal()}"}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that was configured, complete and consistent.

    ``source`` says where it came from, for people; ``warnings`` what is allowed but unwise. ``passing`` are the hosts
    of the providers that are called with the callers' own keys. ``proxy_hosts`` are those that the proxy covers, each
    with its chain, ``observe``, or nothing: then the model's name decides. ``directs``: one of them has something.
    """

    listen: tuple[str, int]
    pages: tuple[str, int]
    tokens: tuple[Secret, ...]
    strict: bool
    patience: float
    affinity: bool
    max_body: int
    deadline: float
    breaker: BreakerPolicy
    proxy_hosts: Mapping[str, str]
    providers: Mapping[str, Provider]
    endpoints: Mapping[str, Endpoint]
    chains: Mapping[str, Chain]
    aliases: Mapping[str, str]
    source: str
    warnings: tuple[str, ...] = ()
    simulated: bool = False
    trust_loopback: bool = False
    preconnect: bool = True
    log_seconds: float = 30 * 86400.0
    log_bytes: int = 500_000_000
    log_bodies: int = 0
    log_json: bool = False
    metrics_open: bool = False
    prices: Mapping[str, tuple[float, float, float | None, str]] = field(default_factory=dict)
    compare: str = ""
    passing: frozenset[str] = frozenset()
    directs: bool = field(init=False)

    def __post_init__(self) -> None:
        # Asked at each request.
        object.__setattr__(self, "directs", any(self.proxy_hosts.values()))

    def secrets(self) -> Iterable[Secret]:
        """Every secret there is, for the redaction at the sinks."""
        yield from self.tokens
        for endpoint in self.endpoints.values():
            yield from (secret for secret in endpoint.secrets.values() if secret is not None)
            yield from endpoint.header_secrets

    def listing(self, lists: Mapping[str, Mapping[str, Capabilities]]) -> Config:
        """The same, with what providers say of their models in their lists: by provider, then by model."""
        providers = {
            name: replace(provider, models=provider.models.listing(lists.get(name, {})))
            for name, provider in self.providers.items()
        }
        chains = {
            name: replace(chain, tiers=tuple(tuple(_anew(entry, providers) for entry in tier) for tier in chain.tiers))
            for name, chain in self.chains.items()
        }
        return replace(self, providers=providers, chains=chains)

    def resolve(self, model: str, *, named: bool = False, host: str = "") -> Chain | None:
        """The chain that a request's ``model`` names: a chain, an alias, ``provider/model`` (that or nothing), else the
        default chain; None where it is unknown and ``strict`` is on, or where it has to be ``named``. Where it came to
        the proxy for a ``host`` with a chain, that one goes before aliases and the default.

        An alias that names the model beats one with a ``*``; of several with one, the first in the file counts."""
        chain = self.chains.get(model)
        if chain:
            return chain
        chain = self.chains.get(self.proxy_hosts.get(host, "")) if host and not named else None
        if chain:
            return self._pinned(model) or chain
        alias = self.aliases.get(model)
        if alias is None:
            alias = next(
                (to for glob, to in self.aliases.items() if "*" in glob and _glob(glob).fullmatch(model)), None
            )
        if alias is not None:
            return self.chains.get(alias) or self._pinned(alias)
        return self._pinned(model) or (None if self.strict or named else self.chains[DEFAULT_CHAIN])

    def _pinned(self, name: str) -> Chain | None:
        provider, _, model = name.partition("/")
        # What can't be printed (a line's end, half of a character pair) is no model's name.
        if provider not in self.providers or not model or not model.isprintable():
            return None
        passing = provider if self.passing and self.providers[provider].passing else ""
        return Chain(name, ((Entry.of(self.providers[provider], model),),), self.affinity, passing)


def _anew(entry: Entry, providers: Mapping[str, Provider]) -> Entry:
    return Entry.of(providers[entry.provider.id], entry.model)


@functools.lru_cache(maxsize=1000)
def _glob(glob: str) -> re.Pattern[str]:
    """Only ``*`` is special: the names of models do have brackets, as in ``claude-opus-4-1[1m]``."""
    return re.compile(".*".join(map(re.escape, glob.split("*"))), re.DOTALL)
