"""The simulator's HTTP server: takes requests, and plays out the replies that providers decide on.

Each provider has its own URL shape below its name: ``/groq/openai/v1/chat/completions``. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Self

from aiohttp import web

from chain429.clock import Clock, SystemClock
from chain429.errors import StartError
from chain429.simulator.anthropic import Anthropic
from chain429.simulator.cerebras import Cerebras
from chain429.simulator.control import Control, Ledger, Received, routes
from chain429.simulator.dialect import Dialect, Generic
from chain429.simulator.gemini import Gemini
from chain429.simulator.groq import Groq
from chain429.simulator.limits import Pace
from chain429.simulator.mistral import Mistral
from chain429.simulator.openai_responses import OpenAIResponses
from chain429.simulator.openrouter import OpenRouter
from chain429.simulator.provider import SimulatedProvider
from chain429.simulator.reply import Ending, Reply

DIALECTS: tuple[type[Dialect], ...] = (
    Groq,
    Cerebras,
    OpenRouter,
    Gemini,
    Mistral,
    Anthropic,
    OpenAIResponses,
    Generic,
)
_LARGEST_BODY = 64 * 1024 * 1024
# On close: discard what is not sent, and send a reset in place of a goodbye.
_LINGER_NOT = struct.pack("ii", 1, 0)


# From the key, the parsed body, the time and the headers.
Decide = Callable[[str | None, object, float, Mapping[str, str]], Reply]


class Simulator:
    """All simulated providers behind one port.

    ``start``, then ``base_url(provider)`` and ``port``; ``stop`` closes everything, unanswered requests too. At
    ``time_scale`` 60 the providers' clocks run sixty times faster, so that a minute's window lasts one second.
    ``token_delay`` is the time between two pieces of a stream, in real seconds.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        time_scale: float = 1.0,
        token_delay: float = 0.0,
    ) -> None:
        self._clock = clock or SystemClock()
        self._host = host
        self._port = port
        self._token_delay = token_delay
        pace = Pace(self._clock.now(), time_scale)
        providers = (SimulatedProvider(dialect(), pace) for dialect in DIALECTS)
        self.providers = MappingProxyType({provider.name: provider for provider in providers})
        self._ledger = Ledger()
        self.control = Control(self.providers, self._ledger)
        self._runner: web.AppRunner | None = None
        self._answering: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        return self._port

    def base_url(self, provider: str) -> str:
        """What a client of this provider has as its base URL."""
        path = self.control.provider(provider).path
        return f"http://{self._host}:{self._port}/{provider}{path}"

    async def start(self) -> None:
        """Listen; raises StartError when the port is taken."""
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.add_routes(routes(self.control))
        for provider in self.providers.values():
            prefix, dialect = f"/{provider.name}{provider.path}", provider.dialect
            app.router.add_post(prefix + dialect.endpoint, self._endpoint(provider, provider.respond))
            if dialect.count_endpoint:
                app.router.add_post(prefix + dialect.count_endpoint, self._endpoint(provider, provider.count))
            for path in dialect.others:
                app.router.add_post(prefix + path, self._endpoint(provider, partial(provider.beside, path)))
            app.router.add_get(f"{prefix}/models", self._endpoint(provider, _lister(provider)))
        # Handlers are cancelled when their caller leaves: that is how ``closed_early`` is seen at once.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror
            raise StartError(f"the simulator can't listen on {self._host}:{self._port}: {reason}") from error
        self._runner = runner
        self._stopping = False
        self._port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Close everything; safe to call again, and without a start."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self._stopping = True
        for task in self._answering:
            task.cancel()
        await runner.cleanup()

    def _endpoint(
        self, provider: SimulatedProvider, decide: Decide
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        prefix = len(provider.name) + 1

        async def endpoint(request: web.Request) -> web.StreamResponse:
            raw = await request.read()
            headers = {name.lower(): value for name, value in request.headers.items()}
            body, key, now = _parsed(raw), provider.dialect.key_of(headers), self._clock.now()
            path = request.path_qs[prefix:]
            record = Received(provider.name, request.method, path, key, headers, body, now)
            self._ledger.add(record, len(raw))
            task = asyncio.current_task()
            assert task is not None  # aiohttp runs each handler in one
            self._answering.add(task)
            try:
                return await self._play(request, decide(key, body, now, headers), record)
            except (asyncio.CancelledError, ConnectionError):
                record.closed_early = not self._stopping
                raise
            finally:
                record.done = True
                self._answering.discard(task)

        return endpoint

    async def _play(self, request: web.Request, reply: Reply, record: Received) -> web.StreamResponse:
        """Do what the reply says."""
        if not reply.head:
            return await self._end(request, reply, web.Response())
        record.status = reply.status
        if not reply.streamed and reply.ending is Ending.CLEAN and not reply.pause:
            record.chunks = len(reply.pieces)
            return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        if not reply.streamed:
            response.content_length = reply.length
        await response.prepare(request)
        pause = reply.pause or (self._token_delay if reply.streamed else 0.0)
        for index, piece in enumerate(reply.pieces):
            if index and pause:
                await self._clock.sleep(pause)
            await response.write(piece)
            record.chunks += 1
        return await self._end(request, reply, response)

    async def _end(self, request: web.Request, reply: Reply, response: web.StreamResponse) -> web.StreamResponse:
        transport = request.transport
        match reply.ending:
            case Ending.HANG:
                # Until the caller leaves, or the simulator stops: both cancel this.
                await asyncio.Event().wait()
            case Ending.CUT if transport is not None:
                transport.close()
            case Ending.RESET if transport is not None:
                connection = transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                transport.abort()
        return response


def _lister(provider: SimulatedProvider) -> Decide:
    return lambda key, body, now, headers: provider.list_models(key)


def _parsed(raw: bytes) -> object:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None
