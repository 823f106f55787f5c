"""The configuration: one YAML file, checked as a whole, frozen after that.

``load`` turns a file (or, without one, the keys found in the environment) into a ``Config``: routing's values, which
choose, and for each provider an ``Endpoint``, which says how to talk to it. The domain never sees pydantic or YAML.
Every fault is reported at once, with file, line and key; no value of a secret is ever part of a message."""

from __future__ import annotations

import difflib
import functools
import ipaddress
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from yaml.reader import ReaderError

from chain429.catalog import Abilities, Free, Limits, ModelList, Preset, presets
from chain429.catalog import Cleanup as CleanupData
from chain429.errors import ConfigError, Fault
from chain429.routing.breaker import BreakerPolicy
from chain429.routing.chain import Chain, Cost, Credential, Entry, Limit, Provider, Strategy
from chain429.routing.fit import Capabilities
from chain429.routing.headers import Metric
from chain429.routing.status import Tier
from chain429.routing.window import Window
from chain429.wire.cleanup import Cleanup
from chain429.wire.dialect import DialectName

VIRTUAL_HOST = "chain429.internal"
DEFAULT_CHAIN = "default"

_VARIABLE = re.compile(r"\{(\w+)\}")


# The file, as pydantic checks it.


def _address(value: str) -> str:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", value)
    if not match or int(match[2]) > 65535:
        raise ValueError("an address such as 127.0.0.1:4290 was expected")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]+", value):
        raise ValueError("a host such as api.openai.com was expected, without 'https://', port or path")
    return value


