"""The client against a server of raw sockets, which does what real ones do to connections."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from chain429.clock import SystemClock
from chain429.errors import ConnectFailed, Cut, UpstreamError
from chain429.upstream import HttpUpstream, UpstreamRequest

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CLOSE = b""
RESET = b"reset"


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
            if answer == RESET:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
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


async def test_a_connection_that_was_made_before_is_the_one_that_is_used() -> None:
    async with served([OK, OK]) as (server, upstream):
        for _ in range(2):
            await upstream.warm(f"http://127.0.0.1:{server.port}/v1", 5.0)
        assert [await ask(server, upstream) for _ in range(2)] == [b"ok"] * 2
        assert server.asked == [2]


async def test_a_connection_that_can_not_be_made_before_is_an_error_of_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with served() as (_, upstream):
        with pytest.raises(ConnectFailed, match="no connection: Connect"):
            await upstream.warm(f"http://127.0.0.1:{port}/v1", 5.0)


async def test_a_kept_connection_that_was_closed_is_no_failure() -> None:
    async with served([OK, CLOSE], [OK]) as (server, upstream):
        assert [await ask(server, upstream) for _ in range(2)] == [b"ok"] * 2
        assert server.asked == [2, 1]


async def test_a_kept_connection_that_was_reset_is_no_failure() -> None:
    async with served([OK, RESET], [OK]) as (server, upstream):
        assert [await ask(server, upstream) for _ in range(2)] == [b"ok"] * 2
        assert server.asked == [2, 1]


async def test_where_one_kept_connection_was_closed_no_other_is_tried() -> None:
    async with served([OK, CLOSE], [OK, CLOSE], [OK]) as (server, upstream):
        await asyncio.gather(ask(server, upstream), ask(server, upstream))
        assert await ask(server, upstream) == b"ok"
        assert sorted(server.asked) == [1, 1, 2]


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


async def test_a_read_that_is_broken_off_loses_nothing() -> None:
    pieces = [b"%d " % number for number in range(200)]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        writer.close()

    upstream = HttpUpstream(SystemClock())
    await upstream.open()
    async with await asyncio.start_server(talk, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        answer = await upstream.send(UpstreamRequest(url, {}, b"hello", 5.0))
        read, broken_off = [b"?"], 0
        while read[-1]:
            try:
                async with asyncio.timeout(0):
                    read.append(await answer.chunk())
            except TimeoutError:
                broken_off += 1
        await upstream.close()
    assert b"".join(read[1:]) == b"".join(pieces)
    assert broken_off


async def test_what_is_no_http_is_cut() -> None:
    async with served([b"SSH-2.0-OpenSSH_9.9\r\n"]) as (server, upstream):
        with pytest.raises(Cut, match="not HTTP"):
            await ask(server, upstream)


async def got(*pieces: bytes) -> tuple[int, bytes]:
    """What ``get`` returns of an answer that comes in these pieces."""
    headers: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers.append(await reader.readuntil(b"\r\n\r\n"))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.close()

    upstream = HttpUpstream(SystemClock())
    await upstream.open()
    try:
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            return await upstream.get(f"http://127.0.0.1:{port}/v1/models", {"authorization": "Bearer k"}, 10)
    finally:
        await upstream.close()
        assert all(b"authorization: Bearer k" in head for head in headers)


async def test_a_get_reads_the_whole_answer_however_it_comes() -> None:
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    pieces = [bytes([number]) * 100_000 for number in range(20)]
    assert await got(head, *pieces) == (200, b"".join(pieces))


async def test_a_get_does_not_read_without_end_nor_take_a_part_for_the_whole() -> None:
    with pytest.raises(UpstreamError, match="its answer is larger than 8388608 bytes"):
        await got(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", *[b"x" * 1_000_000] * 9)
    with pytest.raises(Cut):
        await got(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", b"[1,2")


async def test_a_get_that_is_taken_and_never_answered_is_no_missing_connection() -> None:
    async with served([OK]) as (server, upstream):
        with pytest.raises(UpstreamError, match="no answer within the time-out"):
            await upstream.get(f"http://127.0.0.1:{server.port}/v1/models", {}, 0.2)


async def test_a_get_goes_nowhere_else() -> None:
    moved = b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere.test/\r\ncontent-length: 0\r\n\r\n"
    assert await got(moved) == (302, b"")


async def test_no_connection_is_made_where_none_may_be_whatever_the_name() -> None:
    asked: list[tuple[str, int]] = []

    def refusal(host: str, port: int) -> str:
        asked.append((host, port))
        return "nobody is taken there"

    upstream = HttpUpstream(SystemClock(), refusal=refusal)
    await upstream.open()
    try:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(ConnectFailed, match="nobody is taken there"):
                await upstream.forward("GET", f"http://{host}:9/", (), None, 5)
    finally:
        await upstream.close()
    assert set(asked) <= {("127.0.0.1", 9), ("::1", 9)}
