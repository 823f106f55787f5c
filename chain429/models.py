"""The lists that providers publish of their models: read in the background, kept over a restart.

What they say is laid over the configuration (``Config.listing``), so that a request is not sent where it would lack
something. How a list is shaped is the matter of ``catalog.lists``; what follows from it, of routing. No request ever
waits for a list, and without any the gateway goes on by the catalog.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from chain429.catalog.lists import ListError, Listing, read_list
from chain429.clock import Clock
from chain429.config import Config, Endpoint
from chain429.errors import StoreError, UpstreamError
from chain429.routing.fit import Capabilities
from chain429.routing.saved import Json, members, number, text
from chain429.store.writer import Store
from chain429.upstream import USER_AGENT

_log = logging.getLogger("chain429.models")

# The name of all this in the store.
LISTED = "models"

_FIRST_SECONDS = 3.0  # the start has better things to do
_LOOK_SECONDS = 30.0
_DAY = 86400.0
_RETRY_SECONDS = 600.0
# By so much of it a time is shorter or longer, so that not all gateways ask at once.
_JITTER = 0.1
_TIMEOUT = 20.0
_MOST_PAGES = 20
# Of a model's name that another one is looked for which is like it.
_LONGEST = 60


class Lister(Protocol):
    """What lists are asked for with; see ``upstream.HttpUpstream``."""

    async def get(self, url: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109
        """The answer's status and body. Raises UpstreamError."""


@dataclass(slots=True)
class _Source:
    """One provider's list: where it comes from, what it said last, and when it is asked for again (Unix seconds)."""

    mark: str
    models: Mapping[str, Capabilities] = field(default_factory=dict)
    whole: bool = False
    read_at: float = 0.0
    due: float = 0.0
    failures: int = 0


class ModelLists:
    """The lists of every provider that has a key.

    ``recall`` at the start, then ``adopt`` for that configuration and each one after it; ``run`` while there are any
    requests. ``changed`` is called when a list said something new: then ``adopt`` is due again. ``missing`` are, as
    sentences for people, the models that are configured although their provider does not list them: that is a hint,
    nothing is benched for it.
    """

    def __init__(
        self, store: Store, clock: Clock, changed: Callable[[], None], jitter: Callable[[], float] = random.random
    ) -> None:
        self.missing: tuple[str, ...] = ()
        self._store = store
        self._clock = clock
        self._changed = changed
        self._jitter = jitter
        self._endpoints: Mapping[str, Endpoint] = {}
        self._sources: dict[str, _Source] = {}

    def recall(self) -> None:
        """Take back what was kept, as far as it can be read. Never raises."""
        try:
            kept = self._store.kept(LISTED)
        except StoreError as error:
            _log.debug("the lists of models that were kept can't be used: %s", error)
            return
        for provider, saved in members(kept):
            found = dict(members(saved))
            at, models = number(found.get("at")), dict(_restored(found.get("models")))
            if at is not None and models:
                whole = found.get("whole") is True
                self._sources[provider] = _Source(text(found.get("mark")), models, whole, at, at + self._about(_DAY))

    def adopt(self, config: Config) -> Config:
        """The same configuration with what the lists say. What another server said, or another key was told, is
        forgotten."""
        self._endpoints = {id: endpoint for id, endpoint in config.endpoints.items() if _keys(endpoint)}
        before, self._sources = self._sources, {}
        for id, endpoint in self._endpoints.items():
            mark, source = _mark(endpoint), before.get(id)
            self._sources[id] = source if source is not None and source.mark == mark else _Source(mark)
        missing = tuple(self._missing(config))
        for words in missing:
            if words not in self.missing:
                _log.warning("%s", words)
        self.missing = missing
        return config.listing({id: source.models for id, source in self._sources.items()})

    async def run(self, upstream: Lister) -> None:
        """Read each list at first and then every day, until cancelled."""
        await self._clock.sleep(_FIRST_SECONDS)
        while True:
            now = self._clock.now()
            for id in [id for id, source in self._sources.items() if _is_due(source, now)]:
                await self._read(id, upstream)
            await self._clock.sleep(_LOOK_SECONDS)

    async def _read(self, id: str, upstream: Lister) -> None:
        endpoint, source = self._endpoints.get(id), self._sources.get(id)
        if endpoint is None or source is None:  # gone by a reload, while another list was read
            return
        keys = _keys(endpoint)
        try:
            listing = await _fetched(endpoint, keys[source.failures % len(keys)], upstream)
        except (UpstreamError, ListError) as error:
            source.due = self._clock.now() + self._about(min(_RETRY_SECONDS * 2.0**source.failures, _DAY))
            source.failures = min(source.failures + 1, 1000)
            _log.debug("the list of models of %s can't be read: %s", id, error)
            return
        if self._sources.get(id) is not source:
            return
        now = self._clock.now()
        news = (source.models, source.whole) != (listing.models, listing.whole)
        source.models, source.whole, source.failures = listing.models, listing.whole, 0
        source.read_at, source.due = now, now + self._about(_DAY)
        _log.debug("%s lists %d models", id, len(source.models))
        self._keep()
        if news:
            self._changed()

    def _about(self, seconds: float) -> float:
        return seconds * (1 - _JITTER + 2 * _JITTER * self._jitter())

    def _keep(self) -> None:
        kept: dict[str, Json] = {}
        for id, source in self._sources.items():
            if source.models:
                models = [{"id": model, **_saved(known)} for model, known in source.models.items()]
                kept[id] = {"mark": source.mark, "at": source.read_at, "whole": source.whole, "models": models}
        self._store.keep(LISTED, kept)

    def _missing(self, config: Config) -> Iterator[str]:
        """A user who writes down what a model can do knows that there is such a model."""
        for id, model in _named(config):
            source = self._sources.get(id)
            if source is None or not source.whole or model in source.models:
                continue
            endpoint = config.endpoints[id]
            told = any(glob == model for glob, _ in config.providers[id].models.told)
            if not told and not any(fnmatchcase(model, glob) for glob in endpoint.model_list.unlisted):
                close = difflib.get_close_matches(model[:_LONGEST], source.models, 1)
                meant = f" Did you mean '{id}/{close[0]}'?" if close else ""
                yield f"{endpoint.name} does not list the model of '{id}/{model}'.{meant}"


