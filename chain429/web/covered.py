"""What the proxy tells the API of a request that it leads here: whose it was, and what it took out of it.

Nothing of it is believed but over the proxy's own connections.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

# In which the proxy names where a request was going.
ORIGIN_HEADER = "x-chain429-origin"
# In which it names what it has handed over.
TICKET_HEADER = "x-chain429-own"
# Handed over and not called for: a client of the proxy may leave before its request is complete.
_MOST = 1000
_USUAL_PORTS = {"http": 80, "https": 443}

_Thing = TypeVar("_Thing")


class Origin(NamedTuple):
    """Where a request was going. ``host`` is in lower case, without brackets and a dot at the end."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = _USUAL_PORTS.get(self.scheme) == self.port
        return f"{self.scheme}://{host}" if usual else f"{self.scheme}://{host}:{self.port}"

    @classmethod
    def read(cls, text: str) -> Origin | None:
        """What ``str`` wrote; None where it is nothing of the kind."""
        try:
            parts = urlsplit(text)
            port = parts.port or _USUAL_PORTS.get(parts.scheme)
        except ValueError:
            return None
        return cls(parts.scheme, parts.hostname, port) if parts.hostname and port else None


class Taken(NamedTuple):
    """What the proxy took out of a request that goes on unchanged: its ``path`` as it came, the query with it, and the
    headers that hold keys."""

    path: str
    headers: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return "Taken(…)"


class Handover(Generic[_Thing]):
    """Brings secrets from the proxy to the API without writing them anywhere."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, _Thing] = OrderedDict()

    def leave(self, thing: _Thing) -> str:
        """Keep it until it is taken, and give what it is taken by: good for once, and no secret after that."""
        if len(self._left) >= _MOST:
            self._left.popitem(last=False)
        ticket = secrets.token_urlsafe(24)
        self._left[ticket] = thing
        return ticket

    def take(self, ticket: str) -> _Thing | None:
        return self._left.pop(ticket, None)
