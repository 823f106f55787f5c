"""The load: clients that cost little themselves, over raw sockets that are kept alive.

``python -m scripts.benchmark.load`` takes a ``Plan`` as JSON on each line of its input, carries it out, and answers
with a ``Tally`` as JSON. An answer that is not what the plan expects ends it: a fast failure is no result.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass

_PROMPT = "You are a careful assistant. Answer in full sentences, and say so when you do not know. " * 8
_LONGEST = 60.0
WORD = b'"content":"word'
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Plan:
    """So many requests for ``model``, by so many clients at a time; with ``words``, as a stream of that many.

    ``attempts``: what the gateway must say that it took, where that is expected. ``first``: where it is given, each
    request asks for a model of its own, numbered from there; see ``numbered``.
    """

    port: int
    token: str
    model: str
    requests: int
    clients: int = 1
    words: int = 0
    attempts: int = 0
    first: int | None = None

    def request(self, number: int = 0) -> bytes:
        """The bytes of the request of that number, counted from 0."""
        messages = [{"role": "system", "content": _PROMPT}, {"role": "user", "content": "What is a relay?"}]
        asked = {
            "model": self.model if self.first is None else numbered(self.model, self.first + number),
            "messages": messages,
            "temperature": 0.2,
            **({"stream": True} if self.words else {}),
        }
        body = json.dumps(asked).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAccept: */*\r\n"
            f"User-Agent: bench\r\nAuthorization: Bearer {self.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def numbered(model: str, number: int) -> str:
    return f"{model}-{number:05}"


@dataclass(frozen=True, slots=True)
class Tally:
    """Seconds: of each request to its end, of each stream to its first word, and of all together."""

    whole: list[float]
    first: list[float]
    wall: float


class Unexpected(Exception):
    """An answer that is not what the plan expects."""


class Client(asyncio.Protocol):
    """One connection; ``ask`` once after the other."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._transport: asyncio.WriteTransport | None = None
        self._answer = bytearray()
        self._size: int | None = None
        self._first = 0.0
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection was closed")

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    async def ask(self, request: bytes) -> tuple[float, float]:
        """Send the request. Returns the seconds to the answer's end, and to its first word."""
        assert self._transport
        self._answer.clear()
        self._size, self._first = None, 0.0
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._transport.write(request)
        await self._done
        return time.perf_counter() - began, self._first - began

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        seen = max(len(answer) - len(WORD), 0)
        answer += data
        if not self._first and answer.find(WORD, seen) >= 0:
            self._first = time.perf_counter()
        if self._size is None:
            head = answer.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(answer, 0, head)
            self._size = head + 4 + int(length[1]) if length else 0
        if len(answer) >= self._size if self._size else answer.endswith(b"\r\n0\r\n\r\n"):
            self._check()

    def _check(self) -> None:
        plan, answer = self._plan, self._answer
        if not answer.startswith(b"HTTP/1.1 200 "):
            self._fail(f"{bytes(answer[:1000])!r}")
        elif plan.words and answer.count(WORD) != plan.words:
            self._fail(f"{answer.count(WORD)} words instead of {plan.words}")
        elif plan.attempts and b"x-chain429-attempts: %d\r\n" % plan.attempts not in answer.lower():
            self._fail(f"not {plan.attempts} attempts: {bytes(answer[:1000])!r}")
        elif self._done and not self._done.done():
            self._done.set_result(None)

    def _fail(self, why: str) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(Unexpected(why))


async def carry_out(plan: Plan) -> Tally:
    """Raises Unexpected, TimeoutError, and OSError where nothing listens."""
    loop = asyncio.get_running_loop()
    whole: list[float] = []
    first: list[float] = []
    alike = plan.request()
    requests = iter(range(plan.requests))

    async def keep_asking(client: Client) -> None:
        for number in requests:
            total, beginning = await client.ask(alike if plan.first is None else plan.request(number))
            whole.append(total)
            if plan.words:
                first.append(beginning)

    clients: list[Client] = []
    try:
        for _ in range(min(plan.clients, plan.requests)):
            _, client = await loop.create_connection(lambda: Client(plan), "127.0.0.1", plan.port)
            clients.append(client)
        began = time.perf_counter()
        async with asyncio.timeout(_LONGEST):
            await asyncio.gather(*(keep_asking(client) for client in clients))
        return Tally(whole, first, time.perf_counter() - began)
    finally:
        for client in clients:
            client.close()


def main() -> None:
    for line in sys.stdin:
        try:
            tally = asyncio.run(carry_out(Plan(**json.loads(line))))
        except (Unexpected, OSError) as error:
            print(json.dumps({"error": str(error) or "it took too long"}), flush=True)
        else:
            print(json.dumps(asdict(tally)), flush=True)


if __name__ == "__main__":
    main()
