"""The only HTTP client: requests to providers over pooled, warm connections.

Whatever aiohttp raises becomes one of our ``UpstreamError`` here, once. Redirects are not followed, nothing is
retried, no cookie is kept, no proxy of the environment is used: what the engine decides is what goes out, to the
configured host only."""

from __future__ import annotations

import errno
import functools
import socket
from asyncio import sslproto
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import aiohttp
from yarl import URL

from chain429.clock import Clock
from chain429.errors import ConnectFailed, Cut, StartError, UpstreamError

# Groq and Cerebras stand behind a wall that refuses the default agents of HTTP libraries.
USER_AGENT = "chain429 (+https://pypi.org/project/chain429)"
MAX_ERROR_BODY = 256 * 1024
MAX_ANSWER = 64 * 1024 * 1024
_MAX_SMALL = 8 * 1024 * 1024
# How long a finished stream's connection is given to come to its end, so that it can be used again.
_LINGER = 0.25
# What a kept connection raises whose other end is gone, closed or reset; a new one that can't be made is none of these.
_GONE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)


class UpstreamRequest(NamedTuple):
    """One POST to a provider. ``headers`` hold the credential: never log a request."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout: float

    def __repr__(self) -> str:
        return f"UpstreamRequest({self.url}, {len(self.body)} bytes)"


class Answer(Protocol):
    """A provider's answer, whose connection is held until ``close`` or ``finish``. Headers' names are lower-case."""

    status: int
    headers: Mapping[str, str]

    async def read(self, limit: int) -> bytes:
        """The whole body, at most ``limit`` bytes of it. Raises UpstreamError."""

    async def chunk(self) -> bytes:
        """The next bytes as they come; empty at the end. Raises UpstreamError."""

    async def finish(self) -> None:
        """The answer was read as far as it matters: keep the connection for the next call, if that is possible."""

    def close(self) -> None:
        """Break off at once: the provider sees that nobody listens. Safe to call twice, and after ``finish``."""


class Upstream(Protocol):
    """Sends requests to providers."""

    async def send(self, request: UpstreamRequest) -> Answer:
        """The answer, as soon as its head has come. Raises UpstreamError."""


class _Mapped:
    """A context that turns what aiohttp raises into an error of ours. It keeps nothing, so one serves all."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            found = _translated(error)
            if found is not None:
                raise found from error


_MAPPED = _Mapped()


def _translated(error: Exception) -> UpstreamError | None:
    match error:
        case TimeoutError() | aiohttp.ConnectionTimeoutError():
            return ConnectFailed("no connection within the time-out")
        case aiohttp.ClientConnectorDNSError():
            return ConnectFailed("its host name can't be resolved")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return ConnectFailed("TLS failed: its certificate is not trusted, or it speaks no TLS")
        case aiohttp.ClientConnectorError():
            return ConnectFailed(f"no connection: {error.os_error.strerror or 'unreachable'}")
        case aiohttp.ServerDisconnectedError():
            return Cut("it closed the connection without an answer")
        case aiohttp.ClientPayloadError():
            return Cut("its answer was cut short")
        case aiohttp.ClientResponseError():
            return Cut("its answer is not HTTP")
        case aiohttp.ClientError() | OSError():
            return Cut(f"the connection broke: {getattr(error, 'strerror', None) or type(error).__name__}")
        case ValueError():
            return UpstreamError(f"the request can't be sent: {error}")
    return None


class HttpAnswer:
    """See ``Answer``."""

    __slots__ = ("_clock", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, clock: Clock) -> None:
        self._response = response
        self._clock = clock
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self, limit: int) -> bytes:
        with _MAPPED:
            parts: list[bytes] = []
            size = 0
            while chunk := await self._response.content.readany():
                parts.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise UpstreamError(f"its answer is larger than {limit} bytes")
            return b"".join(parts)

    async def chunk(self) -> bytes:
        with _MAPPED:
            return await self._response.content.readany()

    async def finish(self) -> None:
        content = self._response.content
        if not content.at_eof():
            with suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with self._clock.timeout(_LINGER):
                    await content.readany()
        # A connection whose answer has not ended is closed, any other goes back to the pool.
        self._response.release()

    def close(self) -> None:
        self._response.close()


