"""The key that a caller brings for a provider: read from its request, or handed over by the proxy.

It lives for as long as its request, in memory only. What tells the keys of callers apart afterwards is a digest, salted
anew in each process, from which no key can be found.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping

from chain429.web.covered import Handover
from chain429.wire.own import OwnKey

# What the tokens begin with that the gateway makes; those of another day are not for others either.
_OURS = ("c429_", "c429admin_")
# What a subscription is known by, besides its token: Anthropic answers 429 where it is missing.
_IDENTIFYING = frozenset(
    {"anthropic-beta", "anthropic-version", "anthropic-dangerous-direct-browser-access", "user-agent", "x-app"}
)
_IDENTIFYING_PREFIX = "x-stainless-"


class OwnKeys(Handover[OwnKey]):
    """Reads own keys, and hands them over."""

    def __init__(self) -> None:
        super().__init__()
        self._salt = os.urandom(16)

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


def _can_be_sent(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key and not key.startswith(_OURS)
