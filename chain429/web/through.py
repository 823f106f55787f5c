"""The way of requests that are only observed: to the host that they were meant for, unchanged, and its answer back.

There is one attempt, nothing is translated, and the key is the caller's own, which is neither kept nor logged. Answers
are read along for what they used. Only what belongs to a connection is not passed on, and compression: answers are
asked for without, so that they can be read.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import web

from chain429.catalog import presets
from chain429.clock import Clock
from chain429.config import OBSERVE, Config
from chain429.errors import UpstreamError, WireError
from chain429.routing.outcome import Kind
from chain429.store.records import AttemptRecord, Recorder, RequestRecord
from chain429.upstream import Answer
from chain429.web.auth import TOKEN_HEADER
from chain429.web.covered import ORIGIN_HEADER, TICKET_HEADER, Origin, Taken
from chain429.wire.chat import CHAT
from chain429.wire.dialect import AnswerStream, ClientRequest, Exchange, Problem, Side
from chain429.wire.events import Seen

_log = logging.getLogger("chain429.api")

_CONNECT_SECONDS = 10.0
# A whole answer that is longer is passed on, but not read.
_LONGEST = 16 * 1024 * 1024
# Whose quota was used, as the log has it.
_CREDENTIAL = "the caller's own"

_OF_A_CONNECTION = frozenset(
    {"connection", "expect", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te"}
    | {"trailer", "transfer-encoding", "upgrade"}
)
_KEYS = ("authorization", "x-api-key")
_OURS = frozenset({TOKEN_HEADER, TICKET_HEADER, ORIGIN_HEADER})
_KINDS = {401: Kind.UNAUTHORIZED, 403: Kind.UNAUTHORIZED, 404: Kind.GONE, 413: Kind.TOO_LARGE, 429: Kind.RATE_LIMITED}

# Content-encodings of which nothing is left when a body is read.
_UNDONE = frozenset({"", "identity", "gzip", "deflate", "br", "zstd"})

Body = bytes | AsyncIterable[bytes] | None


class Forwarding(Protocol):
    """Sends whatever request; see ``HttpUpstream.forward``."""

    async def forward(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: Body, connect_timeout: float
    ) -> Answer: ...


@dataclass(slots=True)
class Passage:
    """One request on its way through. ``asked`` is what it says, where that is known here; ``taken`` what the proxy
    took out of it; ``via`` the marks that go on with it; ``at`` Unix seconds, ``started`` the monotonic clock."""

    id: str
    origin: Origin
    asked: ClientRequest | None
    body: Body
    taken: Taken | None
    via: str
    at: float
    started: float
    status: int = 0
    ended: str = "cancelled"
    error: str = "the client left"
    first_token: float | None = None
    seen: Seen = field(default_factory=Seen)


class Through:
    """Passes requests on. ``is_token`` tells the gateway's own tokens, which are for nobody else."""

    def __init__(
        self,
        upstream: Forwarding,
        config: Callable[[], Config],
        is_token: Callable[[str], bool],
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._upstream = upstream
        self._config = config
        self._is_token = is_token
        self._recorder = recorder
        self._clock = clock

    async def pass_on(self, request: web.BaseRequest, passage: Passage) -> web.StreamResponse:
        """The host's answer, sent as it comes; 502 in the client's words where there is none."""
        path = _path(passage.taken.path if passage.taken else request.raw_path)
        provider = _provider(self._config(), passage.origin.host)
        answer: Answer | None = None
        try:
            headers = self._headers(request, passage)
            url = f"{passage.origin}{path}"
            answer = await self._upstream.forward(request.method, url, headers, passage.body, _CONNECT_SECONDS)
            passage.status = answer.status
            return await self._send(request, passage, answer, provider)
        except UpstreamError as error:
            passage.ended, passage.error = "exhausted", str(error)
            if answer is not None:
                # What was sent is no whole answer, and must not look like one.
                passage.ended = "broken"
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionError("the answer was cut short") from None
            passage.status = 502
            return _unreachable(passage)
        finally:
            if answer is not None:
                answer.close()
            self._record(passage, provider)

    async def _send(
        self, request: web.BaseRequest, passage: Passage, answer: Answer, provider: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status)
        for name, value in _back(answer.headers):
            response.headers.add(name, value)
        response.headers.setdefault("server", "chain429")
        response.headers["x-chain429-request-id"] = passage.id
        response.headers["x-chain429-chain"] = OBSERVE
        response.headers["x-chain429-attempts"] = "1"
        response.headers["x-chain429-provider"] = provider
        if passage.asked is not None:
            response.headers["x-chain429-model"] = ascii(passage.asked.model)[1:-1]
        reading = _Reading(passage.asked, provider, answer)
        passage.seen = reading.seen
        try:
            await response.prepare(request)
            while piece := await answer.chunk():
                reading.feed(piece)
                if passage.first_token is None and reading.seen.meaningful:
                    passage.first_token = self._clock.monotonic()
                await response.write(piece)
            await response.write_eof()
        except ConnectionError:
            _log.debug("%s the client left", passage.id)
            return response
        reading.end()
        passage.seen = reading.seen
        await answer.finish()
        passage.ended, passage.error = _became(answer.status, passage.origin.host)
        return response

    def _headers(self, request: web.BaseRequest, passage: Passage) -> list[tuple[str, str]]:
        taken = passage.taken.headers if passage.taken else ()
        named = {name.strip().lower() for name in request.headers.get("connection", "").split(",")}
        left = named | _OF_A_CONNECTION | _OURS | {"host", "accept-encoding", "via"}
        if not undecoded(request.headers):
            left.add("content-encoding")
        if isinstance(passage.body, bytes) or passage.body is None or "content-encoding" in request.headers:
            left.add("content-length")  # which is that of what is sent
        headers = [
            (name, value)
            for name, value in (*request.headers.items(), *taken)
            if name.lower() not in left and not (name.lower() in _KEYS and self._is_token(value.rpartition(" ")[2]))
        ]
        return [*headers, ("accept-encoding", "identity"), ("via", passage.via)]

    def _record(self, passage: Passage, provider: str) -> None:
        asked, usage = passage.asked, passage.seen.usage
        now = self._clock.monotonic()
        model = asked.model if asked else ""
        attempt = AttemptRecord(
            provider=provider,
            model=model,
            credential=_CREDENTIAL,
            outcome=Kind.SERVED if passage.ended == "served" else _kind(passage),
            status=passage.status or None,
            reason=passage.error,
            duration=now - passage.started,
        )
        self._recorder.record(
            RequestRecord(
                id=passage.id,
                at=passage.at,
                dialect=asked.dialect.name if asked else "other",
                chain=OBSERVE,
                model_asked=model,
                provider=provider,
                model=model or None,
                credential=_CREDENTIAL,
                status=passage.status or 499,
                outcome=passage.ended,
                streamed=asked.stream if asked else False,
                tokens_in=usage.input if usage else None,
                tokens_out=usage.output if usage else None,
                latency=now - passage.started,
                first_token=passage.first_token - passage.started if passage.first_token is not None else None,
                client="proxy",
                error=passage.error,
                attempts=(attempt,),
                tokens_cached=usage.cached if usage else None,
            )
        )


class _Reading:
    """Reads an answer along with whoever it is for; ``seen`` is what it has amounted to. What can't be read is not."""

    def __init__(self, asked: ClientRequest | None, provider: str, answer: Answer) -> None:
        self.seen = Seen()
        self._exchange: Exchange | None = None
        self._stream: AnswerStream | None = None
        self._whole: list[bytes] = []
        self._size = 0
        if asked is None or not 200 <= answer.status < 300:
            return
        try:
            side = Side(provider, asked.dialect.provider, asked.model, vendor=True)
            self._exchange = asked.exchange(side, ())
            if self._exchange is not None and "event-stream" in answer.headers.get("content-type", ""):
                self._stream = self._exchange.stream()
                self.seen = self._stream.seen
        except WireError:
            self._exchange = None

    def feed(self, piece: bytes) -> None:
        if self._exchange is None:
            return
        if self._stream is None:
            self._size += len(piece)
            self._whole.append(piece)
            if self._size > _LONGEST:
                self._forget()
            return
        try:
            self._stream.feed(piece)
        except WireError:
            self._forget()

    def end(self) -> None:
        """The answer has come to its end."""
        if self._exchange is None or self._stream is not None:
            return
        try:
            self.seen, _ = self._exchange.answer(b"".join(self._whole))
        except WireError:
            self._forget()

    def _forget(self) -> None:
        self._exchange = None
        self._whole.clear()


def undecoded(headers: Mapping[str, str]) -> str:
    """The content-encoding that a request's body still has once it is read; empty where it has none."""
    encoding = headers.get("content-encoding", "").strip()
    return "" if encoding.lower() in _UNDONE else encoding


def _path(target: str) -> str:
    """The path that a request's target names, with its query: some name the host before it, which is known better. What
    is no path must not be taken for more of the host's name."""
    return target if target.startswith("/") else "/" + target.partition("://")[2].partition("/")[2]


def _back(headers: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """What of an answer's headers is for the client."""
    left = _OF_A_CONNECTION | {name.strip().lower() for name in headers.get("connection", "").split(",")}
    if "content-encoding" in headers:  # unasked for, and undone by now
        left |= {"content-encoding", "content-length"}
    return ((name, value) for name, value in headers.items() if name.lower() not in left)


def _became(status: int, host: str) -> tuple[str, str]:
    """How a request ended that was answered, and what was wrong."""
    if status < 400:
        return "served", ""
    refused = status < 500 and status not in (401, 403, 429)
    return "refused" if refused else "exhausted", f"{host} answered {status}"


def _kind(passage: Passage) -> Kind:
    if passage.ended == "cancelled":
        return Kind.CANCELLED
    if passage.ended == "broken":
        return Kind.BROKEN
    return _KINDS.get(passage.status, Kind.FAILED if passage.status >= 500 else Kind.REJECTED)


def _unreachable(passage: Passage) -> web.Response:
    dialect = passage.asked.dialect if passage.asked else CHAT
    told = f"{passage.origin.host} is observed here and could not be asked: {passage.error}"
    problem = Problem(502, told, "server_error", "no_target_available", None, {"request_id": passage.id})
    headers = {"x-chain429-request-id": passage.id, "x-chain429-attempts": "1", "server": "chain429"}
    return web.Response(status=502, body=dialect.error(problem), content_type="application/json", headers=headers)


def _provider(config: Config, host: str) -> str:
    """What the log calls a host: as it is configured, else as it is known, else by its name."""
    configured = (name for name, endpoint in config.endpoints.items() if endpoint.host == host)
    return next(configured, None) or _known(host)


@functools.lru_cache(maxsize=64)
def _known(host: str) -> str:
    return next((name for name, preset in presets().items() if urlsplit(preset.base_url).hostname == host), host)
