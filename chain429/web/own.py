"""The key that a caller brings for a provider: read from its request, and handed over by the proxy.

It lives for as long as its request, in memory only. What tells the keys of callers apart afterwards is a digest, salted
anew in each process, from which no key can be found.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping

from chain429.wire.own import OwnKey

# Handed over and not called for: a client of the proxy may leave before its request is complete.
_MOST = 1000
# In which the proxy names what it has handed over.
TICKET_HEADER = "x-chain429-own"
# What the tokens begin with that the gateway makes; those of another day are not for others either.
_OURS = ("c429_", "c429admin_")
# What a subscription is known by, besides its token: Anthropic answers 429 where it is missing.
_IDENTIFYING = frozenset(
    {"anthropic-beta", "anthropic-version", "anthropic-dangerous-direct-browser-access", "user-agent", "x-app"}
)
_IDENTIFYING_PREFIX = "x-stainless-"


class OwnKeys:
    """Reads own keys. ``leave`` and ``take`` bring one from the proxy to the API without writing it anywhere."""

    def __init__(self) -> None:
        self._salt = os.urandom(16)
        self._left: OrderedDict[str, OwnKey] = OrderedDict()

    def read(
        self, headers: Mapping[str, str], is_ours: Callable[[str], bool], host: str | None = None
    ) -> OwnKey | None:
        """The key among a request's headers that is not the gateway's own token; None where there is none.

        ``is_ours`` tells the gateway's tokens, ``host`` is the only one that the key is meant for, if that is known.
        """
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        token = bearer.strip() if scheme.lower() == "bearer" else ""
        api_key = headers.get("x-api-key", "").strip()
        token, api_key = (key if _can_be_sent(key) and not is_ours(key) else "" for key in (token, api_key))
        if not token and not api_key:
            return None
        caller = hashlib.blake2b(f"{token}\n{api_key}".encode(), digest_size=12, key=self._salt).hexdigest()
        told: dict[str, str] = {}
        for name, value in headers.items():
            name = name.lower()
            if name in _IDENTIFYING or name.startswith(_IDENTIFYING_PREFIX):
                told[name] = f"{told[name]}, {value}" if name in told else value
        return OwnKey(token, api_key, told, caller, host)

    def leave(self, key: OwnKey) -> str:
        """Keep the key until it is taken, and give what it is taken by: good for once, and no secret after that."""
        if len(self._left) >= _MOST:
            self._left.popitem(last=False)
        ticket = secrets.token_urlsafe(24)
        self._left[ticket] = key
        return ticket

    def take(self, ticket: str) -> OwnKey | None:
        return self._left.pop(ticket, None)


def _can_be_sent(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key and not key.startswith(_OURS)
