"""The API that clients call: OpenAI's and Anthropic's paths, errors in the words that each path's clients know.

It checks who asks, reads the request, hands it to the engine and sends what comes back; it knows no provider. One
plain handler, no routes or middlewares: this is the hot path.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import functools
import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from urllib.parse import unquote

from aiohttp import HttpVersion11, web

from chain429 import __version__
from chain429.clock import Clock
from chain429.config import OBSERVE, Config
from chain429.engine import Call, Engine, Stream
from chain429.errors import RequestError
from chain429.routing.chain import Chain
from chain429.store.bodies import Bodies
from chain429.store.records import Recorder, RequestRecord
from chain429.web.auth import Doors, Peer
from chain429.web.covered import Origin
from chain429.web.server import new_id
from chain429.web.through import Body, Passage, Through, undecoded
from chain429.wire import cursor
from chain429.wire.chat import CHAT
from chain429.wire.chat import PATH as CHAT_PATH
from chain429.wire.completions import COMPLETIONS, CompletionsRequest
from chain429.wire.completions import PATH as COMPLETIONS_PATH
from chain429.wire.conversation import session_of
from chain429.wire.dialect import ClientRequest, Dialect, Problem
from chain429.wire.embeddings import EMBEDDINGS, EmbeddingsRequest
from chain429.wire.embeddings import PATH as EMBEDDINGS_PATH
from chain429.wire.messages import MESSAGES, MessagesRequest
from chain429.wire.messages import PATH as MESSAGES_PATH
from chain429.wire.responses import PATH as RESPONSES_PATH
from chain429.wire.responses import RESPONSES, ResponsesRequest
from chain429.wire.tokens import estimate_tokens
from chain429.wire.via import onward

_log = logging.getLogger("chain429.api")

# The dialect of each path on which requests are served.
_DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        CHAT_PATH: CHAT,
        MESSAGES_PATH: MESSAGES,
        RESPONSES_PATH: RESPONSES,
        COMPLETIONS_PATH: COMPLETIONS,
        EMBEDDINGS_PATH: EMBEDDINGS,
    }
)
_COUNT_TOKENS = f"{MESSAGES_PATH}/count_tokens"

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
# After these nobody can tell where the connection's next request begins, or the rest of the body is not worth reading.
_ENDS = frozenset({"invalid_body", "invalid_transfer_encoding", "unsupported_encoding"})
# How long a client may take to send its body.
_BODY_SECONDS = 120
# How long it may leave unread what it is sent, while the provider's connection and the target's place are held for it.
_UNREAD_SECONDS = 120
# Fewer bytes than a connection takes before it has its writer wait.
_SMALL = 32 * 1024
_LONGEST_PATIENCE = 300.0


class Api:
    """Answers requests. ``health`` gives the body of ``GET /health``: nothing secret, and quick. ``via`` is the mark of
    the requests that are sent from here; see ``wire.via``."""

    def __init__(
        self,
        engine: Engine,
        config: Callable[[], Config],
        doors: Callable[[], Doors],
        recorder: Recorder,
        clock: Clock,
        health: Callable[[], Mapping[str, object]],
        token_hint: str,
        via: str,
        through: Through,
    ) -> None:
        self._engine = engine
        self._config = config
        self._doors = doors
        self._recorder = recorder
        self._clock = clock
        self._health = health
        self._token_hint = token_hint
        self._via = via
        self._through = through
        self._created = int(clock.now())

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started, at = self._clock.monotonic(), self._clock.now()
        given = request.headers.get("x-request-id", "")
        identifier = given if _REQUEST_ID.fullmatch(given) else new_id()
        path = normalise(request.path)
        method = request.method
        config = self._config()
        origin = self._doors().origin(request.headers, _peer(request)) if config.directs else None
        observed = origin is not None and config.proxy_hosts.get(origin.host) == OBSERVE
        if path == "/health" and method in ("GET", "HEAD") and not observed:
            return _json(200, self._health(), identifier)
        if path == "/" and method in ("GET", "HEAD") and not observed:
            return _json(200, {"name": "chain429", "version": __version__}, identifier)
        dialect = _DIALECTS.get(path)
        client = self._doors().client(request.headers, _peer(request))
        if client is None:
            message = (
                "The client token is missing or wrong. Send the token that chain429 printed at its first start as "
                f"'Authorization: Bearer …' or 'x-api-key: …'; {self._token_hint}."
            )
            problem = Problem(401, message, "authentication_error", "invalid_api_key")
            if dialect is not None:
                error = RequestError("The client token is missing or wrong.", status=401, code="invalid_api_key")
                self._recorder.record(self._refused(identifier, dialect, None, "unknown", at, started, error))
            headers = {"x-should-retry": "false", "www-authenticate": "Bearer"}
            return self._problem(_spoken(request, path), problem, identifier, headers)
        if origin is not None and observed:
            return await self._pass_on(request, origin, dialect, identifier, at, started)
        if dialect is not None:
            if dialect is RESPONSES and method == "GET" and "upgrade" in request.headers:
                return self._no_socket(identifier)
            if method != "POST":
                return self._wrong_method(dialect, method, path, "POST", identifier)
            host = origin.host if origin else ""
            return await self._ask(request, dialect, identifier, client, at, started, host)
        if path == _COUNT_TOKENS:
            if method != "POST":
                return self._wrong_method(MESSAGES, method, path, "POST", identifier)
            return await self._count(request, identifier)
        if path == "/models" or path.startswith("/models/"):
            if method not in ("GET", "HEAD"):
                return self._wrong_method(_spoken(request, path), method, path, "GET", identifier)
            return self._models(request, path.removeprefix("/models").lstrip("/"), identifier)
        message = (
            f"There is no {method} {path} here; there are POST /v1/chat/completions, POST /v1/responses, "
            "POST /v1/messages, POST /v1/messages/count_tokens, POST /v1/completions, POST /v1/embeddings and "
            "GET /v1/models."
        )
        return self._problem(_spoken(request, path), Problem(404, message, code="unknown_url"), identifier)

    async def _pass_on(
        self,
        request: web.BaseRequest,
        origin: Origin,
        dialect: Dialect | None,
        identifier: str,
        at: float,
        started: float,
    ) -> web.StreamResponse:
        """Whatever it is, it goes where it was going."""
        if "upgrade" in request.headers and request.method == "GET":
            return self._no_socket(identifier)
        asked: ClientRequest | None = None
        try:
            via = self._onward(request.headers.get("via", ""))
            taken = self._doors().taken(request.headers)
            body: Body = request.content if request.can_read_body else None
            if request.method in ("GET", "HEAD"):  # which may be framed as if they had one
                body = await self._body(request, self._config().max_body) or None
            elif dialect is not None and request.method == "POST":
                body = await self._body(request, self._config().max_body)
                with suppress(RequestError):  # which is for the host to say
                    asked = _parse(dialect, body, request.headers)
            else:
                await _invite(request)
        except RequestError as error:
            return self._wrong(dialect or _spoken(request, ""), error, identifier)
        return await self._through.pass_on(request, Passage(identifier, origin, asked, body, taken, via, at, started))

    async def _ask(
        self,
        request: web.BaseRequest,
        dialect: Dialect,
        identifier: str,
        client: str,
        at: float,
        started: float,
        host: str,
    ) -> web.StreamResponse:
        config = self._config()
        parsed: ClientRequest | None = None
        bodies: Bodies | None = None
        own = self._doors().own_key(request.headers, _peer(request)) if config.passing else None
        try:
            via = self._onward(request.headers["via"]) if "via" in request.headers else ""
            _check_encoding(request)
            body = await self._body(request, config.max_body)
            config = self._config()  # which may be another by now
            if config.log_bodies:
                bodies = Bodies(config.log_bodies, body)
            parsed = _parse(dialect, body, request.headers)
            chain = config.resolve(parsed.model, named=dialect.one_model, host=host)
            if chain is None:
                known = ", ".join((*config.chains, *config.aliases))
                why = f"for {dialect.name}" if dialect.one_model else "because 'strict' is on"
                raise RequestError(
                    f"The model {parsed.model!r} does not exist: it names no chain and no alias ({known}), and is not "
                    f"of the form provider/model. Unknown names are refused {why}.",
                    status=404,
                    code="model_not_found",
                    param="model",
                )
        except RequestError as error:
            self._recorder.record(self._refused(identifier, dialect, parsed, client, at, started, error, bodies))
            return self._wrong(dialect, error, identifier)
        except (asyncio.CancelledError, ConnectionError):
            left = RequestError("The client left while it sent its request.", status=499)
            record = self._refused(identifier, dialect, None, client, at, started, left)
            self._recorder.record(record._replace(outcome="cancelled"))
            raise
        if isinstance(parsed, MessagesRequest) and parsed.max_tokens == 0:
            kind = "text/event-stream; charset=utf-8" if parsed.stream else "application/json"
            headers = {"content-type": kind, "x-request-id": identifier, "request-id": identifier}
            return _response(200, parsed.answer_nothing(identifier, int(at)), headers)
        patience = _patience(request.headers.get("x-chain429-patience"), config.patience)
        session = session_of(request.headers) if chain.keeps else ""
        call = Call(
            identifier, parsed, chain, client, at, started, patience=patience, session=session, own=own, via=via,
            bodies=bodies,
        )  # fmt: skip
        reply = await self._engine.run(call)
        if isinstance(reply.body, bytes):
            return _response(reply.status, reply.body, reply.headers)
        return await self._send(request, reply.status, reply.headers, reply.body)

    def _onward(self, via: str) -> str:
        """Raises RequestError for a request that was sent from here."""
        marks = onward(via, self._via)
        if marks is None:
            raise RequestError(
                "This request was sent by this chain429 itself and would go round for ever: a provider's 'base_url' or "
                "a proxy leads back here.",
                status=508,
                code="loop_detected",
            )
        return marks

    async def _count(self, request: web.BaseRequest, identifier: str) -> web.Response:
        """How many tokens a request would take, by estimate: no provider is asked."""
        try:
            _check_encoding(request)
            body = await self._body(request, self._config().max_body)
            parsed = MessagesRequest.parse(body, counting=True)
        except RequestError as error:
            return self._wrong(MESSAGES, error, identifier)
        return _json(200, {"input_tokens": estimate_tokens(parsed.members.values)}, identifier)

    def _wrong(self, dialect: Dialect, error: RequestError, identifier: str) -> web.Response:
        problem = Problem(error.status, error.message, code=error.code, param=error.param)
        headers = {"connection": "close"} if error.status in (408, 413) or error.code in _ENDS else {}
        return self._problem(dialect, problem, identifier, headers)

    async def _send(
        self, request: web.BaseRequest, status: int, headers: Mapping[str, str], stream: Stream
    ) -> web.StreamResponse:
        response = _Streamed(status=status, headers=headers)
        response.headers["server"] = "chain429"
        try:
            await response.prepare(request)
            while piece := await stream.next():
                transport = request.transport
                if transport is None or (len(piece) < _SMALL and not transport.get_write_buffer_size()):
                    await response.write(piece)  # which takes it at once
                else:
                    await self._write(response, transport, piece)
            await response.write_eof()
        except ConnectionError:
            # The client has left; the stream's end says so in the log.
            _log.debug("%s the client left", headers.get("x-request-id", ""))
        finally:
            stream.close()
        return response

    async def _write(self, response: web.StreamResponse, transport: asyncio.Transport, piece: bytes) -> None:
        """What may have to wait until the client has read. Raises ConnectionError where it does not read on."""
        try:
            async with self._clock.timeout(_UNREAD_SECONDS):
                await response.write(piece)
        except TimeoutError:
            transport.abort()
            raise ConnectionResetError("the client does not read") from None

    async def _body(self, request: web.BaseRequest, limit: int) -> bytes:
        size = request.content_length
        if size is None:
            _check_framing(request)
        elif size > limit:
            raise _too_large(limit)
        try:
            if request.content.is_eof():  # as most are, by the time that the head is read
                return await request.read()
            await _invite(request)
            async with self._clock.timeout(_BODY_SECONDS):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise _too_large(limit) from None
        except TimeoutError:
            raise RequestError("The request's body did not arrive in time.", status=408, code="timeout") from None
        except web.RequestPayloadError as error:
            encoding = request.headers.get("content-encoding")
            why = f"it is not what its content-encoding {encoding[:40]!r} says" if encoding else str(error)
            raise RequestError(f"The request's body can't be decoded: {why}.", code="invalid_body") from None

    def _models(self, request: web.BaseRequest, name: str, identifier: str) -> web.Response:
        """The models that can be asked for: OpenAI's and Anthropic's members side by side, so that both kinds of
        clients find theirs."""
        config = self._config()
        owners = dict.fromkeys(config.chains, "chain429")
        owners |= {alias: "chain429" for alias in config.aliases if "*" not in alias}
        for chain in config.chains.values():
            owners |= {f"{target.provider}/{target.model}": target.provider for target in chain.targets}
        made = datetime.datetime.fromtimestamp(self._created, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        both = {"object": "model", "created": self._created, "type": "model", "created_at": made}
        rows = {
            model: {"id": model, "display_name": model, "owned_by": owner, **both, **_sizes(config.resolve(model))}
            for model, owner in owners.items()
        }
        if not name:
            ends = {"has_more": False, "first_id": next(iter(rows), None), "last_id": next(reversed(rows), None)}
            return _json(200, {"object": "list", "data": list(rows.values()), **ends}, identifier)
        row = rows.get(unquote(name))
        if row:
            return _json(200, row, identifier)
        problem = Problem(404, f"There is no model {unquote(name)!r} here.", code="model_not_found", param="model")
        return self._problem(_spoken(request, "/models"), problem, identifier)

    def _no_socket(self, identifier: str) -> web.Response:
        """Codex asks for a WebSocket first, and on this status goes on over HTTP."""
        problem = Problem(426, "There are no WebSockets here: send POST /v1/responses.", code="websocket_not_supported")
        return self._problem(RESPONSES, problem, identifier)

    def _wrong_method(self, dialect: Dialect, method: str, path: str, allowed: str, identifier: str) -> web.Response:
        problem = Problem(405, f"{method} is not allowed on {path}; use {allowed}.", code="method_not_allowed")
        return self._problem(dialect, problem, identifier, {"allow": allowed})

    def _problem(
        self, dialect: Dialect, problem: Problem, identifier: str, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        told = {"content-type": "application/json", "x-request-id": identifier, "request-id": identifier}
        problem = dataclasses.replace(problem, details={"request_id": identifier, **problem.details})
        return _response(problem.status, dialect.error(problem), {**told, **(headers or {})})

    def _refused(
        self,
        identifier: str,
        dialect: Dialect,
        parsed: ClientRequest | None,
        client: str,
        at: float,
        started: float,
        error: RequestError,
        bodies: Bodies | None = None,
    ) -> RequestRecord:
        return RequestRecord(
            id=identifier,
            at=at,
            dialect=dialect.name,
            chain="",
            model_asked=parsed.model if parsed else "",
            provider=None,
            model=None,
            credential=None,
            status=error.status,
            outcome="refused",
            streamed=parsed.stream if parsed else False,
            tokens_in=None,
            tokens_out=None,
            latency=self._clock.monotonic() - started,
            first_token=None,
            client=client,
            error=error.message,
            attempts=(),
            bodies=bodies,
        )


class _Streamed(web.StreamResponse):
    """An answer whose head goes out with its first piece, which is there already: one system call less for each."""

    _send_headers_immediately = False


def _sizes(chain: Chain | None) -> dict[str, int]:
    """The most tokens that any of the chain's models is known to take, and to answer with: by the names that Anthropic
    and OpenRouter have for these."""
    known = [entry.capabilities for tier in chain.tiers for entry in tier] if chain else []
    context = max((one.context for one in known if one.context is not None), default=None)
    output = max((one.output for one in known if one.output is not None), default=None)
    sizes = {"context_length": context, "max_input_tokens": context, "max_tokens": output}
    return {name: size for name, size in sizes.items() if size is not None}


def _parse(dialect: Dialect, body: bytes, headers: Mapping[str, str]) -> ClientRequest:
    """Raises RequestError."""
    if dialect is MESSAGES:
        return MessagesRequest.parse(body, headers.get("anthropic-version", ""), headers.get("anthropic-beta", ""))
    if dialect is CHAT:
        return cursor.parse(body)
    if dialect is RESPONSES:
        return ResponsesRequest.parse(body)
    return EmbeddingsRequest.parse(body) if dialect is EMBEDDINGS else CompletionsRequest.parse(body)


def _spoken(request: web.BaseRequest, path: str) -> Dialect:
    """What the client speaks, where the path alone does not tell: Anthropic's always name the version of its API."""
    return MESSAGES if path.startswith(MESSAGES_PATH) or "anthropic-version" in request.headers else CHAT


