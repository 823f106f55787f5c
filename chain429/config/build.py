"""Builds routing's values and the endpoints out of a checked file; what refers to something is resolved here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chain429.catalog import Cleanup as CleanupData
from chain429.catalog import Preset, presets
from chain429.config.faults import Places, Where, clip, near, quoted, why
from chain429.config.schema import REFERENCES, VARIABLE, ChainFile, ConfigFile, KeyFile, ProviderFile
from chain429.config.values import DEFAULT_CHAIN, OBSERVE, Config, Endpoint, Secret, Timeouts
from chain429.errors import StartError, StoreError
from chain429.routing.breaker import BreakerPolicy
from chain429.routing.chain import CALLERS, Chain, Cost, Credential, Entry, Limit, Provider, is_callers
from chain429.routing.headers import Metric
from chain429.routing.status import Tier
from chain429.routing.window import Window
from chain429.wire.cleanup import Cleanup

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


_COSTS: dict[Tier, Cost] = {"free": Cost.FREE, "local": Cost.FREE, "trial": Cost.TRIAL, "paid": Cost.PAID}

# In place of a key: whoever calls brings one.
_PASSTHROUGH = "passthrough"
# What the gateway's own tokens begin with.
_OWN_TOKEN = "c429_"  # noqa: S105  no token
# What the gateway says itself; "authorization" is made of a key.
_OWN_HEADERS = {
    *("accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"),
    *("te", "transfer-encoding", "upgrade"),
}


# What a secret that was typed into the page is, by its name; None where there is none. May raise StoreError.
Secrets = Callable[[str], str | None]


class Build:
    """Builds one ``Config``; every fault goes to ``places``."""

    def __init__(
        self, file: ConfigFile, environ: Mapping[str, str], places: Places, secrets: Secrets | None = None
    ) -> None:
        self.file = file
        self.environ = environ
        self.places = places
        self.secrets = secrets
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
        hosts = self._hosts(chains)
        tokens = [self._secret(token, "tokens", index) for index, token in enumerate(file.tokens)]
        listen, pages = _split(file.listen), _split(file.pages)
        if listen == pages and listen[1] and not self.places.is_spoilt("listen"):
            self.fault("is also the address of 'listen': each needs its own", "pages")
        if file.trust_loopback:
            self._warn("every program on this machine may use the API without a token", "trust_loopback")
        compare = self._compare()
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
            proxy_hosts=hosts,
            providers=providers,
            endpoints=endpoints,
            chains=chains,
            aliases=dict(file.aliases),
            source=self.places.file,
            warnings=tuple(self.warnings),
            trust_loopback=file.trust_loopback,
            preconnect=file.preconnect,
            log_seconds=file.log.days * 86400,
            log_bytes=round(file.log.megabytes * 1_000_000),
            log_bodies=file.log.body_limit if file.log.bodies else 0,
            log_json=file.log.format == "json",
            metrics_open=file.metrics.open,
            prices={
                name: (price.input, price.output, price.cached, price.currency) for name, price in file.prices.items()
            },
            compare=compare,
            passing=frozenset(endpoint.host for endpoint in endpoints.values() if endpoint.passing),
        )

    def _preset(self, name: str, section: ProviderFile) -> Preset | None:
        known = presets()
        preset = known.get(name if section.preset is None else section.preset)
        if preset:
            return preset
        if section.preset is not None:
            words = f"no preset is named {quoted(section.preset)}{near(section.preset, known)}"
            self.fault(words, "providers", name, "preset")
            return None
        if section.base_url is None:
            self.fault(f"is not a preset, so it needs a 'base_url'{near(name, known)}", "providers", name)
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
        passing = next((key.id for key in credentials if is_callers(key.account)), None)
        keyed = any(secrets.values()) or passing is not None
        if keyed and url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
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
        dialect = section.dialect or preset.dialect
        endpoint = Endpoint(
            id=name,
            name=preset.name,
            base_url=_put(url, values),
            auth=preset.auth,
            dialect=dialect,
            # Who stands behind another URL is not known: what it signs is marked, and betas are not sent there. And who
            # also speaks another's dialect did not make it; those of OpenAI are two.
            vendor=preset.vendor
            and section.base_url is None
            and (dialect == "messages") == (preset.dialect == "messages"),
            headers={**{key.lower(): value for key, value in preset.headers.items()}, **headers},
            secrets=secrets,
            cleanup=tuple(_cleanup(rule) for rule in preset.cleanup),
            timeouts=Timeouts(**{**self.file.timeouts.model_dump(exclude={"deadline"}), **own}),
            models_url=models_url and _put(models_url, values),
            model_list=preset.models,
            preset=section.preset or name,
            tier=preset.tier,
            terms=preset.terms,
            free=preset.free,
            header_secrets=header_secrets,
            passing=passing,
        )
        return provider, endpoint

    def _variables(self, url: str, name: str, section: ProviderFile, preset: Preset) -> dict[str, str]:
        """The value of each ``{variable}`` in ``url``."""
        values: dict[str, str] = {}
        for variable in dict.fromkeys(VARIABLE.findall(url)):
            where = ("providers", name, "variables", variable)
            usual = preset.variables.get(variable)
            reference = section.variables.get(variable)
            if reference is None and not first_set([usual or ""], self.environ):
                how = f"set {usual}, or add" if usual else "add"
                self.fault(f"is needed for its URL: {how} 'variables: {{{variable}: ...}}'", *where)
                continue
            value = self._resolve(reference or f"env:{usual}", *where)
            if value is not None and not re.fullmatch(r"[A-Za-z0-9._-]+", value):
                self.fault("becomes a part of the URL: letters, digits, '.', '_' and '-' only", *where)
            values[variable] = value or ""
        for variable in section.variables.keys() - set(VARIABLE.findall(url)):
            self.fault(f"there is no '{{{clip(variable)}}}' in its URL", "providers", name, "variables", variable)
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
            if reference.partition(":")[0] in REFERENCES:
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
        ids = credential_ids(name, [key.key for key in keys])
        credentials: list[Credential] = []
        secrets: dict[str, Secret | None] = {}
        places: dict[str, int] = {}
        for index, key in enumerate(keys):
            where = ("providers", name, "keys", index)
            if key.key in places:
                self.fault(f"is there twice: the same as number {places[key.key] + 1} of the list", *where)
                continue
            places[key.key] = index
            limits = _limits({**common, **key.model_dump(exclude_none=True)})
            if key.key == _PASSTHROUGH:
                if key.account is not None:
                    self.fault("each caller's key has an account of its own", *where, "account")
                passed = Credential(ids[index], f"{CALLERS}{name}", key.priority, key.weight, limits)
                credentials.append(passed)
                continue
            secret = self._secret(key.key, *where)
            if secret and any(other and other.reveal() == secret.reveal() for other in secrets.values()):
                self._warn("is the same key as another one of the list, so it adds nothing", *where)
            identifier = ids[index]
            secrets[identifier] = secret
            account = f"{name}:{key.account or identifier}"
            credentials.append(Credential(identifier, account, key.priority, key.weight, limits))
        return tuple(credentials), secrets

    def _usual_key(self, name: str, preset: Preset) -> tuple[KeyFile, ...]:
        """The key that is in the environment under its usual name, for a preset without 'keys'."""
        found = first_set(preset.env, self.environ)
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
        literal = reference.partition(":")[0] not in REFERENCES
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
                self.fault(f"the file {quoted(name)} can't be read: {why(error)}", *where)
                return None
            if not value:
                self.fault(f"the file {quoted(name)} is empty", *where)
            return value or None
        if kind == "secret":
            return self._kept(name, *where)
        return reference

    def _kept(self, name: str, *where: str | int) -> str | None:
        try:
            value = self.secrets(name) if self.secrets else None
        except (StoreError, StartError) as error:
            self.fault(str(error), *where)
            return None
        if value is None:
            # The name is not told: people do paste the key itself here.
            told = "type it in on the page of providers, or use 'env:NAME' or 'file:PATH'"
            self.fault(f"no secret of that name is kept here: {told}", *where)
        return value

    def _compare(self) -> str:
        compare = self.file.compare or ""
        if compare and "/" not in compare:
            self.fault("a model is named with its provider, such as openai/gpt-5.4-mini", "compare")
        for name in self.file.prices:
            if "/" not in name:
                self.fault("a model is named with its provider, such as groq/openai/gpt-oss-120b", "prices", name)
        return compare

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
        passing = ""
        for index, texts in enumerate(section.targets):
            where = (*there, index)
            if not texts:
                self.fault("has no targets", *where)
            tier: list[Entry] = []
            for text in texts:
                provider, _, model = text.partition("/")
                if text in seen:
                    self.fault(f"{quoted(text)} is there twice", *where)
                seen.add(text)
                if not self._is_target(text, *where):
                    continue
                if provider in providers:
                    if providers[provider].passing:
                        passing = passing or provider
                        if passing != provider:
                            words = f"a caller's key is for one provider only, in this chain for '{passing}'"
                            self.fault(f"{quoted(text)}: {words}", *where)
                    tier.append(Entry.of(providers[provider], model))
                left_out = left_out or not self.file.providers[provider].enabled
            if tier:
                tiers.append(tuple(tier))
        if not section.targets:
            self.fault("has no targets", "chains", name)
        elif left_out and not tiers:
            self.fault("every provider in it is disabled", "chains", name)
        affinity = self.file.affinity if section.affinity is None else section.affinity
        return Chain(name, tuple(tiers), affinity, passing)

    def _is_target(self, text: str, *where: str | int) -> bool:
        """Whether it is a model of a provider that is configured, if only a disabled one; else a fault."""
        provider, _, model = text.partition("/")
        known = self.file.providers
        if not model or not _usable(text):
            preset = presets().get(provider)
            example = f", such as '{provider}/{preset.defaults[0]}'" if preset and preset.defaults else ""
            self.fault(f"{quoted(text)} is not of the form provider/model{example}", *where)
        elif provider not in known:
            self.fault(f"{quoted(text)}: no provider is named {quoted(provider)}{near(provider, known)}", *where)
        return bool(model) and _usable(text) and provider in known

    def _aliases(self, chains: Mapping[str, Chain]) -> None:
        for name, to in self.file.aliases.items():
            where = ("aliases", name)
            if name in chains:
                self.fault("is the name of a chain already", *where)
            if to in chains:
                continue
            if "/" not in to:
                self.fault(f"no chain is named {quoted(to)}{near(to, chains)}", *where)
            elif self._is_target(to, *where) and not self.file.providers[to.partition("/")[0]].enabled:
                self.fault(f"{quoted(to)}: its provider is disabled", *where)

    def _hosts(self, chains: Mapping[str, Chain]) -> dict[str, str]:
        for index, (host, use) in enumerate(self.file.proxy.hosts.items()):
            where: Where = ("proxy", "hosts", host)
            if where not in self.places.lines:  # it is in a list
                where = ("proxy", "hosts", index)
            if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]+", host):
                self.fault("a host such as api.openai.com was expected, without 'https://', port or path", *where)
            if use and use != OBSERVE and use not in chains:
                known = near(use, [*chains, OBSERVE])
                self.fault(f"no chain is named {quoted(use)}, and it is not '{OBSERVE}'{known}", *where)
        return {host.lower().rstrip("."): use or "" for host, use in self.file.proxy.hosts.items()}


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
    return VARIABLE.sub(lambda match: values.get(match[1], ""), url)


def credential_ids(provider: str, references: Sequence[str]) -> tuple[str, ...]:
    """The ids of a provider's keys, in their order, by where each comes from."""
    passed = f"{provider}/{_PASSTHROUGH}"
    ids: list[str] = []
    for index, reference in enumerate(references):
        plain = f"{provider}/{_label(reference, index)}"
        ids.append(passed if reference == _PASSTHROUGH else _unused(plain, {*ids, passed}))
    return tuple(ids)


def _label(reference: str, index: int) -> str:
    """How a key is named in logs and pages: by where it comes from, never by what it is."""
    kind, _, name = reference.partition(":")
    if kind in ("env", "secret"):
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


def first_set(names: Iterable[str], environ: Mapping[str, str]) -> str | None:
    """The first of these variables with a value. The gateway's own token is none: it stands under a provider's usual
    name where clients are to use the gateway."""
    values = ((name, environ.get(name, "").strip()) for name in names)
    return next((name for name, value in values if value and not value.startswith(_OWN_TOKEN)), None)
