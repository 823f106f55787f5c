"""The file as pydantic checks it: one model for each of its sections, every key with its default."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from chain429.catalog import Abilities, Limits
from chain429.routing.chain import Strategy

VIRTUAL_HOST = "chain429.internal"
REFERENCES = {"env", "file", "secret"}
VARIABLE = re.compile(r"\{(\w+)\}")
_NO_URL = "a URL such as https://api.example.com/v1 was expected"


def _address(value: str) -> str:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", value)
    if not match or int(match[2]) > 65535:
        raise ValueError("an address such as 127.0.0.1:4290 was expected")
    return value


def _http_url(value: str) -> str:
    filled = VARIABLE.sub("0", value)
    try:
        parts = urlsplit(filled)
        port = parts.port
    except ValueError:
        raise ValueError(_NO_URL) from None
    if parts.username or parts.password:
        raise ValueError("a key does not belong in the URL: put it under 'keys'")
    if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[^\s{}?#]+", filled):
        raise ValueError(_NO_URL)
    if port == 0:
        raise ValueError("there is no port 0")
    if parts.path.rstrip("/").endswith("/chat/completions"):
        raise ValueError("leave '/chat/completions' off: it is added to the base URL")
    return value.rstrip("/")


def _hosts(value: Any) -> Any:
    """Hosts in a list, or one alone, are as good as hosts of which nothing is said."""
    hosts = [value] if isinstance(value, str) else value
    if isinstance(hosts, list) and all(isinstance(host, str) for host in hosts):
        return dict.fromkeys(hosts)
    return value


def _listed(value: Any) -> Any:
    """A single item may stand without its brackets."""
    return [value] if isinstance(value, str | dict) else value


def _entries(item: Any) -> Any:
    if isinstance(item, str):
        return [item]
    if isinstance(item, list) and all(isinstance(inner, str) for inner in item):
        return item
    raise ValueError("'provider/model' was expected, or a list of these for targets of equal rank")


def _chain(item: Any) -> Any:
    return item if isinstance(item, dict) else {"targets": item}


def _key(item: Any) -> Any:
    if isinstance(item, str):
        return {"key": item}
    if not isinstance(item, dict):
        raise ValueError("a reference such as env:NAME was expected, or {key: env:NAME, ...}")
    if "key" not in item and item.keys() & REFERENCES:
        raise ValueError("a reference has no space after its colon: env:NAME")
    return item


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, data: Any) -> Any:
        """``chains:`` with nothing behind it, for all of it is commented out, is as good as no such key."""
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None or name not in cls.model_fields}


class LimitsFile(Limits):
    """The limits of each credential and model, on top of what the provider reports; see ``catalog.Limits``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelFile(Abilities):
    """What a model can do, where that is not known or not true; see ``catalog.Abilities``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class KeyFile(LimitsFile):
    """One key with what belongs to it; ``key`` is a reference (env:NAME, file:PATH), ``passthrough`` for that of
    whoever calls or, with a warning, the key."""

    key: str = Field(min_length=1, repr=False)
    account: str | None = None
    priority: int = 0
    weight: float = Field(1.0, gt=0)


class ProviderTimeoutsFile(_Section):
    """Seconds. ``connect``: till there is a connection; ``first_event``: till a streamed answer says something;
    ``answer``: till a whole answer is there; ``idle``: between two pieces of a stream."""

    connect: float = Field(10, gt=0)
    first_event: float = Field(60, gt=0)
    answer: float = Field(180, gt=0)
    idle: float = Field(60, gt=0)


class TimeoutsFile(ProviderTimeoutsFile):
    """``deadline``: till an answer begins, over all attempts."""

    deadline: float = Field(600, gt=0)


class ProviderFile(_Section):
    """One provider: a preset by its name (or by ``preset``), or any OpenAI-compatible server by ``base_url``."""

    preset: str | None = None
    base_url: Annotated[str, AfterValidator(_http_url)] | None = None
    dialect: Literal["chat", "messages", "responses"] | None = None
    keys: Annotated[
        tuple[Annotated[KeyFile, BeforeValidator(_key)], ...], BeforeValidator(_listed), Field(strict=False)
    ] = ()
    strategy: Annotated[Strategy, Field(strict=False)] = Strategy.LEAST_LOADED
    variables: dict[str, str] = {}
    headers: dict[str, str] = Field({}, repr=False)
    limits: LimitsFile = LimitsFile()
    models: dict[str, Annotated[ModelFile, BeforeValidator(_or_empty)]] = {}
    timeouts: ProviderTimeoutsFile = ProviderTimeoutsFile()
    enabled: bool = True


class BreakerFile(_Section):
    """The circuit breaker of each provider: opens after so many failures in a row, for so many seconds."""

    failures: int = Field(3, ge=1)
    seconds: float = Field(30, gt=0)


class ProxyFile(_Section):
    """What the mitmproxy addon intercepts, each with the chain that serves it, ``observe``, or nothing; every other
    host is tunnelled unopened."""

    hosts: Annotated[dict[str, str | None], BeforeValidator(_hosts)] = {
        "api.openai.com": None,
        "api.anthropic.com": None,
        VIRTUAL_HOST: None,
    }


_Entries = Annotated[tuple[str, ...], BeforeValidator(_entries), Field(strict=False)]
_Tiers = Annotated[tuple[_Entries, ...], BeforeValidator(lambda value: _listed(value or [])), Field(strict=False)]


class ChainFile(_Section):
    """One chain: its targets from first to last, which may stand alone as a list, and what goes before the file's own
    settings."""

    targets: _Tiers = ()
    affinity: bool | None = None


class PriceFile(_Section):
    """What a million tokens cost; without ``cached``, those read from a cache cost as much as others."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(None, ge=0)
    currency: Literal["usd", "sats"] = "usd"


class LogFile(_Section):
    """How long requests stay in the log: until they are so old, or the file so large. Sums by the hour stay.

    ``format`` is that of the lines on stderr, unless something else was told at the start. With ``bodies``, so many
    bytes of what was asked and answered stay as long."""

    format: Literal["text", "json"] = "text"
    days: float = Field(30, gt=0)
    megabytes: float = Field(500, ge=1)
    bodies: bool = False
    body_limit: int = Field(16 * 1024, ge=256, le=1024 * 1024)


class MetricsFile(_Section):
    """``GET /metrics``. ``open``: without the admin token."""

    open: bool = False


class ConfigFile(_Section):
    """The whole file."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:4290"
    pages: Annotated[str, AfterValidator(_address)] = "127.0.0.1:4291"
    tokens: Annotated[tuple[str, ...], BeforeValidator(_listed), Field(strict=False)] = Field((), repr=False)
    trust_loopback: bool = False
    strict: bool = False
    patience: float = Field(30, ge=0, le=300)
    affinity: bool = True
    preconnect: bool = True
    max_body: int = Field(32 * 1024 * 1024, ge=1024)
    timeouts: TimeoutsFile = TimeoutsFile()
    breaker: BreakerFile = BreakerFile()
    proxy: ProxyFile = ProxyFile()
    log: LogFile = LogFile()
    metrics: MetricsFile = MetricsFile()
    prices: dict[str, PriceFile] = {}
    compare: str | None = None
    providers: dict[str, Annotated[ProviderFile, BeforeValidator(_or_empty)]] = {}
    chains: dict[str, Annotated[ChainFile, BeforeValidator(_chain)]] = {}
    aliases: dict[str, str] = {}
