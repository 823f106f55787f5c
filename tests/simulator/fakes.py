"""What the simulator's tests have in common: a clock that is moved by hand, short requests, and a raw client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from chain429.simulator import SimulatedProvider, Simulator
from chain429.simulator.dialect import Dialect
from chain429.simulator.limits import Pace
from chain429.simulator.reply import Reply

# 2026-09-21 12:00:00 UTC, which is 05:00 in California.
NOON = 1_789_992_000.0


class FakeClock:
    """Time that moves only when a test says so."""

    def __init__(self, now: float = NOON) -> None:
        self._now = now
        self._sleepers: dict[asyncio.Future[None], float] = {}
        self._asleep = asyncio.Event()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers[waking] = self._now + seconds
        self._asleep.set()
        try:
            await waking
        finally:
            self._sleepers.pop(waking, None)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        for waking, when in list(self._sleepers.items()):
            if when <= self._now and not waking.done():
                self._sleepers.pop(waking)
                waking.set_result(None)
        if not self._sleepers:
            self._asleep.clear()

    async def somebody_sleeps(self) -> None:
        async with asyncio.timeout(5):
            await self._asleep.wait()


def provider(dialect: Dialect, scale: float = 1.0) -> SimulatedProvider:
    return SimulatedProvider(dialect, Pace(NOON, scale))


def ask(model: str, text: str = "Hello there", **fields: Any) -> dict[str, Any]:
    """A Chat Completions request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def events(body: bytes) -> list[Any]:
    """The events of a stream, parsed; comments and ``[DONE]`` are left as text."""
    parts = [part.decode() for part in body.split(b"\n\n") if part]
    return [
        json.loads(part.removeprefix("data: ")) if part.startswith("data: {") else part.removeprefix("data: ")
        for part in parts
    ]


def body_of(reply: Reply) -> Any:
    return json.loads(reply.body)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "news"}},
]


@dataclass
class Exchange:
    """What came back on the wire. ``ended``: ``clean``, ``cut`` (before the announced end) or ``reset``."""

    head: bytes
    body: bytes
    ended: str

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name}


def request_bytes(
    path: str, body: object, key: str | None = "sim-1", method: str = "POST", headers: Sequence[str] = ()
) -> bytes:
    raw = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        f"Content-Length: {len(raw)}",
        *headers,
    ]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join([*lines, "", ""]).encode() + raw


@asynccontextmanager
async def connection(sim: Simulator) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is closed in the end; whatever is done with it fails after 5 seconds."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def all_answered(sim: Simulator) -> None:
    """Wait until nothing is being answered; each round trip lets the server take notice of who left."""
    async with asyncio.timeout(5):
        while not all(record.done for record in sim.control.received()):
            await exchange(sim, "/control", method="GET")


async def something_received(sim: Simulator) -> None:
    async with asyncio.timeout(5):
        while not sim.control.received():
            await exchange(sim, "/control", method="GET")


async def exchange(
    sim: Simulator,
    path: str,
    body: object = None,
    key: str | None = "sim-1",
    method: str = "POST",
    headers: Sequence[str] = (),
) -> Exchange:
    """One request on a connection of its own, read to the end."""
    data, ended = b"", "clean"
    async with connection(sim) as (reader, writer):
        writer.write(request_bytes(path, body, key, method, headers))
        try:
            while part := await reader.read(65536):
                data += part
        except ConnectionResetError:
            ended = "reset"
    head, _, rest = data.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        rest, complete = _dechunked(rest)
        ended = "clean" if complete else "cut"
    elif head and f"content-length: {len(rest)}\r\n".encode() not in head.lower() + b"\r\n":
        ended = "cut"
    return Exchange(head, rest, ended)


def _dechunked(data: bytes) -> tuple[bytes, bool]:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return body, True
        body, data = body + data[:length], data[length + 2 :]
    return body, False
