"""Who may see the pages: sessions that began with the admin token, and how often a peer may guess it."""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from dataclasses import dataclass

from aiohttp import web

from chain429.clock import Clock
from chain429.web.admin import CSRF_HEADER
from chain429.web.auth import digest

COOKIE = "chain429_session"

_SESSION_SECONDS = 12 * 3600.0
_MOST_SESSIONS = 64
_GUESSES = 5
_GUESS_SECONDS = 60.0
_MOST_PEERS = 1024


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that showed the admin token. ``csrf`` is in each of its forms; ``ends`` is monotonic seconds."""

    csrf: str
    ends: float


class Sessions:
    """The sessions that are open: a bounded number, each for a bounded time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[str, Session] = {}  # oldest first

    def begin(self) -> str:
        """Open a session; its id is the cookie's value."""
        while len(self._open) >= _MOST_SESSIONS:
            del self._open[next(iter(self._open))]
        id = secrets.token_urlsafe(32)
        self._open[id] = Session(secrets.token_urlsafe(32), self._clock.monotonic() + _SESSION_SECONDS)
        return id

    def find(self, id: str) -> Session | None:
        session = self._open.get(id)
        if session is not None and self._clock.monotonic() >= session.ends:
            self.end(id)
            return None
        return session

    def end(self, id: str) -> None:
        self._open.pop(id, None)


class Guesses:
    """Wrong tokens of the last minute, by the peer's address. Whoever had five of them waits, even with the right one,
    so that what is answered tells nothing. Of many peers those that guessed longest ago are forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: dict[str, deque[float]] = {}  # monotonic seconds; the peer that guessed last is last

    def wait(self, peer: str) -> float:
        """For how many seconds nothing is taken from there; 0 where it may try."""
        wrong = self._wrong.get(peer)
        if wrong is None or len(wrong) < _GUESSES:
            return 0.0
        return max(0.0, wrong[0] + _GUESS_SECONDS - self._clock.monotonic())

    def count(self, peer: str) -> None:
        """One more that was wrong."""
        wrong = self._wrong.pop(peer, None) or deque(maxlen=_GUESSES)
        wrong.append(self._clock.monotonic())
        while len(self._wrong) >= _MOST_PEERS:
            del self._wrong[next(iter(self._wrong))]
        self._wrong[peer] = wrong

    def forget(self, peer: str) -> None:
        self._wrong.pop(peer, None)


class Door:
    """Lets in a session, or the admin token itself as ``Authorization: Bearer``."""

    def __init__(self, clock: Clock, admin_token_digest: bytes) -> None:
        self.sessions = Sessions(clock)
        self._digest = admin_token_digest

    def session(self, request: web.Request) -> Session | None:
        return self.sessions.find(request.cookies.get(COOKIE, ""))

    def reads(self, request: web.Request) -> bool:
        """Whether it may read."""
        shown = _bearer(request)
        return self.session(request) is not None if shown is None else self.is_admin(shown)

    def changes(self, request: web.Request) -> bool:
        """Whether it may change something: with a session alone, a page elsewhere might have sent it."""
        shown, session = _bearer(request), self.session(request)
        if shown is not None or session is None:
            return shown is not None and self.is_admin(shown)
        return is_token_of(session, request.headers.get(CSRF_HEADER, ""))

    def is_admin(self, token: str) -> bool:
        return hmac.compare_digest(digest(token), self._digest)


def is_token_of(session: Session, csrf: str) -> bool:
    """Whether a form, or a script, of this very session sent it."""
    return hmac.compare_digest(csrf.encode("utf-8", "surrogatepass"), session.csrf.encode())


def _bearer(request: web.Request) -> str | None:
    """The token that it shows; None where it shows none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
