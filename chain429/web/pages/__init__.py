"""The pages' application, with the admin API in it, for a port of its own.

Each page has a module here, which puts its values into a template of ``templates/``; what several of them say is in
``web.view``, what the API says in ``web.admin``. Who may see them is in ``sessions``: a session that began with the
admin token, or the token itself as ``Authorization: Bearer``. A web page elsewhere can neither read nor do anything
here: Host and Origin are checked on every request, no CORS header is ever sent, and what changes something takes a
token of the session too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from chain429.clock import Clock
from chain429.routing.status import Status
from chain429.store.queries import Queries
from chain429.store.writer import Store
from chain429.web.admin import Admin, Clear, Gateway
from chain429.web.admin import usage as admin_usage
from chain429.web.admin.events import Events
from chain429.web.pages.chains import Chains
from chain429.web.pages.frame import Frame
from chain429.web.pages.login import Login
from chain429.web.pages.metrics import Scrape, add_metrics
from chain429.web.pages.overview import Overview
from chain429.web.pages.playground import Playground
from chain429.web.pages.providers import Providers
from chain429.web.pages.requests import Requests
from chain429.web.pages.sessions import Door
from chain429.web.pages.settings import Settings
from chain429.web.pages.usage import Usage
from chain429.web.view import Views

__all__ = ["pages_app"]

_LARGEST_FORM = 16 * 1024


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
    gateway: Gateway,
    api_url: str = "http://127.0.0.1:4290/v1",
    priced: str = "",
    token_file: str = "",
    scrape: Scrape | None = None,
) -> web.Application:
    """The application.

    ``status`` is called on the event loop with the time (Unix seconds); so is ``clear``, see ``admin``; ``gateway`` is
    what the admin API changes.
    ``admin_token_digest`` is the SHA-256 of the admin token. ``allowed_hosts`` are the names that a Host header may
    have, with a port (only that one) or without (any). ``templates`` is the folder of the pages, ``api_url`` the base
    URL that they tell people to use, ``priced`` the date of the table of prices, ``token_file`` where the first client
    token is kept, ``scrape`` makes what is read at ``/metrics``.
    """

    def current(now: float) -> Status:
        """The gateway's status, with what the log has to say added to its problems."""
        found, failure = status(now), store.failure
        if failure is None or failure in found.problems:
            return found
        return dataclasses.replace(found, healthy=False, problems=(*found.problems, failure))

    door = Door(clock, admin_token_digest)
    frame = Frame(templates, door, allowed_hosts)
    views = Views(queries, clock, api_url, priced)
    app = web.Application(client_max_size=_LARGEST_FORM)
    events = Events(current, queries, clock, door.reads)
    app.on_shutdown.append(events.stop)
    pages = (
        *Overview(frame, views, current, lambda: store.dropped, clock).pages(),
        *Requests(frame, queries, current, clock, store.flush).pages(),
        *Chains(frame, gateway).pages(),
        *Playground(frame, gateway).pages(),
        *Providers(frame, gateway, current, clock).pages(),
        *Usage(frame, queries, clock, priced).pages(),
        *Settings(frame, gateway, api_url, token_file).pages(),
    )
    frame.add_to(app, pages)
    Login(frame, door, clock).add_to(app.router)
    if scrape is not None:
        add_metrics(app.router, door, scrape, lambda: gateway.config.metrics_open)
    log = admin_usage.Usage(queries, clock, priced)
    more = (*events.routes(), *log.routes())
    Admin(current, clear, clock, door.reads, door.changes, gateway, more).add_to(app)
    return app
