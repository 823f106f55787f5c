"""Listeners: the API's lean server and the pages' application, each on its own port."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from chain429.errors import StartError
from chain429.wire.chat import CHAT
from chain429.wire.dialect import Problem

_log = logging.getLogger("chain429.server")

# Longer than any client keeps an idle connection: one that is closed just as it is used again looks like a failure.
_KEEP_ALIVE = 120.0
_LONGEST_PATH = 16384
_LONGEST_HEADER = 32768
# When it is stopped, aiohttp waits for requests under way, and then once more as long.
_WAITS = 2

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Connection(web.RequestHandler):
    """One client's connection. What is no HTTP, or fails in a way that nobody foresaw, is answered in JSON, without a
    traceback."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500 and not isinstance(exc, ConnectionError):  # which is that of the client, who has left
            _log.error("a fault in chain429 on %s %s", request.method, request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if isinstance(exc, LineTooLong):  # whose words quote what was sent, keys and all
            of_path = str(exc.args[1]) == str(_LONGEST_PATH)
            status, what, most = (414, "path", _LONGEST_PATH) if of_path else (431, "header", _LONGEST_HEADER)
            text = f"The request's {what} is too long: it may have {most} bytes."
        elif status >= 500:
            text = "A fault in chain429; its log says more."
        else:
            text = f"Not valid HTTP: {_first_line(message)}"
        response = web.Response(
            status=status, body=CHAT.error(Problem(status, text, code="bad_request")), content_type="application/json"
        )
        response.headers["server"] = "chain429"
        response.headers["x-request-id"] = new_id()
        response.force_close()
        return response

    def log_exception(self, *args: Any, **told: Any) -> None:
        # A body that can't be decoded has been answered by then; this is the attempt to read the rest of it.
        if not isinstance(told.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **told)


def _first_line(message: str | None) -> str:
    return (message or "malformed request").strip().splitlines()[0][:200].rstrip(": ")


def new_id() -> str:
    """The name of a request that brings none."""
    return "req_" + os.urandom(12).hex()


class _Server(web.Server):
    def __init__(self, handler: Handler, max_body: Callable[[], int], **options: Any) -> None:
        super().__init__(handler, request_factory=self._request, handler_cancellation=True, **options)
        self._max_body = max_body

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=self._max_body())

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class Listener:
    """One listening socket. ``stop`` takes no new requests and lets those under way finish."""

    def __init__(self, runner: web.BaseRunner, host: str, port: int) -> None:
        self._runner = runner
        self.host = host
        self.port = port

    @classmethod
    async def start(cls, runner: web.BaseRunner, host: str, port: int, what: str) -> Listener:
        """Listen; port 0 takes a free one. Raises StartError in one clear line."""
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, reuse_address=True).start()
        except (OSError, ValueError) as error:  # the latter of what is no name of a host
            await runner.cleanup()
            reason = "the port is taken" if "in use" in str(error) else (getattr(error, "strerror", None) or str(error))
            raise StartError(f"{what} can't listen on {host}:{port}: {reason}") from error
        address = runner.addresses[0]
        return cls(runner, str(address[0]), int(address[1]))

    @property
    def reachable(self) -> str:
        """The address by which this machine reaches it; it may listen on every one."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104

    @property
    def url(self) -> str:
        host = f"[{self.reachable}]" if ":" in self.reachable else self.reachable
        return f"http://{host}:{self.port}"

    async def stop(self) -> None:
        await self._runner.cleanup()


def api_runner(handler: Handler, *, max_body: Callable[[], int], drain: float) -> web.ServerRunner:
    """A runner for the API: no routes, no access log, a client that leaves cancels its handler. ``max_body`` gives the
    most bytes that a body may have now."""
    server = _Server(
        handler,
        max_body,
        access_log=None,
        keepalive_timeout=_KEEP_ALIVE,
        max_line_size=_LONGEST_PATH,
        max_field_size=_LONGEST_HEADER,
    )
    return web.ServerRunner(server, access_log=None, shutdown_timeout=drain / _WAITS)


def pages_runner(app: web.Application, *, drain: float) -> web.AppRunner:
    return web.AppRunner(
        app, access_log=None, handler_cancellation=True, keepalive_timeout=_KEEP_ALIVE, shutdown_timeout=drain / _WAITS
    )
