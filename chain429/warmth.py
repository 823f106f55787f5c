"""Connections to the providers that are asked first, kept open: a request after a quiet hour finds one ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from chain429.clock import Clock
from chain429.config import Config
from chain429.errors import UpstreamError

_log = logging.getLogger("chain429.warmth")

# Servers close a connection that nothing is asked on after a minute or more; it is looked after before that.
_EVERY = 45.0


class Warmable(Protocol):
    """What keeps connections."""

    async def warm(self, url: str, connect_timeout: float) -> None:
        """See ``HttpUpstream.warm``."""


class Warmth:
    """``run`` while there are requests to come. Nothing is asked of a provider, so it costs no quota, and one that
    can't be reached is no worse off for it: the next request finds out by itself."""

    def __init__(self, upstream: Warmable, config: Callable[[], Config], clock: Clock) -> None:
        self._upstream = upstream
        self._config = config
        self._clock = clock

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(_EVERY)

    async def look(self) -> None:
        """See that there is a connection to each provider that a chain begins with."""
        found = heads(self._config()).items()
        results = await asyncio.gather(
            *[self._upstream.warm(url, seconds) for url, seconds in found], return_exceptions=True
        )
        for (url, _), result in zip(found, results, strict=True):
            if isinstance(result, UpstreamError):
                _log.debug("no connection to %s is ready: %s", url, result)
            elif isinstance(result, Exception):  # It must not end what is done for the others.
                _log.error("a fault in chain429 while connecting to %s", url, exc_info=result)


def heads(config: Config) -> Mapping[str, float]:
    """The base URLs of the providers that a chain begins with, and the seconds that connecting to each may take."""
    if not config.preconnect:
        return {}
    first = [config.endpoints[entry.provider.id] for chain in config.chains.values() for entry in chain.tiers[0]]
    return {endpoint.base_url: endpoint.timeouts.connect for endpoint in first}
