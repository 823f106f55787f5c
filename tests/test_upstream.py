"""The client against a server of raw sockets, which does what real ones do to connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from chain429.clock import SystemClock
from chain429.errors import ConnectFailed, Cut
from chain429.upstream import HttpUpstream, UpstreamRequest

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CLOSE = b""


class Server:
    """Answers each connection's requests by its script, and closes it after ``CLOSE`` or the script's end."""

    def __init__(self, *scripts: Sequence[bytes]) -> None:
        self._scripts = list(scripts)
        self.asked: list[int] = []  # requests of each connection
        self.port = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts.pop(0)
        number = len(self.asked)
        self.asked.append(0)
        for answer in script:
            try:
                await reader.readuntil(b"\r\n\r\nhello")
            except asyncio.IncompleteReadError:
                break
            self.asked[number] += 1
            if answer == CLOSE:
                break
            writer.write(answer)
        writer.close()


@asynccontextmanager
async def served(*scripts: Sequence[bytes]) -> AsyncIterator[tuple[Server, HttpUpstream]]:
    server = Server(*scripts)
    upstream = HttpUpstream(SystemClock())
    await upstream.open()
    try:
        async with await asyncio.start_server(server.talk, "127.0.0.1", 0) as listener:
            server.port = listener.sockets[0].getsockname()[1]
            yield server, upstream
            await upstream.close()
    finally:
        await upstream.close()


async def ask(server: Server, upstream: HttpUpstream) -> bytes:
    url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
    answer = await upstream.send(UpstreamRequest(url, {"content-type": "application/json"}, b"hello", 5.0))
    try:
        body = await answer.read(1000)
        await answer.finish()
        return body
    finally:
        answer.close()


async def test_a_connection_is_kept() -> None:
    async with served([OK, OK, OK]) as (server, upstream):
        assert [await ask(server, upstream) for _ in range(3)] == [b"ok"] * 3
        assert server.asked == [3]


async def test_a_kept_connection_that_was_closed_is_no_failure() -> None:
    async with served([OK, CLOSE], [OK]) as (server, upstream):
        assert [await ask(server, upstream) for _ in range(2)] == [b"ok"] * 2
        assert server.asked == [2, 1]


async def test_a_new_connection_that_is_closed_is_one_and_nothing_is_sent_twice() -> None:
    async with served([CLOSE], [OK]) as (server, upstream):
        with pytest.raises(Cut, match="without an answer"):
            await ask(server, upstream)
        assert server.asked == [1]


async def test_when_the_second_connection_is_closed_too_it_is_given_up() -> None:
    async with served([OK, CLOSE], [CLOSE], [OK]) as (server, upstream):
        assert await ask(server, upstream) == b"ok"
        with pytest.raises(Cut, match="without an answer"):
            await ask(server, upstream)
        assert server.asked == [2, 1]


async def test_where_nothing_listens_no_connection_is_made() -> None:
    async with served() as (server, upstream):
        gone = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        server.port = gone.sockets[0].getsockname()[1]
        gone.close()
        await gone.wait_closed()
        with pytest.raises(ConnectFailed, match="no connection"):
            await ask(server, upstream)


async def test_an_answer_that_ends_too_early_is_cut() -> None:
    async with served([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"]) as (server, upstream):
        with pytest.raises(Cut, match="cut short"):
            await ask(server, upstream)


async def test_what_is_no_http_is_cut() -> None:
    async with served([b"SSH-2.0-OpenSSH_9.9\r\n"]) as (server, upstream):
        with pytest.raises(Cut, match="not HTTP"):
            await ask(server, upstream)
