"""Logging in and out."""

from __future__ import annotations

import math

from aiohttp import web

from chain429.clock import Clock
from chain429.web.pages.frame import Frame
from chain429.web.pages.sessions import COOKIE, Door, Guesses, is_token_of


class Login:
    """A session begins with the admin token, and ends with a form of its own."""

    def __init__(self, frame: Frame, door: Door, clock: Clock) -> None:
        self._frame = frame
        self._door = door
        self._guesses = Guesses(clock)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/login", self.form)
        router.add_post("/login", self.log_in)
        router.add_post("/logout", self.log_out)

    async def form(self, request: web.Request) -> web.Response:
        return self._said("")

    async def log_in(self, request: web.Request) -> web.Response:
        token = await _typed(request, "token")
        # From here on nothing is awaited, so that guesses which come all at once are counted one by one.
        peer = request.remote or ""
        wait = math.ceil(self._guesses.wait(peer))
        if wait:
            page = self._said(f"Too many wrong tokens. Try again in {wait} seconds.", status=429)
            page.headers["Retry-After"] = str(wait)
            return page
        if not isinstance(token, str) or not self._door.is_admin(token.strip()):
            self._guesses.count(peer)
            return self._said("That is not the admin token.", status=401)
        self._guesses.forget(peer)
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(
            COOKIE, self._door.sessions.begin(), path="/", httponly=True, samesite="Strict", secure=request.secure
        )
        return answer

    async def log_out(self, request: web.Request) -> web.Response:
        session = self._door.session(request)
        if session is not None:
            csrf = await _typed(request, "csrf")
            if not isinstance(csrf, str) or not is_token_of(session, csrf):
                return web.Response(status=403, text="This form is out of date: load the page again.\n")
            self._door.sessions.end(request.cookies[COOKIE])
        answer = web.Response(status=303, headers={"Location": "/login"})
        answer.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=request.secure)
        return answer

    def _said(self, problem: str, *, status: int = 200) -> web.Response:
        return self._frame.render("login.html", {"problem": problem}, status=status)


async def _typed(request: web.Request, name: str) -> object:
    """What stands in a field of the form; None also where it is no form that can be read."""
    try:
        return (await request.post()).get(name)
    except (ValueError, LookupError, web.RequestPayloadError):  # of aiohttp, of the charset that it names, of its codec
        return None