def _http_url(value: str) -> str:
    filled = _VARIABLE.sub("0", value)
    parts = urlsplit(filled)
    if parts.username or parts.password:
        raise ValueError("a key does not belong in the URL: put it under 'keys'")
    if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[^\s{}?#]+", filled):
        raise ValueError("a URL such as https://api.example.com/v1 was expected")
    if parts.port == 0:
        raise ValueError("there is no port 0")
    if parts.path.rstrip("/").endswith("/chat/completions"):
        raise ValueError("leave '/chat/completions' off: it is added to the base URL")
    return value.rstrip("/")


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
    if "key" not in item and item.keys() & _REFERENCES:
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
    """One key with what belongs to it; ``key`` is a reference (env:NAME, file:PATH) or, with a warning, the key."""

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
    """What the mitmproxy addon intercepts; every other host is tunnelled unopened."""

    hosts: Annotated[
        tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(_listed), Field(strict=False)
    ] = ("api.openai.com", "api.anthropic.com", VIRTUAL_HOST)


_Entries = Annotated[tuple[str, ...], BeforeValidator(_entries), Field(strict=False)]
_Tiers = Annotated[tuple[_Entries, ...], BeforeValidator(lambda value: _listed(value or [])), Field(strict=False)]


class ChainFile(_Section):
    """One chain: its targets from first to last, which may stand alone as a list, and what goes before the file's own
    settings."""

    targets: _Tiers = ()
    affinity: bool | None = None


class ConfigFile(_Section):
    """The whole file."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:4290"
    pages: Annotated[str, AfterValidator(_address)] = "127.0.0.1:4291"
    tokens: Annotated[tuple[str, ...], BeforeValidator(_listed), Field(strict=False)] = Field((), repr=False)
    strict: bool = False
    patience: float = Field(30, ge=0, le=300)
    affinity: bool = True
    max_body: int = Field(32 * 1024 * 1024, ge=1024)
    timeouts: TimeoutsFile = TimeoutsFile()
    breaker: BreakerFile = BreakerFile()
    proxy: ProxyFile = ProxyFile()
    providers: dict[str, Annotated[ProviderFile, BeforeValidator(_or_empty)]] = {}
    chains: dict[str, Annotated[ChainFile, BeforeValidator(_chain)]] = {}
    aliases: dict[str, str] = {}


# What the rest of the package sees.


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
    """How to talk to one provider. ``secrets`` by credential id; None for a server that wants no key.

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
    tier: Tier
    terms: str
    free: Free | None
    header_secrets: tuple[Secret, ...] = ()
    vendor: bool = False

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

    ``source`` says where it came from, for people; ``warnings`` what is allowed but unwise.
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
    proxy_hosts: tuple[str, ...]
    providers: Mapping[str, Provider]
    endpoints: Mapping[str, Endpoint]
    chains: Mapping[str, Chain]
    aliases: Mapping[str, str]
    source: str
    warnings: tuple[str, ...] = ()
    simulated: bool = False

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

    def resolve(self, model: str) -> Chain | None:
        """The chain that a request's ``model`` names: a chain, an alias, ``provider/model`` (that or nothing), else the
        default chain; None where it is unknown and ``strict`` is on.

        An alias that names the model beats one with a ``*``; of several with one, the first in the file counts."""
        chain = self.chains.get(model)
        if chain:
            return chain
        alias = self.aliases.get(model)
        if alias is None:
            alias = next(
                (to for glob, to in self.aliases.items() if "*" in glob and _glob(glob).fullmatch(model)), None
            )
        if alias is not None:
            return self.chains.get(alias) or self._pinned(alias)
        return self._pinned(model) or (None if self.strict else self.chains[DEFAULT_CHAIN])

    def _pinned(self, name: str) -> Chain | None:
        provider, _, model = name.partition("/")
        if provider not in self.providers or not model:
            return None
        return Chain(name, ((Entry.of(self.providers[provider], model),),), self.affinity)


def _anew(entry: Entry, providers: Mapping[str, Provider]) -> Entry:
    return Entry.of(providers[entry.provider.id], entry.model)


@functools.lru_cache(maxsize=1000)
def _glob(glob: str) -> re.Pattern[str]:
    """Only ``*`` is special: the names of models do have brackets, as in ``claude-opus-4-1[1m]``."""
    return re.compile(".*".join(map(re.escape, glob.split("*"))), re.DOTALL)


_LIMITS: dict[str, tuple[Metric, Window | None]] = {
    "rps": ("requests", Window.SECOND),
    "rpm": ("requests", Window.MINUTE),
    "rph": ("requests", Window.HOUR),
    "rpd": ("requests", Window.DAY),
    "rpmo": ("requests", Window.MONTH),
    "tpm": ("tokens", Window.MINUTE),
    "tph": ("tokens", Window.HOUR),
    "tpd": ("tokens", Window.DAY),
    "tpmo": ("tokens", Window.MONTH),
    "itpm": ("input_tokens", Window.MINUTE),
    "otpm": ("output_tokens", Window.MINUTE),
    "concurrent": ("requests", None),
}


def load(path: Path | None, environ: Mapping[str, str]) -> Config | None:
    """The configuration of ``path``; without one, a default chain from the keys in ``environ``; None without any key.

    Raises ConfigError with every fault.
    """
    if path is None:
        return from_environment(environ)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError([Fault(f"can't be read: {_why(error)}", file=str(path))]) from None
    return parse(text, environ, file=str(path))


def parse(text: str, environ: Mapping[str, str], *, file: str = "chain429.yaml") -> Config:
    """The configuration that a YAML text says. ``file`` names it in messages, and ``file:`` references are relative to
    its folder. Raises ConfigError with every fault."""
    places = _Places(file)
    data = _Reader(places).read(text)
    parsed = _validate(data, places)
    return _Build(parsed, environ, places).config()


def from_environment(environ: Mapping[str, str]) -> Config | None:
    """A default chain of every preset whose key is in the environment, free tiers first; None where there is none."""
    order = {"free": 0, "trial": 1, "paid": 2}
    found = {
        name: preset
        for name, preset in presets().items()
        if preset.tier in order
        and preset.defaults
        and _first_set(preset.env, environ)
        and all(_first_set([variable], environ) for variable in preset.variables.values())
    }
    if not found:
        return None
    ranked = sorted(found, key=lambda name: order[found[name].tier])
    file = ConfigFile.model_validate(
        {
            "providers": {name: {} for name in ranked},
            "chains": {DEFAULT_CHAIN: [f"{name}/{model}" for name in ranked for model in found[name].defaults]},
        }
    )
    return _Build(file, environ, _Places("keys in the environment")).config()


def _first_set(names: Iterable[str], environ: Mapping[str, str]) -> str | None:
    return next((name for name in names if environ.get(name, "").strip()), None)


# Messages: where something stands, and what is wrong with it.

Where = tuple[str | int, ...]


class _Places:
    """The line of every key of one file, and the faults that were found in it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Where, int] = {}
        self.faults: list[Fault] = []
        self._spoilt: list[Where] = []

    def fault(self, message: str, *where: str | int, line: int | None = None, spoils: bool = False) -> None:
        """Report it, unless it may only follow from what is known to be wrong above or below that place.

        What ``spoils`` a place leaves something there out, so that nothing else can be said of it."""
        if not self.is_spoilt(*where):
            self.faults.append(Fault(message, _dotted(where), line or self._line(where), self.file))
        if spoils:
            self.spoil(where)

    def is_spoilt(self, *where: str | int) -> bool:
        return any(where[: len(spoilt)] == spoilt[: len(where)] for spoilt in self._spoilt)

    def spoil(self, *places: Where) -> None:
        self._spoilt += places

    def told(self, message: str, *where: str | int) -> str:
        return str(Fault(message, _dotted(where), self._line(where), self.file))

    def raise_faults(self) -> None:
        if self.faults:
            raise ConfigError(sorted(self.faults, key=lambda fault: fault.line or 0)) from None

    def _line(self, where: Where) -> int | None:
        while where not in self.lines and where:
            where = where[:-1]
        return self.lines.get(where)


def _dotted(where: Where) -> str:
    """The place as people write it. A key that stands where the name of a setting belongs is not repeated."""
    parts = [_clip(str(part)) for part in where]
    return ".".join(
        "…" if depth > 1 and len(part) > 15 and re.search("[0-9]", part) else part for depth, part in enumerate(parts)
    )


def _clip(text: str) -> str:
    """Printable, and no longer than a message can bear."""
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= 60 else f"{plain[:59]}…"


def _quoted(text: str) -> str:
    return f"'{_clip(text)}'"


def _near(name: str, known: Collection[str]) -> str:
    """What was probably meant by a name that is not among the known ones."""
    close = difflib.get_close_matches(name[:60].lower(), known, 1)
    if close:
        return f": did you mean '{close[0]}'?"
    return f"; there are: {', '.join(map(_clip, known))}" if known else ""


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "it is not readable"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "there can't be such a file"


# Reading YAML. What comes out has text keys, and no dates, for no setting is one.

_TAG = "tag:yaml.org,2002:"
_TEXTS = {f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value"}
_READ_AS = {
    f"{_TAG}bool": "true or false",
    f"{_TAG}int": "a number",
    f"{_TAG}float": "a number",
    f"{_TAG}null": "nothing",
}
_MOST_NODES = 100_000


class _Reader:
    """Reads one text, noting the line of every key. Faults go to ``places``."""

    def __init__(self, places: _Places) -> None:
        self._places = places
        self._nodes = 0
        self._loader: yaml.SafeLoader | None = None

    def read(self, text: str) -> Any:
        """The text as dicts, lists and scalars. Raises ConfigError where it can't be read to its end."""
        try:
            self._loader = yaml.SafeLoader(text)
            node = self._loader.get_single_node()
            if node is not None:
                return self._value(node, ())
            self._places.fault("is empty: 'providers' and 'chains' are needed")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._places.fault(f"is not valid YAML: {_yaml_problem(error)}", line=mark.line + 1 if mark else None)
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._places.fault(f"is not valid YAML: the character U+{error.character:04X} is in it", line=line)
        except RecursionError:
            self._places.fault("contains itself, or is nested too deeply")
        finally:
            if self._loader:
                self._loader.dispose()
        self._places.raise_faults()
        raise AssertionError("there is a fault")

    def _value(self, node: yaml.Node, where: Where) -> Any:
        line = node.start_mark.line + 1
        self._places.lines.setdefault(where, line)
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            self._places.fault("is too large, or repeats its anchors too often", line=line)
            self._places.raise_faults()
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._value(item, (*where, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, where)
        self._places.fault(f"the tag {_quoted(node.tag)} means nothing here", *where, line=line, spoils=True)
        return None

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                for merged in self._merged(value, where):
                    found = merged | found
        own: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            line = key.start_mark.line + 1
            name = self._name(key, where)
            if name is None:
                continue
            inner = (*where, name)
            if name in own:
                self._places.fault(f"is there twice; the first is on line {own[name]}", *inner, line=line, spoils=True)
            own[name] = line
            self._places.lines[inner] = line
            found[name] = self._value(value, inner)
        return found

    def _merged(self, node: yaml.Node, where: Where) -> Iterable[dict[str, Any]]:
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(part, yaml.MappingNode):
                yield self._mapping(part, where)
            else:
                line = node.start_mark.line + 1
                self._places.fault("'<<' takes a mapping, or a list of them", *where, line=line, spoils=True)

    def _name(self, key: yaml.Node, where: Where) -> str | None:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            self._places.fault("a key must be text", *where, line=line, spoils=True)
            return None
        name = str(key.value)
        if key.tag not in _TEXTS:
            words = _READ_AS.get(key.tag, "no text")
            self._places.fault(f"this key is read as {words}: put it in quotes", *where, name, line=line, spoils=True)
        return name if self._encodable(name, where, line) else None

    def _scalar(self, node: yaml.ScalarNode, where: Where) -> Any:
        line = node.start_mark.line + 1
        if node.tag in _TEXTS:
            return str(node.value) if self._encodable(node.value, where, line) else None
        if node.tag not in _READ_AS:
            self._places.fault(f"the tag {_quoted(node.tag)} means nothing here", *where, line=line, spoils=True)
            return None
        assert self._loader
        try:
            return self._loader.construct_object(node)
        except (ValueError, LookupError):
            self._places.fault(f"is not {_READ_AS[node.tag]}", *where, line=line, spoils=True)
            return None

    def _encodable(self, text: str, where: Where, line: int) -> bool:
        try:
            text.encode()
        except UnicodeEncodeError:
            self._places.fault("has half of a character pair", *where, line=line, spoils=True)
            return False
        return True


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    problem = _clip(error.problem or "it ends too early")
    if error.context == "while scanning an alias":
        return f"{problem} (a text that begins with '*' needs quotes)"
    if "'\\t'" in problem:
        return f"{problem} (indent with spaces)"
    return problem


# Checking what was read, by pydantic.


def _validate(data: Any, places: _Places) -> ConfigFile:
    """The checked file. Where it has faults, the rest of it, so that more can be found; they are in ``places``."""
    try:
        return ConfigFile.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
    spoilt: list[Where] = []
    for item in found:
        place = item["loc"] = _as_written(item["loc"], data)
        if item["type"] == "extra_forbidden":
            known = _section(place[:-1]).model_fields
            meant = difflib.get_close_matches(str(place[-1]), known, 1)
            spoilt += [(*place[:-1], name) for name in (place[-1], *meant)]
            places.fault(f"is not a known key{_near(str(place[-1]), known)}", *place)
        else:
            spoilt.append(place)
            places.fault(_words(item), *place)
    places.spoil(*spoilt)
    for place in spoilt:
        _leave_out(data, place)
    try:
        return ConfigFile.model_validate(data)
    except ValidationError:
        places.raise_faults()
        raise


def _as_written(place: Where, data: Any) -> Where:
    """The place in the file: a chain that is a list has no 'targets' there."""
    match place:
        case ("chains", name, "targets", *rest) if not isinstance(data["chains"][name], dict):
            return ("chains", name, *rest)
    return place


def _leave_out(data: Any, place: Where) -> None:
    """Take out what stands there; a list as a whole, so that no other item changes its place. A provider or a chain is
    only emptied, for others refer to it."""
    names = list(itertools.takewhile(lambda part: isinstance(part, str), place))
    for name in names[:-1]:
        if not isinstance(data, dict):
            return
        data = data.get(name)
    if isinstance(data, dict) and names and names[-1] in data:
        if len(names) == 2 and names[0] in ("providers", "chains"):
            data[names[-1]] = None
        else:
            del data[names[-1]]


def _section(place: Where) -> type[BaseModel]:
    """The model of the section at ``place``."""
    match place:
        case ("providers", _, "keys", *_):
            return KeyFile
        case ("providers", _, "limits"):
            return LimitsFile
        case ("providers", _, "models", _):
            return ModelFile
        case ("providers", _, "timeouts"):
            return ProviderTimeoutsFile
        case ("providers", _):
            return ProviderFile
        case ("chains", _):
            return ChainFile
        case ("timeouts",):
            return TimeoutsFile
        case ("breaker",):
            return BreakerFile
        case ("proxy",):
            return ProxyFile
    return ConfigFile


def _words(item: Mapping[str, Any]) -> str:
    """What pydantic found, in the words of someone who writes YAML."""
    context = item.get("ctx", {})
    match item["type"]:
        case "missing":
            return "is needed"
        case "model_type" | "dict_type":
            return "names with values were expected here, such as 'name: value'"
        case "tuple_type":
            return "a list was expected here, such as [one, two]"
        case "string_too_short":
            return "is empty"
        case "string_type":
            words = "must be text; put it in quotes"
        case "int_type":
            words = "must be a whole number"
        case "float_type" | "finite_number":
            words = "must be a number"
        case "bool_type":
            words = "must be true or false"
        case "greater_than":
            words = f"must be more than {context['gt']:g}"
        case "greater_than_equal":
            words = f"must be at least {context['ge']:g}"
        case "enum":
            words = f"must be {context['expected']}"
        case _:
            words = item["msg"].removeprefix("Value error, ")
    return words + _shown(item)


def _shown(item: Mapping[str, Any]) -> str:
    """The wrong value, where it can't be a secret, nor have one in it."""
    value, place = item["input"], item["loc"]
    if not isinstance(value, str | int | float) or place[:1] == ("tokens",):
        return ""
    match place:
        case ("providers", _, "headers" | "variables", *_) | ("providers", _, "keys") | ("providers", _, "keys", _):
            return ""
        case ("providers", _, "keys", _, "key"):
            return ""
        case ("providers", _, "base_url") if isinstance(value, str) and re.search("[@?]", value):
            return ""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else _number_or_text(value)
    return f" (it is {text})"


def _number_or_text(value: float | str) -> str:
    if isinstance(value, str):
        return _quoted(value)
    # Beyond this, Python refuses to write an int in decimals.
    return "a huge number" if isinstance(value, int) and abs(value) > 10**100 else str(value)


# Building routing's values out of the checked file.

_COSTS: dict[Tier, Cost] = {"free": Cost.FREE, "local": Cost.FREE, "trial": Cost.TRIAL, "paid": Cost.PAID}

_REFERENCES = {"env", "file", "secret"}
# What the gateway says itself; "authorization" is made of a key.
_OWN_HEADERS = {
    *("accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"),
    *("te", "transfer-encoding", "upgrade"),
}


class _Build:
    """Builds one ``Config``; every fault goes to ``places``."""

    def __init__(self, file: ConfigFile, environ: Mapping[str, str], places: _Places) -> None:
        self.file = file
        self.environ = environ
        self.places = places
        self.fault = places.fault
        self.warnings: list[str] = []

    def config(self) -> Config:
        """Raises ConfigError with all faults, those that were there before too."""
        file = self.file
        providers: dict[str, Provider] = {}
        endpoints: dict[str, Endpoint] = {}
        if not file.providers:
            self.fault("at least one provider is needed, such as 'groq: {keys: [env:GROQ_API_KEY]}'", "providers")
        for name, section in file.providers.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                self.fault("a provider's name has only letters, digits, '-' and '_'", "providers", name)
            preset = self._preset(name, section)
            if preset and section.enabled:
                providers[name], endpoints[name] = self._provider(name, section, preset)
        chains = self._chains(providers)
        self._aliases(chains)
        tokens = [self._secret(token, "tokens", index) for index, token in enumerate(file.tokens)]
        listen, pages = _split(file.listen), _split(file.pages)
        if listen == pages and listen[1] and not self.places.is_spoilt("listen"):
            self.fault("is also the address of 'listen': each needs its own", "pages")
        self.places.raise_faults()
        return Config(
            listen=listen,
            pages=pages,
            tokens=tuple(token for token in tokens if token),
            strict=file.strict,
            patience=file.patience,
            affinity=file.affinity,
            max_body=file.max_body,
            deadline=file.timeouts.deadline,
            breaker=BreakerPolicy(file.breaker.failures, file.breaker.seconds),
            proxy_hosts=tuple(host.lower().rstrip(".") for host in file.proxy.hosts),
            providers=providers,
            endpoints=endpoints,
            chains=chains,
            aliases=dict(file.aliases),
            source=self.places.file,
            warnings=tuple(self.warnings),
        )

    def _preset(self, name: str, section: ProviderFile) -> Preset | None:
        known = presets()
        preset = known.get(name if section.preset is None else section.preset)
        if preset:
            return preset
        if section.preset is not None:
            words = f"no preset is named {_quoted(section.preset)}{_near(section.preset, known)}"
            self.fault(words, "providers", name, "preset")
            return None
        if section.base_url is None:
            self.fault(f"is not a preset, so it needs a 'base_url'{_near(name, known)}", "providers", name)
            return None
        return Preset(name=name, base_url=section.base_url, tier="local")

    def _provider(self, name: str, section: ProviderFile, preset: Preset) -> tuple[Provider, Endpoint]:
        url = section.base_url or preset.base_url
        path = preset.models.path
        if path is not None and path.startswith("http"):
            # The provider's own list says nothing of another server that speaks like it.
            models_url = None if section.base_url else path
        else:
            models_url = None if path is None else url + path
        values = self._variables(f"{url} {models_url}", name, section, preset)
        credentials, secrets = self._credentials(name, section, preset)
        headers, header_secrets = self._headers(name, section)
        if any(secrets.values()) and url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
            self._warn("its key is sent unencrypted: 'https://' is safer", "providers", name, "base_url")
        provider = Provider(
            name,
            credentials,
            section.strategy,
            preset.family,
            preset.provision(),
            tuple(bucket.models for bucket in preset.shared),
            preset.up_front,
            _COSTS[preset.tier],
            preset.free_models,
            preset.capabilities(section.models),
        )
        own = section.timeouts.model_dump(exclude_unset=True)
        endpoint = Endpoint(
            id=name,
            name=preset.name,
            base_url=_put(url, values),
            auth=preset.auth,
            dialect=section.dialect or preset.dialect,
            # Who stands behind another URL is not known: what it signs is marked, and betas are not sent there.
            vendor=preset.vendor and section.base_url is None,
            headers={**{key.lower(): value for key, value in preset.headers.items()}, **headers},
            secrets=secrets,
            cleanup=tuple(_cleanup(rule) for rule in preset.cleanup),
            timeouts=Timeouts(**{**self.file.timeouts.model_dump(exclude={"deadline"}), **own}),
            models_url=models_url and _put(models_url, values),
            model_list=preset.models,
            tier=preset.tier,
            terms=preset.terms,
            free=preset.free,
            header_secrets=header_secrets,
        )
        return provider, endpoint

    def _variables(self, url: str, name: str, section: ProviderFile, preset: Preset) -> dict[str, str]:
        """The value of each ``{variable}`` in ``url``."""
        values: dict[str, str] = {}
        for variable in dict.fromkeys(_VARIABLE.findall(url)):
            where = ("providers", name, "variables", variable)
            usual = preset.variables.get(variable)
            reference = section.variables.get(variable)
            if reference is None and not _first_set([usual or ""], self.environ):
                how = f"set {usual}, or add" if usual else "add"
                self.fault(f"is needed for its URL: {how} 'variables: {{{variable}: ...}}'", *where)
                continue
            value = self._resolve(reference or f"env:{usual}", *where)
            if value is not None and not re.fullmatch(r"[A-Za-z0-9._-]+", value):
                self.fault("becomes a part of the URL: letters, digits, '.', '_' and '-' only", *where)
            values[variable] = value or ""
        for variable in section.variables.keys() - set(_VARIABLE.findall(url)):
            self.fault(f"there is no '{{{_clip(variable)}}}' in its URL", "providers", name, "variables", variable)
        return values

    def _headers(self, name: str, section: ProviderFile) -> tuple[dict[str, str], tuple[Secret, ...]]:
        headers: dict[str, str] = {}
        secrets: list[Secret] = []
        for header, reference in section.headers.items():
            where = ("providers", name, "headers", header)
            if header.lower() in _OWN_HEADERS:
                self.fault("is a header that chain429 sends itself; a key belongs under 'keys'", *where)
            elif not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", header):
                self.fault("is not a header's name", *where)
            value = self._resolve(reference, *where)
            if value is None:
                continue
            if not value.isascii() or not value.isprintable():
                self.fault("the value has characters that no HTTP header can carry", *where)
            headers[header.lower()] = value
            if reference.partition(":")[0] in _REFERENCES:
                secrets.append(Secret(value))
        return headers, tuple(secrets)

    def _credentials(
        self, name: str, section: ProviderFile, preset: Preset
    ) -> tuple[tuple[Credential, ...], dict[str, Secret | None]]:
        common = section.limits.model_dump(exclude_none=True)
        keys: Sequence[KeyFile] = section.keys or self._usual_key(name, preset)
        if not keys:
            identifier = f"{name}/no-key"
            return (Credential(identifier, f"{name}:{identifier}", limits=_limits(common)),), {identifier: None}
        credentials: list[Credential] = []
        secrets: dict[str, Secret | None] = {}
        places: dict[str, int] = {}
        for index, key in enumerate(keys):
            where = ("providers", name, "keys", index)
            if key.key in places:
                self.fault(f"is there twice: the same as number {places[key.key] + 1} of the list", *where)
                continue
            places[key.key] = index
            secret = self._secret(key.key, *where)
            if secret and any(other and other.reveal() == secret.reveal() for other in secrets.values()):
                self._warn("is the same key as another one of the list, so it adds nothing", *where)
            identifier = _unused(f"{name}/{_label(key.key, index)}", secrets)
            secrets[identifier] = secret
            account = f"{name}:{key.account or identifier}"
            limits = _limits({**common, **key.model_dump(exclude_none=True)})
            credentials.append(Credential(identifier, account, key.priority, key.weight, limits))
        return tuple(credentials), secrets

    def _usual_key(self, name: str, preset: Preset) -> tuple[KeyFile, ...]:
        """The key that is in the environment under its usual name, for a preset without 'keys'."""
        found = _first_set(preset.env, self.environ)
        if found:
            return (KeyFile(key=f"env:{found}"),)
        if preset.tier != "local" and preset.auth != "none":
            usual = " or ".join(preset.env) or "its variable"
            self.fault(f"a key is needed: set {usual}, add 'keys: [env:NAME]', or 'enabled: false'", "providers", name)
        return ()

    def _secret(self, reference: str, *where: str | int) -> Secret | None:
        value = self._resolve(reference, *where)
        if value is None:
            return None
        literal = reference.partition(":")[0] not in ("env", "file")
        variable = re.fullmatch(r"\$\{?([A-Za-z_]\w*)\}?|([A-Za-z_]\w*)", value)
        if literal and variable and (value[0] == "$" or value in self.environ):
            self.fault("names an environment variable: write it as 'env:NAME'", *where)
        elif not value.isascii() or not value.isprintable() or " " in value:
            self.fault("the key has spaces or characters that no HTTP header can carry", *where)
        elif literal:
            self._warn("a key stands in the file itself: 'env:NAME' or 'file:PATH' is safer", *where)
        return Secret(value)

    def _resolve(self, reference: str, *where: str | int) -> str | None:
        """What a reference stands for; a fault and None where it stands for nothing. Other texts are what they are."""
        kind, _, name = reference.partition(":")
        if kind == "env":
            value = self.environ.get(name, "").strip()
            if not value:
                # People do paste the key itself here, which is one long word, or has small letters.
                told = name if re.fullmatch("[A-Z][A-Z0-9]{0,15}(_[A-Z0-9]{0,15}){0,9}", name) else "that it names"
                self.fault(f"the environment variable {told} is not set", *where)
            return value or None
        if kind == "file":
            try:
                value = (
                    (Path(self.places.file).parent / Path(name).expanduser()).read_text(encoding="utf-8-sig").strip()
                )
            except (OSError, ValueError, RuntimeError) as error:
                self.fault(f"the file {_quoted(name)} can't be read: {_why(error)}", *where)
                return None
            if not value:
                self.fault(f"the file {_quoted(name)} is empty", *where)
            return value or None
        if kind == "secret":
            self.fault("'secret:' is not supported yet: use 'env:NAME' or 'file:PATH'", *where)
            return None
        return reference

    def _warn(self, message: str, *where: str | int) -> None:
        self.warnings.append(self.places.told(message, *where))

    def _chains(self, providers: Mapping[str, Provider]) -> dict[str, Chain]:
        written = self.file.chains
        if not written:
            self.fault(f"at least one chain is needed, such as '{DEFAULT_CHAIN}: [groq/openai/gpt-oss-120b]'", "chains")
        elif DEFAULT_CHAIN not in written:
            self.fault(f"a chain named '{DEFAULT_CHAIN}' is needed: it takes what names no other chain", "chains")
        return {name: self._chain(name, section, providers) for name, section in written.items()}

    def _chain(self, name: str, section: ChainFile, providers: Mapping[str, Provider]) -> Chain:
        there: Where = ("chains", name, "targets")
        if there not in self.places.lines:  # it is a plain list
            there = ("chains", name)
        if not _usable(name):
            self.fault("a chain's name has no spaces and is not empty", "chains", name)
        if name.partition("/")[0] in self.file.providers and "/" in name:
            self.fault("a chain's name may not be that of a provider's model", "chains", name)
        tiers: list[tuple[Entry, ...]] = []
        seen: set[str] = set()
        left_out = False
        for index, texts in enumerate(section.targets):
            where = (*there, index)
            if not texts:
                self.fault("has no targets", *where)
            tier: list[Entry] = []
            for text in texts:
                provider, _, model = text.partition("/")
                if text in seen:
                    self.fault(f"{_quoted(text)} is there twice", *where)
                seen.add(text)
                if not self._is_target(text, *where):
                    continue
                if provider in providers:
                    tier.append(Entry.of(providers[provider], model))
                left_out = left_out or not self.file.providers[provider].enabled
            if tier:
                tiers.append(tuple(tier))
        if not section.targets:
            self.fault("has no targets", "chains", name)
        elif left_out and not tiers:
            self.fault("every provider in it is disabled", "chains", name)
        return Chain(name, tuple(tiers), self.file.affinity if section.affinity is None else section.affinity)

    def _is_target(self, text: str, *where: str | int) -> bool:
        """Whether it is a model of a provider that is configured, if only a disabled one; else a fault."""
        provider, _, model = text.partition("/")
        known = self.file.providers
        if not model or not _usable(text):
            preset = presets().get(provider)
            example = f", such as '{provider}/{preset.defaults[0]}'" if preset and preset.defaults else ""
            self.fault(f"{_quoted(text)} is not of the form provider/model{example}", *where)
        elif provider not in known:
            self.fault(f"{_quoted(text)}: no provider is named {_quoted(provider)}{_near(provider, known)}", *where)
        return bool(model) and _usable(text) and provider in known

    def _aliases(self, chains: Mapping[str, Chain]) -> None:
        for name, to in self.file.aliases.items():
            where = ("aliases", name)
            if name in chains:
                self.fault("is the name of a chain already", *where)
            if to in chains:
                continue
            if "/" not in to:
                self.fault(f"no chain is named {_quoted(to)}{_near(to, chains)}", *where)
            elif self._is_target(to, *where) and not self.file.providers[to.partition("/")[0]].enabled:
                self.fault(f"{_quoted(to)}: its provider is disabled", *where)


def _usable(name: str) -> bool:
    """Whether it can be a name: it is told in headers and in single lines of the log."""
    return bool(name) and name.isprintable() and " " not in name


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether a listener on ``host`` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _put(url: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: values.get(match[1], ""), url)


def _label(reference: str, index: int) -> str:
    """How a key is named in logs and pages: by where it comes from, never by what it is."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        return name
    return Path(name).name if kind == "file" else f"key{index + 1}"


def _unused(name: str, used: Collection[str]) -> str:
    number = 2
    found = name
    while found in used:
        found = f"{name}-{number}"
        number += 1
    return found


def _limits(values: Mapping[str, Any]) -> tuple[Limit, ...]:
    return tuple(Limit(*_LIMITS[name], values[name]) for name in _LIMITS if values.get(name) is not None)


def _cleanup(rule: CleanupData) -> Cleanup:
    return Cleanup(
        models=rule.models,
        accept=frozenset(rule.accept),
        drop=frozenset(rule.drop),
        rename=rule.rename,
        roles=rule.roles,
        drop_in_messages=frozenset(rule.drop_in_messages),
        drop_nulls=rule.drop_nulls,
        values=rule.values,
        accept_in_messages=frozenset(rule.accept_in_messages),
        accept_in_calls=frozenset(rule.accept_in_calls),
        drop_in_tools=frozenset(rule.drop_in_tools),
        drop_in_schemas=frozenset(rule.drop_in_schemas),
        no_content=rule.no_content,
        plain_text=rule.plain_text,
        drop_empty=rule.drop_empty,
        reasoning_back=rule.reasoning_back,
        reasoning_due=rule.reasoning_due,
        signed_calls=rule.signed_calls,
        text_calls=rule.text_calls,
        tool_ids=rule.tool_ids,
        thinking=rule.thinking,
    )
