"""The configuration: one YAML file, checked as a whole, frozen after that.

``load`` turns a file (or, without one, the keys found in the environment) into a ``Config``: routing's values, which
choose, and for each provider an ``Endpoint``, which says how to talk to it. The domain never sees pydantic or YAML.
Every fault is reported at once, with file, line and key; no value of a secret is ever part of a message."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from chain429.catalog import Cleanup as CleanupData
from chain429.catalog import Free, Limits, Preset, presets
from chain429.errors import ConfigError, Fault
from chain429.routing.breaker import BreakerPolicy
from chain429.routing.chain import Chain, Credential, Entry, Limit, Provider, Strategy
from chain429.routing.headers import Metric
from chain429.routing.status import Tier
from chain429.routing.window import Window
from chain429.wire.cleanup import Cleanup

VIRTUAL_HOST = "chain429.internal"
DEFAULT_CHAIN = "default"


# The file, as pydantic checks it.


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("an address such as 127.0.0.1:4290 was expected")
    return value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("a URL such as https://api.example.com/v1 was expected")
    if parts.username or parts.password:
        raise ValueError("a key does not belong in the URL: put it under 'keys'")
    return value.rstrip("/")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, (str, dict)) else value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeyFile(Limits):
    """One key with what belongs to it; ``key`` is a reference (env:NAME, file:PATH) or, with a warning, the key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    key: str = Field(min_length=1)
    account: str | None = None
    priority: int = 0
    weight: float = Field(1.0, gt=0)


class TimeoutsFile(_Section):
    """Seconds. ``first_event``: till a streamed answer says something; ``answer``: till a whole answer is there;
    ``idle``: between two pieces of a stream; ``deadline``: the whole request with all its attempts."""

    connect: float = Field(10, gt=0)
    first_event: float = Field(60, gt=0)
    answer: float = Field(180, gt=0)
    idle: float = Field(60, gt=0)
    deadline: float = Field(600, gt=0)


class ProviderFile(_Section):
    """One provider: a preset by its name (or by ``preset``), or any OpenAI-compatible server by ``base_url``."""

    preset: str | None = None
    base_url: Annotated[str, AfterValidator(_http_url)] | None = None
    keys: Annotated[tuple[str | KeyFile, ...], BeforeValidator(_as_list)] = ()
    strategy: Strategy = Strategy.LEAST_LOADED
    variables: dict[str, str] = {}
    headers: dict[str, str] = {}
    limits: Limits = Limits()
    timeouts: TimeoutsFile | None = None
    enabled: bool = True


class BreakerFile(_Section):
    """The circuit breaker of each provider: opens after so many failures in a row, for so many seconds."""

    failures: int = Field(3, ge=1)
    seconds: float = Field(30, gt=0)


class ProxyFile(_Section):
    """What the mitmproxy addon intercepts; every other host is tunnelled unopened."""

    hosts: tuple[str, ...] = ("api.openai.com", VIRTUAL_HOST)


_Entries = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class ConfigFile(_Section):
    """The whole file."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:4290"
    pages: Annotated[str, AfterValidator(_address)] = "127.0.0.1:4291"
    tokens: tuple[str, ...] = ()
    strict: bool = False
    patience: float = Field(30, ge=0, le=300)
    max_body: int = Field(32 * 1024 * 1024, ge=1024)
    timeouts: TimeoutsFile = TimeoutsFile()
    breaker: BreakerFile = BreakerFile()
    proxy: ProxyFile = ProxyFile()
    providers: dict[str, ProviderFile] = Field(min_length=1)
    chains: dict[str, tuple[str | _Entries, ...]] = {}
    aliases: dict[str, str] = {}


# What the rest of the package sees.


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; see ``TimeoutsFile``."""

    connect: float = 10.0
    first_event: float = 60.0
    answer: float = 180.0
    idle: float = 60.0
    deadline: float = 600.0


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
    """How to talk to one provider. ``secrets`` by credential id; None for a server that wants no key."""

    id: str
    name: str
    base_url: str
    auth: Literal["bearer", "x-api-key", "none"]
    headers: Mapping[str, str]
    secrets: Mapping[str, Secret | None]
    cleanup: tuple[Cleanup, ...]
    timeouts: Timeouts
    models_url: str | None
    tier: Tier
    terms: str
    free: Free | None


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

    def resolve(self, model: str) -> Chain | None:
        """The chain that a request's ``model`` names: a chain, an alias, ``provider/model`` (that or nothing), else the
        default chain; None where it is unknown and ``strict`` is on."""
        chain = self.chains.get(model)
        if chain:
            return chain
        alias = self.aliases.get(model)
        if alias is None:
            alias = next((to for glob, to in self.aliases.items() if "*" in glob and fnmatchcase(model, glob)), None)
        if alias is not None:
            return self.chains.get(alias) or self._pinned(alias)
        return self._pinned(model) or (None if self.strict else self.chains[DEFAULT_CHAIN])

    def _pinned(self, name: str) -> Chain | None:
        provider, _, model = name.partition("/")
        if provider not in self.providers or not model:
            return None
        return Chain(name, ((Entry.of(self.providers[provider], model),),))


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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([Fault(f"can't be read: {reason}", file=str(path))]) from error
    return parse(text, environ, file=str(path))


