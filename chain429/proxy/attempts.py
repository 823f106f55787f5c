"""Attempts as flows: each call to a provider is shown beside the client's own flow, with mitmproxy's ordinary hooks.

Flow lists, ``-w``, filters and other addons see an attempt as they see any flow, and can't hold it up or change it: it
is on its way already. Keys are taken out before there is a flow. That costs as much as a flow costs; it is done only
while somebody looks (see ``relay.inspected``).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qsl, quote, urlsplit

from mitmproxy import connection, ctx, flow, http
from mitmproxy.net.http import status_codes

from chain429.clock import Clock
from chain429.observer import Sent
from chain429.proxy.flows import ATTEMPT_MARK, CREDENTIAL_HEADERS, CREDENTIAL_PARAMETERS, REQUEST, Kept
from chain429.proxy.host import fire, fire_update
from chain429.redact import MASK
from chain429.routing.outcome import SERVED, Outcome

_log = logging.getLogger("chain429.proxy")

# In the metadata of an attempt's flow: which one it is of its request.
ATTEMPT = "chain429_attempt"

_SECRET_HEADERS = frozenset({*CREDENTIAL_HEADERS, "proxy-authorization", "set-cookie"})
# What is configured for a provider may hold a key under any name.
_SECRET_NAME = re.compile(r"(?:^|[-_])(?:auth|key|apikey|password|secret|signature|token)$", re.IGNORECASE)
# The body that is shown is decoded, and may have become longer.
_UNTRUE = frozenset({"content-encoding", "transfer-encoding", "content-length"})

_LAST_SECONDS = 1.0


class Attempts:
    """An ``Observer``. ``redact`` takes keys out of text; ``close`` once no attempt can begin any more."""

    def __init__(self, redact: Callable[[str], str], clock: Clock) -> None:
        self._redact = redact
        self._clock = clock
        self._shown: set[asyncio.Task[None]] = set()

    def begins(self, sent: Sent) -> Shown:
        shown = Shown(sent, self._redact, self._clock)
        task = asyncio.get_running_loop().create_task(shown.show())
        self._shown.add(task)
        task.add_done_callback(self._forget)
        return shown

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._shown.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("an attempt can't be shown as a flow: %s: %s", type(error).__name__, error)

    async def close(self) -> None:
        """Give those that have just ended a moment to be shown to the end."""
        tasks = [*self._shown]
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Shown:
    """One attempt, ``Observed``, and ``show`` which makes its flow and lets it go the way of all flows.

    The engine does not wait for hooks, so each of these finds the flow as it was when the hook's time had come.
    """

    def __init__(self, sent: Sent, redact: Callable[[str], str], clock: Clock) -> None:
        self._sent = sent
        self._redact = redact if sent.own is None else _both(sent.own.hide, redact)
        self._clock = clock
        self._began = clock.now()
        self._head: tuple[int, Mapping[str, str], float] | None = None
        self._body: Kept | None = None
        self._complete = False
        self._end: tuple[Outcome, str, float] | None = None
        self._answered = asyncio.Event()
        self._ended = asyncio.Event()

    # What the engine tells.

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        self._head = (status, headers, self._clock.now())
        streams = status < 300 and headers.get("content-type", "").startswith("text/event-stream")
        # mitmproxy 11 has no such option.
        if not streams or getattr(ctx.options, "store_streamed_bodies", True):
            self._body = Kept()
        self._answered.set()

    def received(self, piece: bytes) -> None:
        if self._body is not None:
            self._body(piece)

    def complete(self) -> None:
        self._complete = True

    def ended(self, outcome: Outcome, reason: str) -> None:
        self._end = (outcome, reason, self._clock.now())
        self._answered.set()
        self._ended.set()

    # What is made of it.

    async def show(self) -> None:
        shown = attempt_flow(self._sent, self._began, self._redact)
        await _pass("requestheaders", shown, None)
        await _pass("request", shown, None)
        await self._answered.wait()
        response = None
        if self._head is not None:
            status, headers, at = self._head
            response = _response(status, headers, at, self._redact)
            await _pass("responseheaders", shown, response)
        await self._ended.wait()
        assert self._end is not None
        outcome, reason, at = self._end
        why = "" if outcome is SERVED else self._redact(reason) or str(outcome.kind)
        shown.comment += f": {why}" if why else ""
        if response is not None:
            body = self._body.content() if self._body is not None else None
            response.data.content = None if body is None else _hidden(body, self._redact)
            response.timestamp_end = at
        if response is not None and (self._complete or outcome is SERVED):
            await _pass("response", shown, response)
        else:
            shown.error = flow.Error(why or "the connection broke", at)
            await _pass("error", shown, response)


async def _pass(hook: str, shown: http.HTTPFlow, response: http.Response | None) -> None:
    """``response`` is what really came, as yet; what addons put in its place, or hold up, did not happen."""
    shown.response = response
    await fire(hook, shown)
    shown.response = response
    shown.resume()  # type: ignore[no-untyped-call]
    await fire_update(shown)


def attempt_flow(sent: Sent, at: float, redact: Callable[[str], str]) -> http.HTTPFlow:
    """The flow of an attempt that begins now, without any key."""
    request, target = sent.request, sent.target
    url = urlsplit(request.url)
    host, secure = url.hostname or "", url.scheme == "https"
    address = (host, url.port or (443 if secure else 80))
    # Nobody's connection: requests may come straight to the gateway.
    client = connection.Client(peername=("127.0.0.1", 0), sockname=("127.0.0.1", 0), timestamp_start=at)
    server = connection.Server(address=address, tls=secure, sni=host if secure else None, timestamp_start=at)
    shown = http.HTTPFlow(client, server)
    named = [("host", url.netloc.rpartition("@")[2]), *request.headers.items()]
    path = _path(url.path, url.query, redact)
    shown.request = http.Request(
        *address, b"POST", url.scheme.encode(), b"", path.encode(), b"HTTP/1.1",
        _headers(named, redact), _hidden(request.body, redact), None, at, at,
    )  # fmt: skip
    shown.comment = redact(f"attempt {sent.number} of {sent.id} ({sent.chain}): {target}")
    shown.marked = ATTEMPT_MARK
    shown.metadata.update({REQUEST: redact(sent.id), ATTEMPT: sent.number})
    return shown


def _response(status: int, headers: Mapping[str, str], at: float, redact: Callable[[str], str]) -> http.Response:
    reason = status_codes.RESPONSES.get(status, "").encode()
    true = [(name, value) for name, value in headers.items() if name.lower() not in _UNTRUE]
    return http.Response(b"HTTP/1.1", status, reason, _headers(true, redact), None, None, at, None)


def _headers(headers: Iterable[tuple[str, str]], redact: Callable[[str], str]) -> http.Headers:
    shown = ((name, MASK if _is_secret(name) else redact(value)) for name, value in headers)
    return http.Headers([(_bytes(name), _bytes(value)) for name, value in shown])


def _is_secret(header: str) -> bool:
    return header.lower() in _SECRET_HEADERS or _SECRET_NAME.search(header) is not None


def _path(path: str, query: str, redact: Callable[[str], str]) -> str:
    """A parameter that holds a key, as it is or quoted, is left without its value; all others stay as they were."""
    parameters = query.split("&") if query else []
    for place, parameter in enumerate(parameters):
        for name, value in parse_qsl(parameter, keep_blank_values=True):
            if name.lower() in CREDENTIAL_PARAMETERS or redact(value) != value:
                parameters[place] = f"{quote(redact(name))}={MASK}"
    return redact(path or "/") + ("?" + redact("&".join(parameters)) if parameters else "")


def _hidden(body: bytes, redact: Callable[[str], str]) -> bytes:
    return _bytes(redact(body.decode("utf-8", "surrogateescape")))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _both(first: Callable[[str], str], second: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: second(first(text))
