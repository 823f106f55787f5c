"""Who may use which door: client tokens for the API, one admin token for the pages.

Tokens are kept as SHA-256 digests and compared in constant time. Files of tokens are readable by their owner only.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import secrets
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from chain429.config import is_loopback
from chain429.errors import StartError
from chain429.web.covered import ORIGIN_HEADER, TICKET_HEADER, Handover, Origin, Taken
from chain429.web.own import OwnKeys
from chain429.wire.own import OwnKey

TOKEN_HEADER = "x-chain429-token"  # noqa: S105  a header's name

# Where a connection comes from: address and port.
Peer = tuple[str, int]


@functools.lru_cache(maxsize=64)
def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Doors:
    """Recognises clients of the API.

    ``proxied`` holds the peers that are our own proxy's connections, for as long as these are open: whoever comes that
    way was let in by the proxy, which stands in for a token. Nothing secret is sent, so nothing of it can be recorded.
    Of those in ``relayed`` the proxy has not read a byte: web pages among them are turned away here. It tells where
    each of them was going. ``handed`` is what the proxy took out of requests that go on unchanged.
    ``trust_loopback``: whoever comes from this machine needs none, but for web pages. ``own_keys`` are those that
    callers bring for providers.
    """

    def __init__(
        self,
        tokens: Iterable[str],
        proxied: Container[Peer] = (),
        relayed: Mapping[Peer, Origin] | None = None,
        *,
        trust_loopback: bool = False,
        own_keys: OwnKeys | None = None,
        handed: Handover[Taken] | None = None,
    ) -> None:
        self._digests = tuple(digest(token) for token in tokens)
        self._met: set[str] = set()
        self._proxied = proxied
        self._relayed = {} if relayed is None else relayed
        self._trust_loopback = trust_loopback
        self._own_keys = own_keys or OwnKeys()
        self._handed = handed or Handover[Taken]()

    def client(self, headers: Mapping[str, str], peer: Peer | None = None) -> str | None:
        """Who asks (``sdk`` or ``proxy``), or None where nothing that was sent is known here."""
        if peer is not None and peer in self._proxied and (peer not in self._relayed or not from_a_page(headers)):
            return "proxy"
        for token in _tokens(headers):
            # Only what is known to be ours is remembered: others' keys are not for us to keep.
            if token in self._met:
                return "sdk"
            if self.is_token(token):
                self._met.add(token)
                return "sdk"
        trusted = self._trust_loopback and peer is not None and is_loopback(peer[0]) and not from_a_page(headers)
        return "sdk" if trusted else None

    def own_key(self, headers: Mapping[str, str], peer: Peer | None) -> OwnKey | None:
        """The key that a request brings for a provider; None where it has none but the gateway's token."""
        if peer is not None and peer in self._proxied:
            return self._own_keys.take(headers.get(TICKET_HEADER, ""))
        return self._own_keys.read(headers, self.is_token)

    def origin(self, headers: Mapping[str, str], peer: Peer | None) -> Origin | None:
        """Where a request was going that the proxy led here; None for others, and where that makes no difference."""
        if peer is None or peer not in self._proxied:
            return None
        return self._relayed.get(peer) or Origin.read(headers.get(ORIGIN_HEADER, ""))

    def taken(self, headers: Mapping[str, str]) -> Taken | None:
        """What the proxy took out of such a request, once."""
        return self._handed.take(headers.get(TICKET_HEADER, ""))

    def lend(self, headers: Mapping[str, str], host: str) -> str | None:
        """For the proxy: take over the key of a request to ``host``. Returns the ticket to send in its place."""
        key = self._own_keys.read(headers, self.is_token, host)
        return self._own_keys.leave(key) if key else None

    def is_token(self, text: str) -> bool:
        """Whether this is a client token."""
        given = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        # Every one is compared, so that the time taken says nothing.
        return bool(sum([hmac.compare_digest(given, known) for known in self._digests]))


def from_a_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent this for a web page: any page can make it do so, without the user's knowledge."""
    site = headers.get("sec-fetch-site", "none")
    return headers.get("origin", "").startswith(("http://", "https://", "null")) or site != "none"


def _tokens(headers: Mapping[str, str]) -> Iterable[str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        yield token.strip()
    for name in ("x-api-key", TOKEN_HEADER):
        if headers.get(name):
            yield headers[name].strip()


def kept_token(path: Path, prefix: str) -> tuple[str, bool]:
    """The token that ``path`` keeps, and whether it was made just now: where there is no file, or nothing in it.

    Raises StartError where it can't be kept, and for what no header and no shell takes as one word."""
    try:
        try:
            token = path.read_bytes().strip().decode("latin-1")
            if token and all("!" <= letter <= "~" for letter in token):
                return token, False
            if token:
                raise StartError(
                    f"the token in {path} must be one word, of ASCII that can be seen: "
                    "mend it, or delete the file to get a new one"
                )
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        token = prefix + secrets.token_urlsafe(24)
        # Made with its final mode: there is no moment at which others could read it.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(token + "\n")
        return token, True
    except OSError as error:
        raise StartError(f"the token file {path} can't be used: {error.strerror or error}") from error
