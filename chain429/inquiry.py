"""What a provider is asked besides requests: whether it takes a key, and which models it has. Both by its list of
models, which costs nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Protocol

from chain429.catalog.lists import ListError, read_list
from chain429.config import Endpoint
from chain429.errors import UpstreamError
from chain429.routing.failure import read_failure
from chain429.routing.fit import Capabilities
from chain429.routing.outcome import Kind, Provision, classify
from chain429.upstream import USER_AGENT

# Besides the time that a connection may take.
_SECONDS = 10.0


class Get(Protocol):
    """See ``HttpUpstream.get``."""

    def __call__(self, url: str, headers: Mapping[str, str], timeout: float) -> Awaitable[tuple[int, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it. ``words`` say it for people and may quote the provider: redact them. ``models``, by their ids,
    is None where there is no list to be had; with ``tried`` False nothing was asked."""

    works: bool
    words: str
    models: Mapping[str, Capabilities] | None = None
    tried: bool = True


async def inquire(get: Get, endpoint: Endpoint, provision: Provision, credential: str, now: float) -> Found:
    """Ask for the list of models with that credential of the endpoint. A limit that is used up is no fault of the key.

    Never raises: a provider that can't be reached does not work either."""
    if endpoint.models_url is None:
        return Found(True, "not tried: the provider has no list of models to ask for", tried=False)
    headers = {"user-agent": USER_AGENT, **endpoint.headers, **endpoint.authorization(credential)}
    try:
        status, body = await get(endpoint.models_url, headers, endpoint.timeouts.connect + _SECONDS)
    except UpstreamError as error:
        return Found(False, f"{endpoint.models_url}: {error}")
    if 200 <= status < 300:
        try:
            listed = read_list(endpoint.model_list.shape, body).models
        except ListError as error:
            if read_failure(status, {}, body).page:
                return _misled(endpoint.models_url, "a web page is there, no list of models")
            return Found(True, f"the provider answers, but not with a list of models: {error}")
        return Found(True, "the provider answers", listed)
    if status == 404:
        return _misled(endpoint.models_url, "no list of models there (HTTP 404)")
    outcome = classify(read_failure(status, {}, body), provision, now)
    return Found(outcome.kind is Kind.RATE_LIMITED, outcome.reason)


def _misled(url: str, found: str) -> Found:
    """What answers may be no API, or somewhere else on that host."""
    return Found(False, f"{url}: {found}; is base_url right?")