async def _fetched(endpoint: Endpoint, key: str, upstream: Lister) -> Listing:
    """The whole list, page by page. Raises UpstreamError and ListError."""
    url: str | None = endpoint.models_url
    headers = {"user-agent": USER_AGENT, "accept": "application/json", **endpoint.headers}
    if endpoint.model_list.auth:
        headers |= endpoint.authorization(key)
    models: dict[str, Capabilities] = {}
    for _ in range(_MOST_PAGES):
        if url is None:
            break
        status, body = await upstream.get(url, headers, _TIMEOUT)
        if status != 200:
            raise ListError(f"HTTP {status}")
        page = read_list(endpoint.model_list.shape, body)
        models |= page.models
        if page.next is None:
            return Listing(models, page.whole)
        url = _following(url, page.next)
    return Listing(models, whole=False)


def _following(url: str, page: str) -> str | None:
    """The URL of the next page; None where it is somebody else's, whom the key is not for."""
    try:
        following = urljoin(url, page)
        same = urlsplit(following)[:2] == urlsplit(url)[:2]
    except ValueError:
        return None
    return following if same else None


def _keys(endpoint: Endpoint) -> list[str]:
    """The credentials to ask with; none where there is no list, or no key: who is given none is not asked."""
    if endpoint.models_url is None:
        return []
    return [credential for credential, secret in endpoint.secrets.items() if secret is not None]


def _mark(endpoint: Endpoint) -> str:
    """What tells whether it is still the same list. A piece of a digest: too little to find a key by it."""
    secrets = [secret.reveal() for secret in endpoint.secrets.values() if secret is not None]
    parts = [endpoint.models_url or "", endpoint.model_list.shape, *secrets]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _is_due(source: _Source, now: float) -> bool:
    # What is farther off than it ever is was reckoned by a clock that was wrong.
    return not 0 < source.due - now <= _DAY * (1 + _JITTER)


def _named(config: Config) -> Iterator[tuple[str, str]]:
    """Every provider and model that is configured, once."""
    named = {
        (entry.provider.id, entry.model): None
        for chain in config.chains.values()
        for tier in chain.tiers
        for entry in tier
    }
    for to in config.aliases.values():
        provider, _, model = to.partition("/")
        if to not in config.chains and provider in config.providers and model:
            named[provider, model] = None
    yield from named


def _saved(known: Capabilities) -> dict[str, Json]:
    return {name: value for name, value in known._asdict().items() if value is not None}


def _restored(saved: object) -> Iterator[tuple[str, Capabilities]]:
    for entry in saved if isinstance(saved, list) else ():
        found = dict(members(entry))
        identifier = text(found.get("id"))
        if identifier:
            yes = [value if isinstance(value := found.get(name), bool) else None for name in Capabilities._fields[:4]]
            sizes = [int(size) if (size := number(found.get(name))) else None for name in Capabilities._fields[4:]]
            yield identifier, Capabilities(*yes, *sizes)
