"""What all pages have in common: templates, navigation, static files, and what is asked of every request.

A page is a ``Page``; what it shows is its own module's. Pages are made in a thread, for they may ask the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
from aiohttp import web

from chain429 import __version__
from chain429.web.admin import unauthorized
from chain429.web.pages.sessions import Door
from chain429.web.view import iso, money, number, percent, request_words, seconds, utc, words

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# What a template is given. Called in a thread.
Values = Callable[[], Mapping[str, object]]

# In this order, those that there are.
_NAVIGATION = ("/", "/requests", "/chains", "/providers", "/usage", "/playground", "/settings")

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
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Page:
    """``title`` is its name in the navigation; empty for what is reached from elsewhere. A ``part`` is what a script
    asks for to renew a page: without a session it is refused, where a page leads to the login."""

    path: str
    title: str
    show: Handler
    part: bool = False


@cache
def _environment(templates: Path) -> jinja2.Environment:
    """What compiles the templates of a folder, each of them once."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters = (words, request_words, iso, utc, seconds, number, money, percent)
    environment.filters.update({each.__name__: each for each in filters})
    return environment


class Frame:
    """Makes pages. ``templates`` is the folder of the templates, with the static files in ``static``."""

    def __init__(self, templates: Path, door: Door, allowed_hosts: Iterable[str]) -> None:
        self._door = door
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._navigation: tuple[Page, ...] = ()
        files = (path for path in (templates / "static").iterdir() if path.suffix in _TYPES)
        self._static = {path.name: _with_etag(path) for path in files}
        self._templates = _environment(templates)

    def add_to(self, app: web.Application, pages: Iterable[Page]) -> None:
        pages = tuple(pages)
        named = {page.path: page for page in pages if page.title}
        self._navigation = tuple(named[path] for path in _NAVIGATION if path in named)
        app.middlewares.append(self.guard)
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/static/{name}", self._static_file)
        app.router.add_get("/favicon", self._favicon)
        app.router.add_get("/favicon.ico", self._favicon)
        for page in pages:
            app.router.add_get(page.path, self._shown(page))

    async def page(self, request: web.Request, template: str, values: Values, *, status: int = 200) -> web.Response:
        """A whole page. Its template extends ``base.html``."""
        session = self._door.session(request)
        common = {
            "version": __version__,
            "navigation": self._navigation,
            "here": request.path,
            "csrf": session.csrf if session else "",
        }
        return await asyncio.to_thread(lambda: self.render(template, {**common, **values()}, status=status))

    async def part(self, template: str, values: Values) -> web.Response:
        """A piece of a page."""
        return await asyncio.to_thread(lambda: self.render(template, values()))

    def render(self, template: str, values: Mapping[str, object], *, status: int = 200) -> web.Response:
        text = self._templates.get_template(template).render(values)
        return web.Response(status=status, text=text, content_type="text/html")

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every request passes here: a name that we answer to, and no other site behind it."""
        host = request.headers.get("Host", "").lower()
        if host not in self._hosts and re.sub(r":\d*$", "", host) not in self._hosts:
            return web.Response(status=421, text="This is not a name of chain429's pages.\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return web.Response(status=403, text="Requests of other sites are refused.\n")
        return await handler(request)

    def _shown(self, page: Page) -> Handler:
        async def show(request: web.Request) -> web.StreamResponse:
            if self._door.reads(request):
                return await page.show(request)
            return unauthorized() if page.part else web.Response(status=303, headers={"Location": "/login"})

        return show

    async def _static_file(self, request: web.Request) -> web.Response:
        return self._file(request, request.match_info["name"])

    async def _favicon(self, request: web.Request) -> web.Response:
        return self._file(request, "icon.svg")

    def _file(self, request: web.Request, name: str) -> web.Response:
        if name not in self._static:
            raise web.HTTPNotFound
        content, etag = self._static[name]
        # Asked for each time, sent only when it changed: a new version is never shown with an old style.
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=content, content_type=_TYPES[Path(name).suffix], charset="utf-8", headers=headers)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        if name != "Cache-Control" or name not in response.headers:
            response.headers[name] = value


def _with_etag(path: Path) -> tuple[bytes, str]:
    content = path.read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:16]}"'
