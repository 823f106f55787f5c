"""A provider of Chat Completions that costs next to nothing: what is measured is whatever stands before it.

``python -m scripts.benchmark.provider [CERTIFICATE]`` listens on a free port of 127.0.0.1, over TLS if it has a
certificate, and prints its base URL. The model that is asked for says what happens (see ``Conversation``). The headers
are Groq's, so that a gateway has limits to read.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from collections.abc import Callable

PACE = 0.02

_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
_MODEL = re.compile(rb'"model": ?"(?:[^"]*/)?([^"]*)"')

_LIMITS = (
    b"x-ratelimit-limit-requests: 14400\r\nx-ratelimit-remaining-requests: 14399\r\nx-ratelimit-reset-requests: 6s\r\n"
    b"x-ratelimit-limit-tokens: 1000000\r\nx-ratelimit-remaining-tokens: 999999\r\nx-ratelimit-reset-tokens: 1ms\r\n"
)
_USAGE = {"prompt_tokens": 200, "completion_tokens": 120, "total_tokens": 320}


def _whole(status: bytes, value: object, headers: bytes = _LIMITS) -> bytes:
    body = json.dumps(value).encode()
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (status, headers, len(body)) + body


def _part(value: dict[str, object]) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench", **value}
    return _framed(b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _delta(delta: dict[str, str], finish: str | None = None) -> bytes:
    return _part({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


ANSWER = _whole(
    b"200 OK",
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "word " * 120}, "finish_reason": "stop"},
        ],
        "usage": _USAGE,
    },
)
REFUSAL = _whole(
    b"429 Too Many Requests",
    {"error": {"message": "Rate limit reached for requests per minute", "code": "rate_limit_exceeded"}},
    b"retry-after: 60\r\n",
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n" + _LIMITS + b"transfer-encoding: chunked\r\n\r\n"
)
ROLE = _delta({"role": "assistant", "content": ""})
WORD = _delta({"content": "word "})
LAST = _delta({}, "stop") + _part({"choices": [], "usage": _USAGE}) + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Conversation(asyncio.Protocol):
    """One connection. ``at`` calls back at a time of ``now``'s clock.

    Models: ``stream-N`` and ``paced-N`` stream N words, as fast as the socket takes them or one each ``PACE`` seconds;
    ``idle`` streams one and then says nothing more;
    ``limited`` is at its limit, and so is ``limited-N`` once it is in ``spent``, as it is after one answer; any other
    answers whole.
    """

    def __init__(
        self, now: Callable[[], float], at: Callable[[float, Callable[[], None]], object], spent: set[str]
    ) -> None:
        self._now = now
        self._at = at
        self._spent = spent
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None
        self._ready = True
        self._left = -1  # words to come; -1 when no stream is under way
        self._pace = 0.0
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def pause_writing(self) -> None:
        self._ready = False

    def resume_writing(self) -> None:
        self._ready = True
        self._word()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data
        end = buffer.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(buffer[:end])
        if end < 4 or (length and len(buffer) < end + int(length[1])):
            return
        self._buffer = b""
        model = _MODEL.search(buffer, end)
        self._answer(model[1].decode() if model else "")

    def _answer(self, model: str) -> None:
        assert self._transport
        kind, _, number = model.partition("-")
        if kind in ("stream", "paced"):
            self._left, self._pace, self._due = int(number), 0.0 if kind == "stream" else PACE, self._now()
            self._transport.write(STREAM_HEAD + ROLE)
            self._word()
        elif kind == "idle":
            self._transport.write(STREAM_HEAD + ROLE + WORD)
        else:
            limited = kind == "limited" and (not number or number in self._spent)
            self._spent.add(number)
            self._transport.write(REFUSAL if limited else ANSWER)

    def _word(self) -> None:
        # Where nobody reads, ``resume_writing`` goes on.
        if self._transport is None or not self._ready or self._left < 0:
            return
        self._transport.write(WORD if self._left else LAST)
        self._left -= 1
        if self._left >= 0 and self._ready:
            # Through the event loop at full rate too: each word is sent on its own.
            self._due = max(self._due + self._pace, self._now())
            self._at(self._due, self._word)


async def main(certificate: str = "") -> None:
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    spent: set[str] = set()
    server = await loop.create_server(lambda: Conversation(loop.time, loop.call_at, spent), "127.0.0.1", 0, ssl=tls)
    print(f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
