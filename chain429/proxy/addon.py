"""The addon: its options, and the gateway's life within mitmproxy's.

mitmproxy calls ``load`` and ``configure``, then ``running``; ``done`` at the end. When it reloads a changed script, it
calls ``done`` of the old addon and all of these of the new one, without awaiting anything: hence the tasks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Awaitable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader
from mitmproxy.version import VERSION

from chain429 import log
from chain429.app import DRAIN_SECONDS, App, Options, banner, find_config, launch
from chain429.clock import Clock, SystemClock
from chain429.errors import Chain429Error, ConfigError, StartError
from chain429.launch.running import Running, forget, record
from chain429.proxy import events, listening
from chain429.proxy.attempts import Attempts
from chain429.proxy.commands import Commands
from chain429.proxy.fence import Fence
from chain429.proxy.host import addon, options_error, set_options, show_comments, take_deferred
from chain429.proxy.relay import INSPECT, Relay, inspected, wrong_inspect
from chain429.proxy.steering import Gateway, Steering
from chain429.redact import Redactor

_log = logging.getLogger("chain429.proxy")

# The first one without known holes in its HTTP parsing and in mitmweb; it needs Python 3.12.
_SAFE_VERSION = (12, 2, 2)

_OPTIONS: tuple[tuple[str, type, str | bool, str], ...] = (
    ("config", str, "", "chain429's configuration file. Else ./chain429.yaml, or that in the user's folder."),
    ("listen", str, "", "Address of chain429's API; default 127.0.0.1:4290."),
    ("pages", str, "", "Address of chain429's pages; default 127.0.0.1:4291."),
    ("data_dir", str, "", "Where chain429 keeps tokens and the request log. Else the user's data folder."),
    ("debug", bool, False, "Log each decision of chain429 and why."),
    ("log_format", str, "", "Of chain429's log: text or json. Else what the configuration says, or text."),
    ("inspect", str, "auto", "Whether requests and attempts become flows: always, never, or auto: if somebody looks."),
    ("allow_local", bool, False, "Let clients of the proxy reach servers on this machine."),
)


class Addon:
    """What ``addons/chain429.py`` registers.

    ``addons`` are parts of it, which mitmproxy calls as it calls this one. ``app`` is what runs, None while nothing
    does. ``wrong`` tells what is wrong with the options that were given at the start, if something is.
    """

    name = "chain429"
    # Addons that a reloaded script has left behind, and that still have the ports.
    _leaving: ClassVar[set[asyncio.Task[None]]] = set()

    def __init__(self, environ: Mapping[str, str] = os.environ, clock: Clock | None = None) -> None:
        self.app: App | None = None
        self.wrong: str | None = None
        self._environ = environ
        self._clock = clock or SystemClock()
        self._redact = Redactor()
        self._handler: logging.Handler | None = None
        self._starting: asyncio.Task[bool] | None = None
        self._recorded: Running | None = None
        self._attempts = Attempts(self._redact, self._clock)
        self._steering = Steering()
        self._fence = Fence(self._steering.covers, self._steering.is_led, self._own_ports)
        self.addons = [
            self._steering,
            Relay(self._steering),
            self._fence,
            Commands(lambda: self.app, self._clock),
        ]

    # What mitmproxy calls.

    def load(self, loader: Loader) -> None:
        for name, kind, default, about in _OPTIONS:
            loader.add_option(f"chain429_{name}", kind, default, about, INSPECT if name == "inspect" else None)
        self.wrong = take_deferred("chain429_")
        # With the eager one mitmproxy connects to hosts before it is known that the gateway answers for them.
        # Flows are then listed by the host that was asked for, not by the gateway's address.
        set_options(connection_strategy="lazy", showhost=True)
        show_comments()
        if listening.wants_loopback(ctx.options.listen_host, listening.parsed(ctx.options.mode)):
            set_options(listen_host=listening.LOOPBACK)

    def configure(self, updated: set[str]) -> None:
        """At the start ``running`` reads the options. Later a value that can't be used is an OptionsError."""
        if self.app is None:
            return
        if "chain429_inspect" in updated and (wrong := wrong_inspect()):
            raise options_error(wrong)
        if "chain429_debug" in updated:
            logging.getLogger("chain429").setLevel(logging.DEBUG if ctx.options.chain429_debug else logging.INFO)
        if "chain429_config" in updated:
            self._change_config(self.app)
        if updated & {"chain429_listen", "chain429_pages", "chain429_data_dir", "chain429_log_format"}:
            _log.warning("changed addresses, folders and log formats of chain429 take effect at the next start")
        self._look(self.app)

    def running(self) -> Awaitable[None]:
        self._starting = asyncio.get_running_loop().create_task(self._start())
        return _Started(self._starting, fatal=_has_terminal_log())

    def done(self) -> Awaitable[None] | None:
        if self._starting is None:
            return None
        if ctx.master.should_exit.is_set():
            for number in (signal.SIGINT, signal.SIGTERM):
                # Once more, and nothing is waited for.
                signal.signal(number, signal.SIG_DFL)
        task = asyncio.get_running_loop().create_task(self._stop(self._starting))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    # Its life.

    async def _start(self) -> bool:
        """Whether it runs now; why not is in the log."""
        await asyncio.gather(*self._leaving)
        try:
            self._handler = _start_log(self._redact, self._environ)
        except StartError as error:
            self._handler = log.start(self._redact, debug=False)
            self.wrong = self.wrong or str(error)
        if _version(VERSION) < _SAFE_VERSION:
            _log.warning("mitmproxy %s lacks security fixes that later ones have: use Python 3.12 or newer", VERSION)
        self.wrong = self.wrong or wrong_inspect()
        try:
            if self.wrong:
                raise StartError(self.wrong)
            await listening.keep_to_loopback()
            app = await launch(self._options(), self._environ, self._clock, self._redact)
        except Chain429Error as error:
            _log.error("chain429 can't start: %s", error)
            return False
        assert app.api
        self.app = app
        self._look(app)
        self._steering.gateway = Gateway(
            (app.api.reachable, app.api.port),
            lambda: app.config.proxy_hosts,
            app.knows,
            app.proxied,
            app.relayed,
            app.lend,
            lambda: bool(app.config.passing),
            app.handed.leave,
        )
        app.refusal = self._fence.refusal
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.reload)
        self._announce(app)
        return True

    async def _stop(self, starting: asyncio.Task[bool]) -> None:
        await asyncio.wait([starting])
        self._steering.gateway = None
        app, self.app = self.app, None
        if app:
            if self._recorded:
                forget(app.data, self._recorded)
            if hasattr(signal, "SIGHUP"):
                asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
            _log.info("stopping: requests under way may finish, for up to %d s; once more stops at once", DRAIN_SECONDS)
            await app.stop()
            await self._attempts.close()
        if self._handler:
            log.stop(self._handler)

    def _announce(self, app: App) -> None:
        urls = listening.urls(self._steering.covers)
        if urls.proxy:
            self._record(app, urls.proxy)
        if _has_terminal_log():
            sys.stdout.write(banner(app, urls.proxy, urls.reverse) + "\n")
            sys.stdout.flush()
        elif app.api and app.pages:
            _log.info("API %s/v1, pages %s; tokens are kept in %s", app.api.url, app.pages.url, app.data)

    def _record(self, app: App, proxy: str) -> None:
        """For ``chain429 run`` and ``env``, which look for it there."""
        assert app.api
        assert app.pages
        certificate = Path(ctx.options.confdir).expanduser().resolve() / "mitmproxy-ca-cert.pem"
        self._recorded = Running(proxy, app.api.url, app.pages.url, certificate, bool(ctx.options.proxyauth))
        with suppress(OSError):  # then they will say that no proxy is running
            record(app.data, self._recorded)

    def _options(self) -> Options:
        told = ctx.options
        return Options(
            config=Path(told.chain429_config) if told.chain429_config else None,
            data_dir=Path(told.chain429_data_dir) if told.chain429_data_dir else None,
            listen=told.chain429_listen or None,
            pages=told.chain429_pages or None,
            debug=told.chain429_debug,
        )

    def _change_config(self, app: App) -> None:
        path = find_config(self._options(), self._environ)
        if path == app.path:
            return
        try:
            if path is None:
                raise options_error("there is no other configuration file: name one")
            app.use(path)
        except ConfigError as error:
            raise options_error(str(error)) from error

    def _look(self, app: App) -> None:
        """Have attempts shown from now on, if somebody looks at flows."""
        app.engine.observe(self._attempts if inspected() else None)

    def _own_ports(self) -> set[int]:
        app = self.app
        own = {listener.port for listener in (app.api, app.pages) if listener} if app else set()
        return own | listening.ports()


class _Started:
    """Can be awaited but need not be: mitmproxy does at its own start, and does not when it reloads a script.

    Where it is, and nothing runs, it ends the process, if ``fatal``.
    """

    def __init__(self, task: asyncio.Task[bool], *, fatal: bool) -> None:
        self._task = task
        self._fatal = fatal

    def __await__(self) -> Generator[object, None, None]:
        runs = yield from self._task.__await__()
        if self._fatal and not runs:
            sys.exit(1)


def _has_terminal_log() -> bool:
    """False where mitmproxy draws its own interface: there it ends by itself after an error, and shows that again."""
    return addon("termlog") is not None


def _start_log(redact: Redactor, environ: Mapping[str, str]) -> logging.Handler:
    """Raises StartError. Where mitmproxy draws an interface of its own, the log is part of it and for people."""
    debug = bool(ctx.options.chain429_debug)
    if not _has_terminal_log():
        return events.start(redact, debug=debug)
    json = log.told(ctx.options.chain429_log_format or environ.get(log.LOG_FORMAT))
    return log.start(redact, debug=debug, json=json)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
