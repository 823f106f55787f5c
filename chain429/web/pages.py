"""The pages' application, with the admin API in it, for a port of its own.

What a page says is in ``view``, how it looks in ``templates/``, what the API says in ``admin``. Here is who may see it:
a session that began with the admin token, or the token itself as ``Authorization: Bearer``. A web page elsewhere can
neither read nor do anything here: Host and Origin are checked on every request, no CORS header is ever sent, and what
changes something takes a token of the session too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import re
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2
from aiohttp import web

from chain429.clock import Clock
from chain429.routing.status import Status
from chain429.store.queries import Queries
from chain429.store.writer import Store
from chain429.web.admin import CSRF_HEADER, Admin, Clear, unauthorized
from chain429.web.auth import digest
from chain429.web.view import Views, iso, number, request_words, seconds, utc, words

_COOKIE = "chain429_session"
_SESSION_SECONDS = 12 * 3600.0
_MOST_SESSIONS = 64
_LOGINS_A_MINUTE = 10

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": browsers then send "Origin: null" with our own forms, which is what a hostile frame sends.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "chain429",
}

_STATIC = {
    "app.css": "text/css",
    "app.js": "text/javascript",
    "login.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def pages_app(
    status: Callable[[float], Status],
    queries: Queries,
    store: Store,
    admin_token_digest: bytes,
    clock: Clock,
    allowed_hosts: frozenset[str],
    templates: Path,
    *,
    clear: Clear,
    api_url: str = "http://127.0.0.1:4290/v1",
) -> web.Application:
    """The application.

    ``status`` is called on the event loop with the time (Unix seconds); so is ``clear``, see ``admin``.
    ``admin_token_digest`` is the SHA-256 of the admin token. ``allowed_hosts`` are the names that a Host header may
    have, with a port (only that one) or without (any). ``templates`` is the folder of the pages, ``api_url`` the base
    URL that they tell people to use.
    """
    pages = _Pages(status, queries, store, admin_token_digest, clock, allowed_hosts, templates, api_url)
    app = web.Application(middlewares=[pages.guard], client_max_size=16 * 1024)
    app.on_response_prepare.append(_add_headers)
    app.router.add_get("/", pages.index)
    app.router.add_get("/fragment", pages.fragment)
    app.router.add_get("/login", pages.login_form)
    app.router.add_post("/login", pages.login)
    app.router.add_post("/logout", pages.logout)
    app.router.add_get("/static/{name}", pages.static)
    app.router.add_get("/favicon", pages.favicon)
    app.router.add_get("/favicon.ico", pages.favicon)
    Admin(pages.current, clear, clock, pages.admitted, pages.may_change).add_to(app.router)
    return app


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        if name != "Cache-Control" or name not in response.headers:
            response.headers[name] = value


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


class _Pages:
    def __init__(
        self,
        status: Callable[[float], Status],
        queries: Queries,
        store: Store,
        admin_token_digest: bytes,
        clock: Clock,
        allowed_hosts: frozenset[str],
        templates: Path,
        api_url: str,
    ) -> None:
        self._status = status
        self._store = store
        self._digest = admin_token_digest
        self._clock = clock
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._sessions = Sessions(clock)
        self._logins: deque[float] = deque(maxlen=_LOGINS_A_MINUTE)  # when (monotonic) the last were tried
        self._views = Views(queries, clock, api_url)
        self._static = {name: _with_etag((templates / "static" / name).read_bytes()) for name in _STATIC}
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(templates),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters.update(
            words=words, request_words=request_words, iso=iso, utc=utc, seconds=seconds, number=number
        )

    @web.middleware
    async def guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Every request passes here: a name that we answer to, and no other site behind it."""
        host = request.headers.get("Host", "").lower()
        if host not in self._hosts and _without_port(host) not in self._hosts:
            return web.Response(status=421, text="This is not a name of chain429's pages.\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return web.Response(status=403, text="Requests of other sites are refused.\n")
        return await handler(request)

    async def login_form(self, request: web.Request) -> web.Response:
        return self._page("login.html", {"problem": ""})

    async def login(self, request: web.Request) -> web.Response:
        now = self._clock.monotonic()
        if len(self._logins) == _LOGINS_A_MINUTE and now - self._logins[0] < 60:
            page = self._page("login.html", {"problem": "Too many attempts. Try again in a minute."}, status=429)
            page.headers["Retry-After"] = "60"
            return page
        self._logins.append(now)
        token = (await request.post()).get("token")
        if not isinstance(token, str) or not self._is_admin(token.strip()):
            return self._page("login.html", {"problem": "That is not the admin token."}, status=401)
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(
            _COOKIE, self._sessions.begin(), path="/", httponly=True, samesite="Strict", secure=request.secure
        )
        return answer

    async def logout(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if session is not None:
            csrf = (await request.post()).get("csrf")
            if not isinstance(csrf, str) or not hmac.compare_digest(csrf.encode(), session.csrf.encode()):
                return web.Response(status=403, text="This form is out of date: load the page again.\n")
            self._sessions.end(request.cookies[_COOKIE])
        answer = web.Response(status=303, headers={"Location": "/login"})
        answer.del_cookie(_COOKIE, path="/", httponly=True, samesite="Strict", secure=request.secure)
        return answer

    async def index(self, request: web.Request) -> web.Response:
        if not self.admitted(request):
            return web.Response(status=303, headers={"Location": "/login"})
        session = self._session(request)
        return await self._rendered("index.html", csrf=session.csrf if session else "")

    async def fragment(self, request: web.Request) -> web.Response:
        if not self.admitted(request):
            return unauthorized()
        return await self._rendered("fragment.html")

    async def static(self, request: web.Request) -> web.Response:
        return self._file(request, request.match_info["name"])

    async def favicon(self, request: web.Request) -> web.Response:
        return self._file(request, "icon.svg")

    def _file(self, request: web.Request, name: str) -> web.Response:
        if name not in self._static:
            raise web.HTTPNotFound
        content, etag = self._static[name]
        # Asked for each time, sent only when it changed: a new version is never shown with an old style.
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=content, content_type=_STATIC[name], charset="utf-8", headers=headers)

    def _page(self, template: str, values: Mapping[str, object], *, status: int = 200) -> web.Response:
        text = self._templates.get_template(template).render(values)
        return web.Response(status=status, text=text, content_type="text/html")

    def _session(self, request: web.Request) -> Session | None:
        return self._sessions.find(request.cookies.get(_COOKIE, ""))

    def admitted(self, request: web.Request) -> bool:
        """Whether it may read."""
        shown = _bearer(request)
        return self._session(request) is not None if shown is None else self._is_admin(shown)

    def may_change(self, request: web.Request) -> bool:
        """Whether it may change something: with a session alone, a page elsewhere might have sent it."""
        shown, session = _bearer(request), self._session(request)
        if shown is not None or session is None:
            return shown is not None and self._is_admin(shown)
        return hmac.compare_digest(request.headers.get(CSRF_HEADER, "").encode(), session.csrf.encode())

    def _is_admin(self, token: str) -> bool:
        return hmac.compare_digest(digest(token), self._digest)

    def current(self, now: float) -> Status:
        """The gateway's status, with what the log has to say added to its problems."""
        status = self._status(now)
        failure = self._store.failure
        if failure is None or failure in status.problems:
            return status
        return dataclasses.replace(status, healthy=False, problems=(*status.problems, failure))

    async def _rendered(self, template: str, **values: object) -> web.Response:
        """A page of the gateway's state. The log is read and the page is made in a thread, off the gateway's loop."""
        now = self._clock.now()
        status = self.current(now)
        dropped = self._store.dropped

        def render() -> web.Response:
            return self._page(template, values | self._views.of(status, dropped, now))

        return await asyncio.to_thread(render)


def _with_etag(content: bytes) -> tuple[bytes, str]:
    return content, f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def _without_port(host: str) -> str:
    return re.sub(r":\d*$", "", host)


def _bearer(request: web.Request) -> str | None:
    """The token that it shows; None where it shows none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