class _Dials:
    """Whether a request needed a new connection."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = False


# The request that a socket is made for; aiohttp's own tracing tells the same at a fifth of a request's whole cost.
_dials: ContextVar[_Dials | None] = ContextVar("_dials", default=None)


@functools.lru_cache(maxsize=64)
def _limits(connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect)


class HttpUpstream:
    """See ``Upstream``. ``open`` first, within the event loop that will use it; ``close`` last. ``via`` is the mark on
    every request that has no other; see ``wire.via``. ``refusal`` says why no connection may be made to an IP address
    and port, None where it may: it is asked about each one that a name turns out to have."""

    def __init__(self, clock: Clock, via: str = "", refusal: Callable[[str, int], str | None] | None = None) -> None:
        self._clock = clock
        self._via = via
        self._refusal = refusal
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None  # keeps no connection

    async def open(self) -> None:
        # asyncio sets 256 kB aside for each TLS connection: 125 MB for 500 streams that say a word now and then.
        sslproto.SSLProtocol.max_size = 8 * 1024
        self._session = self._new_session(keepalive_timeout=90)
        self._fresh = self._new_session(force_close=True)

    def _new_session(self, **kept: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # No limit of our own: the providers' limits are what counts.
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, socket_factory=self._dial, **kept),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            trust_env=False,
            read_bufsize=2**18,
            max_line_size=32768,
            max_field_size=32768,
            headers={"via": self._via} if self._via else None,
        )

    async def send(self, request: UpstreamRequest) -> Answer:
        async def post(session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
            return await session.post(
                request.url,
                data=aiohttp.BytesPayload(request.body),
                headers=request.headers,
                allow_redirects=False,
                timeout=_limits(request.connect_timeout),
            )

        return await self._answered(post)

    async def _answered(
        self, send: Callable[[aiohttp.ClientSession], Awaitable[aiohttp.ClientResponse]], *, once: bool = False
    ) -> Answer:
        if self._session is None or self._fresh is None:
            raise StartError("the upstream client is not open")
        with _MAPPED:
            dials = _Dials()
            _dials.set(dials)
            try:
                response = await send(self._session)
            except _GONE:
                # A kept connection that had ended in the meantime says nothing about the provider; where one has, all
                # others may have, so the second try is over a new one.
                if dials.seen or once:
                    raise
                response = await send(self._fresh)
        return HttpAnswer(response, self._clock)

    async def forward(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | AsyncIterable[bytes] | None,
        connect_timeout: float,
    ) -> Answer:
        """Any request, as it is; the answer as soon as its head has come. Raises UpstreamError."""

        async def send(session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
            return await session.request(
                method,
                URL(url, encoded=True),
                data=body,
                headers=headers,
                skip_auto_headers=("Content-Type",),
                allow_redirects=False,
                timeout=_limits(connect_timeout),
            )

        # A body that came in pieces is gone.
        return await self._answered(send, once=not (body is None or isinstance(body, bytes)))

    def _dial(self, address: aiohttp.AddrInfoType) -> socket.socket:
        dials = _dials.get()
        if dials:
            dials.seen = True
        family, kind, protocol, _, where = address
        reason = self._refusal(str(where[0]), int(where[1])) if self._refusal else None
        if reason:
            raise PermissionError(errno.EACCES, reason)
        return socket.socket(family, kind, protocol)

    async def get(self, url: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109
        """A small GET, such as a list of models: its status and its whole body. Raises UpstreamError."""
        if self._session is None:
            raise StartError("the upstream client is not open")
        with _MAPPED:
            # A connection has a little less time than the whole, so that it is known what there was none of.
            limit = aiohttp.ClientTimeout(total=timeout, sock_connect=0.95 * timeout)
            try:
                async with self._session.get(url, headers=headers, allow_redirects=False, timeout=limit) as response:
                    return response.status, await HttpAnswer(response, self._clock).read(_MAX_SMALL)
            except aiohttp.ConnectionTimeoutError:
                raise
            except TimeoutError as error:
                raise UpstreamError("no answer within the time-out") from error

    async def warm(self, url: str, connect_timeout: float) -> None:
        """See that a connection to that host is kept, making one if there is none. Raises UpstreamError."""
        if self._session is None or self._session.connector is None:
            raise StartError("the upstream client is not open")
        with _MAPPED:
            # It is never sent: the connector only reads off it whereto.
            whereto = aiohttp.ClientRequest("HEAD", URL(url))
            (await self._session.connector.connect(whereto, [], _limits(connect_timeout))).release()

    async def close(self) -> None:
        for session in (self._session, self._fresh):
            if session is not None:
                await session.close()
        self._session = self._fresh = None