def _check_framing(request: web.BaseRequest) -> None:
    """A body without a length ends where it says so itself, in chunks and nothing else: what programs on the way could
    take for another end is refused. Raises RequestError."""
    encoding = request.headers.get("transfer-encoding", "chunked")
    if encoding.lower() != "chunked" or (request.version < HttpVersion11 and "transfer-encoding" in request.headers):
        raise RequestError(
            "A body's transfer-encoding must be 'chunked' alone, in HTTP/1.1.", code="invalid_transfer_encoding"
        )


async def _invite(request: web.BaseRequest) -> None:
    """Have a client send its body that waits to be told so."""
    if request.headers.get("expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


def _check_encoding(request: web.BaseRequest) -> None:
    """Raises RequestError for a body in an encoding that can't be undone here."""
    encoding = undecoded(request.headers)
    if encoding:
        raise RequestError(
            f"The request's content-encoding {encoding[:40]!r} is not known here: send the body as it is, or as gzip, "
            "deflate, br or zstd.",
            status=415,
            code="unsupported_encoding",
        )


def _too_large(limit: int) -> RequestError:
    return RequestError(
        f"The request's body is larger than {limit} bytes; 'max_body' in the configuration sets the limit.",
        status=413,
        code="request_too_large",
    )


@functools.lru_cache(maxsize=128)
def normalise(path: str) -> str:
    """The path as it is known here: ``/v1/x``, ``/x``, ``/v1/v1/x`` and a slash at the end all mean ``/x``.

    Clients are given base URLs with and without ``/v1``, and add their own.
    """
    parts = [part for part in path.split("/") if part]
    while parts and parts[0] == "v1":
        del parts[0]
    return "/" + "/".join(parts)


def _patience(asked: str | None, usual: float) -> float:
    """How many seconds a request may wait for a target to free: what it asks for, where that is a sensible number."""
    try:
        seconds = float(asked) if asked else usual
    except ValueError:
        return usual
    return min(seconds, _LONGEST_PATIENCE) if seconds >= 0 else usual


def _peer(request: web.BaseRequest) -> Peer | None:
    found = request.transport and request.transport.get_extra_info("peername")
    return (found[0], found[1]) if found else None


def _response(status: int, body: bytes, headers: Mapping[str, str]) -> web.Response:
    response = web.Response(status=status, body=body, headers=headers)
    response.headers["server"] = "chain429"
    return response


def _json(status: int, value: Mapping[str, object], identifier: str) -> web.Response:
    headers = {"content-type": "application/json", "x-request-id": identifier, "request-id": identifier}
    return _response(status, json.dumps(value).encode(), headers)