def parse(text: str, environ: Mapping[str, str], *, file: str = "chain429.yaml") -> Config:
    """The configuration that a YAML text says. ``file`` names it in messages, and ``file:`` references are relative to
    its folder. Raises ConfigError with every fault."""
    data, lines = _read_yaml(text, file)
    try:
        parsed = ConfigFile.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_faults(error, lines, file)) from None
    return _Build(parsed, environ, lines, file).config()


def from_environment(environ: Mapping[str, str]) -> Config | None:
    """A default chain of every preset whose key is in the environment, free tiers first; None where there is none."""
    order = {"free": 0, "trial": 1, "paid": 2}
    found = {
        name: preset
        for name, preset in presets().items()
        if preset.tier in order
        and preset.defaults
        and any(environ.get(variable) for variable in preset.env)
        and all(environ.get(variable) for variable in preset.variables.values())
    }
    if not found:
        return None
    ranked = sorted(found, key=lambda name: order[found[name].tier])
    text = yaml.safe_dump(
        {
            "providers": {name: {} for name in ranked},
            "chains": {DEFAULT_CHAIN: [f"{name}/{model}" for name in ranked for model in found[name].defaults]},
        },
        sort_keys=False,
    )
    return parse(text, environ, file="keys in the environment")


# Reading YAML with the line of every key.

