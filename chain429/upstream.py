"""The only HTTP client: requests to providers over pooled, warm connections.

Whatever aiohttp raises becomes one of our ``UpstreamError`` here, once. Redirects are not followed, nothing is
retried, no cookie is kept, no proxy of the environment is used: what the engine decides is what goes out, to the
configured host only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Protocol

import aiohttp

from chain429.clock import Clock
from chain429.errors import ConnectFailed, Cut, StartError, UpstreamError

# Groq and Cerebras stand behind a wall that refuses the default agents of HTTP libraries.
USER_AGENT = "chain429 (+https://pypi.org/project/chain429)"
MAX_ERROR_BODY = 256 * 1024
MAX_ANSWER = 64 * 1024 * 1024
# How long a finished stream's connection is given to come to its end, so that it can be used again.
_LINGER = 0.25


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
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


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, aiohttp.ConnectionTimeoutError) as error:
        raise ConnectFailed("no connection within the time-out") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise ConnectFailed("its host name can't be resolved") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
        raise ConnectFailed("TLS failed: its certificate is not trusted, or it speaks no TLS") from error
    except aiohttp.ClientConnectorError as error:
        raise ConnectFailed(f"no connection: {error.os_error.strerror or 'unreachable'}") from error
    except aiohttp.ServerDisconnectedError as error:
        raise Cut("it closed the connection without an answer") from error
    except aiohttp.ClientPayloadError as error:
        raise Cut("its answer was cut short") from error
    except aiohttp.ClientResponseError as error:
        raise Cut("its answer is not HTTP") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Cut(f"the connection broke: {getattr(error, 'strerror', None) or type(error).__name__}") from error
    except ValueError as error:
        raise UpstreamError(f"the request can't be sent: {error}") from error


class HttpAnswer:
    """See ``Answer``."""

    __slots__ = ("_clock", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, clock: Clock) -> None:
        self._response = response
        self._clock = clock
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self, limit: int) -> bytes:
        with _mapped():
            parts: list[bytes] = []
            size = 0
            while chunk := await self._response.content.readany():
                parts.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise UpstreamError(f"its answer is larger than {limit} bytes")
            return b"".join(parts)

    async def chunk(self) -> bytes:
        with _mapped():
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


class _Reuse:
    """Whether a request went out on a connection that was open already."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = False


async def _note_reuse(_session: object, context: SimpleNamespace, _params: object) -> None:
    if isinstance(context.trace_request_ctx, _Reuse):
        context.trace_request_ctx.seen = True


class HttpUpstream:
    """See ``Upstream``. ``open`` first, within the event loop that will use it; ``close`` last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        self._session = aiohttp.ClientSession(
            trace_configs=[trace],
            # No limit of our own: the providers' limits are what counts.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=90, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            trust_env=False,
            read_bufsize=2**18,
            max_line_size=32768,
            max_field_size=32768,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def send(self, request: UpstreamRequest) -> Answer:
        if self._session is None:
            raise StartError("the upstream client is not open")
        with _mapped():
            reused = _Reuse()
            try:
                response = await self._post(self._session, request, reused)
            except (aiohttp.ServerDisconnectedError, ConnectionError):
                # A kept connection that the provider had closed in the meantime says nothing about the provider.
                if not reused.seen:
                    raise
                response = await self._post(self._session, request, _Reuse())
        return HttpAnswer(response, self._clock)

    async def _post(
        self, session: aiohttp.ClientSession, request: UpstreamRequest, reused: _Reuse
    ) -> aiohttp.ClientResponse:
        return await session.post(
            request.url,
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=request.connect_timeout),
            trace_request_ctx=reused,
        )

    async def get(self, url: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109
        """A small GET, such as a list of models: its status and body. Raises UpstreamError."""
        if self._session is None:
            raise StartError("the upstream client is not open")
        with _mapped():
            limit = aiohttp.ClientTimeout(total=timeout)
            async with self._session.get(url, headers=headers, allow_redirects=False, timeout=limit) as response:
                return response.status, await response.content.read(MAX_ANSWER)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