Path_ = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader, as it is; a class of our own so that nothing global is changed."""


def _read_yaml(text: str, file: str) -> tuple[Any, dict[Path_, int]]:
    faults: list[Fault] = []
    lines: dict[Path_, int] = {}

    def visit(node: yaml.Node, path: Path_) -> None:
        lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            seen: set[Hashable] = set()
            for key, value in node.value:
                inner = (*path, str(key.value))
                line = key.start_mark.line + 1
                if key.value in seen:
                    faults.append(Fault("is there twice", ".".join(map(str, inner)), line, file))
                seen.add(str(key.value))
                lines[inner] = line
                visit(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                visit(value, (*path, index))

    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise ConfigError([Fault("is empty: 'providers' is needed", file=file)])
        visit(node, ())
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else None
        raise ConfigError([Fault(f"not valid YAML: {error.problem or error}", "", line, file)]) from error
    except yaml.YAMLError as error:
        raise ConfigError([Fault(f"not valid YAML: {error}", file=file)]) from error
    except RecursionError as error:
        raise ConfigError([Fault("not valid: it contains itself", file=file)]) from error
    finally:
        loader.dispose()
    if faults:
        raise ConfigError(faults)
    return data, lines


_BRANCHES = re.compile(r"^(function-|str$|KeyFile$|tuple\[|constrained|nullable)")


def _faults(error: ValidationError, lines: Mapping[Path_, int], file: str) -> list[Fault]:
    found: dict[Path_, list[str]] = {}
    for item in error.errors(include_url=False, include_context=False):
        # pydantic names the branch of a union in the place; the user's file has no such level.
        where = tuple(part for part in item["loc"] if not (isinstance(part, str) and _BRANCHES.match(part)))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "is not a known key" + _suggest(str(where[-1]), where[:-1])
        elif item["type"] == "missing":
            message = "is needed"
        elif "key" not in where and "tokens" not in where and isinstance(item["input"], (str, int, float, bool)):
            message += f" (it is {item['input']!r})"
        found.setdefault(where, []).append(message)
    return [
        Fault("; or ".join(dict.fromkeys(messages)), ".".join(map(str, where)), _line(where, lines), file)
        for where, messages in found.items()
    ]


def _line(where: Path_, lines: Mapping[Path_, int]) -> int | None:
    while where not in lines and where:
        where = where[:-1]
    return lines.get(where)


def _suggest(name: str, place: Path_) -> str:
    section: type[BaseModel] = ConfigFile
    if place[:1] == ("providers",):
        section = KeyFile if "keys" in place else TimeoutsFile if "timeouts" in place else ProviderFile
        section = Limits if "limits" in place else section
    elif place:
        parts: dict[str, type[BaseModel]] = {"timeouts": TimeoutsFile, "breaker": BreakerFile, "proxy": ProxyFile}
        section = parts.get(str(place[0]), ConfigFile)
    near = difflib.get_close_matches(name, section.model_fields, 1)
    return f": did you mean '{near[0]}'?" if near else f"; there are: {', '.join(section.model_fields)}"


# Building routing's values out of the checked file.


@dataclass
class _Build:
    file: ConfigFile
    environ: Mapping[str, str]
    lines: Mapping[Path_, int]
    name: str
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fault(self, message: str, *where: str | int) -> None:
        self.faults.append(Fault(message, ".".join(map(str, where)), _line(where, self.lines), self.name))

    def config(self) -> Config:
        file = self.file
        providers: dict[str, Provider] = {}
        endpoints: dict[str, Endpoint] = {}
        for name, section in file.providers.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                self.fault("a provider's name has only letters, digits, '-' and '_'", "providers", name)
            built = self._provider(name, section)
            if built and section.enabled:
                providers[name], endpoints[name] = built
        disabled = {name for name, section in file.providers.items() if not section.enabled}
        chains = self._chains(providers, disabled)
        self._aliases(chains, providers)
        tokens = [self._secret(token, "tokens", index) for index, token in enumerate(file.tokens)]
        if self.faults:
            raise ConfigError(self.faults)
        return Config(
            listen=_split(file.listen),
            pages=_split(file.pages),
            tokens=tuple(token for token in tokens if token),
            strict=file.strict,
            patience=file.patience,
            max_body=file.max_body,
            deadline=file.timeouts.deadline,
            breaker=BreakerPolicy(file.breaker.failures, file.breaker.seconds),
            proxy_hosts=tuple(host.lower() for host in file.proxy.hosts),
            providers=providers,
            endpoints=endpoints,
            chains=chains,
            aliases=dict(file.aliases),
            source=self.name,
            warnings=tuple(self.warnings),
        )

    def _provider(self, name: str, section: ProviderFile) -> tuple[Provider, Endpoint] | None:
        known = presets()
        preset = known.get(section.preset or name)
        if section.preset and not preset:
            self.fault(
                f"no preset named {section.preset!r}; there are: {', '.join(known)}", "providers", name, "preset"
            )
            return None
        if not preset and not section.base_url:
            self.fault(
                f"no preset is named {name!r}: give a 'base_url', or a 'preset' (there are: {', '.join(known)})",
                "providers",
                name,
            )
            return None
        preset = preset or Preset(name=name, base_url=section.base_url or "", tier="local", auth="bearer")
        url = section.base_url or preset.base_url
        path = preset.models.path
        if path is not None and path.startswith("http"):
            # The provider's own list says nothing of another server that speaks like it.
            models_url = None if section.base_url else path
        else:
            models_url = None if path is None else url + path
        values = self._variables(f"{url} {models_url}", name, section, preset)
        credentials, secrets = self._credentials(name, section, preset)
        provider = Provider(
            name,
            credentials,
            section.strategy,
            preset.family,
            preset.provision(),
            tuple(bucket.models for bucket in preset.shared),
            preset.up_front,
        )
        timeouts = section.timeouts or self.file.timeouts
        endpoint = Endpoint(
            id=name,
            name=preset.name,
            base_url=_put(url, values),
            auth=preset.auth,
            headers={key.lower(): value for key, value in {**preset.headers, **section.headers}.items()},
            secrets=secrets,
            cleanup=tuple(_cleanup(rule) for rule in preset.cleanup),
            timeouts=Timeouts(**timeouts.model_dump()),
            models_url=models_url and _put(models_url, values),
            tier=preset.tier,
            terms=preset.terms,
            free=preset.free,
        )
        return provider, endpoint

    def _variables(self, url: str, name: str, section: ProviderFile, preset: Preset) -> dict[str, str]:
        """The value of each ``{variable}`` in ``url``."""
        values: dict[str, str] = {}
        for variable in dict.fromkeys(_VARIABLE.findall(url)):
            reference = section.variables.get(variable) or f"env:{preset.variables.get(variable, variable.upper())}"
            value = self._resolve(reference, "providers", name, "variables", variable)
            if value is not None and not re.fullmatch(r"[A-Za-z0-9._-]+", value):
                self.fault(
                    f"{variable!r} becomes part of the URL: letters, digits, '.', '_' and '-' only", "providers", name
                )
            values[variable] = value or ""
        return values

    def _credentials(
        self, name: str, section: ProviderFile, preset: Preset
    ) -> tuple[tuple[Credential, ...], dict[str, Secret | None]]:
        keys: Sequence[str | KeyFile] = section.keys
        if not keys and preset.auth != "none" and (preset.tier != "local" or preset.env):
            found = next((variable for variable in preset.env if self.environ.get(variable)), None)
            if found:
                keys = (f"env:{found}",)
            elif preset.tier != "local" and section.enabled:
                usual = f"env:{preset.env[0]}" if preset.env else "env:NAME"
                self.fault(f"a key is needed: add 'keys: [{usual}]' and set it, or 'enabled: false'", "providers", name)
        credentials: list[Credential] = []
        secrets: dict[str, Secret | None] = {}
        for index, item in enumerate(keys):
            key = item if isinstance(item, KeyFile) else KeyFile(key=item)
            where = ("providers", name, "keys", index)
            secret = self._secret(key.key, *where) if section.enabled else None
            identifier = f"{name}/{_label(key.key, index)}"
            if identifier in secrets:
                self.fault(f"the key {identifier!r} is there twice", *where)
            secrets[identifier] = secret
            account = f"{name}:{key.account or identifier}"
            limits = {**section.limits.model_dump(exclude_none=True), **key.model_dump(exclude_none=True)}
            credentials.append(Credential(identifier, account, key.priority, key.weight, _limits(limits)))
        if not credentials:
            identifier = f"{name}/no-key"
            secrets[identifier] = None
            limits = section.limits.model_dump(exclude_none=True)
            credentials.append(Credential(identifier, f"{name}:{identifier}", limits=_limits(limits)))
        return tuple(credentials), secrets

    def _secret(self, reference: str, *where: str | int) -> Secret | None:
        value = self._resolve(reference, *where)
        if value is None:
            return None
        if not value.isascii() or not value.isprintable() or " " in value:
            self.fault("the key has spaces or characters that no HTTP header can carry", *where)
            return None
        if not reference.startswith(("env:", "file:")):
            place = f"{self.name}:{_line(where, self.lines) or ''}"
            self.warnings.append(f"{place}: a key stands in the file itself; 'env:NAME' or 'file:PATH' is safer")
        return Secret(value)

    def _resolve(self, reference: str, *where: str | int) -> str | None:
        """What a reference stands for; a fault and None where it stands for nothing."""
        kind, _, name = reference.partition(":")
        if kind == "env":
            value = self.environ.get(name, "").strip()
            if not value:
                self.fault(f"the environment variable {name} is not set", *where)
            return value or None
        if kind == "file":
            path = Path(self.name).parent / Path(name).expanduser()
            try:
                value = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                self.fault(f"the file {name} can't be read: {getattr(error, 'strerror', None) or 'not UTF-8'}", *where)
                return None
            if not value:
                self.fault(f"the file {name} is empty", *where)
            return value or None
        return reference

    def _chains(self, providers: Mapping[str, Provider], disabled: set[str]) -> dict[str, Chain]:
        written = self.file.chains
        if not written:
            self.fault(f"at least one chain is needed, such as '{DEFAULT_CHAIN}: [groq/openai/gpt-oss-120b]'", "chains")
        elif DEFAULT_CHAIN not in written:
            self.fault(f"a chain named '{DEFAULT_CHAIN}' is needed: it takes what names no other chain", "chains")
        chains: dict[str, Chain] = {}
        for name, items in written.items():
            tiers: list[tuple[Entry, ...]] = []
            seen: set[str] = set()
            if not items:
                self.fault("has no targets", "chains", name)
            for index, item in enumerate(items):
                tier: list[Entry] = []
                for text in (item,) if isinstance(item, str) else item:
                    provider, _, model = text.partition("/")
                    if text in seen:
                        self.fault(f"{text!r} is there twice", "chains", name, index)
                    seen.add(text)
                    if not model:
                        self.fault(f"{text!r} is not of the form provider/model", "chains", name, index)
                    elif provider in providers:
                        tier.append(Entry.of(providers[provider], model))
                    elif provider not in self.file.providers:
                        known = ", ".join(self.file.providers)
                        self.fault(f"no provider is named {provider!r}; there are: {known}", "chains", name, index)
                if tier:
                    tiers.append(tuple(tier))
            if items and not tiers and disabled:
                self.fault("every provider in it is disabled", "chains", name)
            chains[name] = Chain(name, tuple(tiers))
        return chains

    def _aliases(self, chains: Mapping[str, Chain], providers: Mapping[str, Provider]) -> None:
        for name, to in self.file.aliases.items():
            if name in chains:
                self.fault(f"{name!r} is a chain already", "aliases", name)
            if to not in chains and to.partition("/")[0] not in providers:
                self.fault(f"{to!r} is neither a chain ({', '.join(chains)}) nor provider/model", "aliases", name)


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


_VARIABLE = re.compile(r"\{(\w+)\}")


def _put(url: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: values[match[1]], url)


def _label(reference: str, index: int) -> str:
    """How a key is named in logs and pages: by where it comes from, never by what it is."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        return name
    return Path(name).name if kind == "file" else f"key{index + 1}"


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
        tool_ids=rule.tool_ids,
    )
