"""Fakes that come in through constructors: a clock that a test moves, an upstream that a test scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from chain429.errors import UpstreamError
from chain429.store.records import RequestRecord
from chain429.upstream import UpstreamRequest

HANG = "hang"  # as a piece of an answer: nothing more comes


class FakeClock:
    """Time that moves only by ``advance``."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.time = now
        self._waiting: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time - 1_000_000.0

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        self._waiting.append((self.time + seconds, woken.set))
        await woken.wait()

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return self._timeout(seconds)

    @asynccontextmanager
    async def _timeout(self, seconds: float | None) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task
        fired = False

        def fire() -> None:
            nonlocal fired
            fired = True
            task.cancel()

        entry = (self.time + seconds, fire) if seconds is not None else None
        if entry:
            self._waiting.append(entry)
        try:
            yield
        except asyncio.CancelledError:
            if fired and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    @property
    def waiting(self) -> int:
        """How many sleeps and time-outs are pending."""
        return len(self._waiting)

    async def advance(self, seconds: float) -> None:
        await settle()
        self.time += seconds
        due = [entry for entry in self._waiting if entry[0] <= self.time]
        self._waiting = [entry for entry in self._waiting if entry[0] > self.time]
        for _, wake in sorted(due, key=lambda entry: entry[0]):
            wake()
        await settle()


async def settle() -> None:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


Piece = bytes | str | Exception | asyncio.Event


class FakeAnswer:
    """An answer made of pieces: bytes, an exception to raise, an event to wait for, or HANG."""

    def __init__(self, status: int, headers: Mapping[str, str], pieces: Sequence[Piece]) -> None:
        self.status = status
        self.headers = headers
        self.closed = False
        self.finished = False
        self._all = pieces
        self._pieces = list(pieces)

    def again(self) -> FakeAnswer:
        """The same answer, not yet read."""
        return FakeAnswer(self.status, self.headers, self._all)

    async def chunk(self) -> bytes:
        if not self._pieces:
            return b""
        # What is waited for stays the next piece, however often the wait is broken off.
        if isinstance(self._pieces[0], asyncio.Event):
            await self._pieces[0].wait()
            del self._pieces[0]
            return await self.chunk()
        if isinstance(self._pieces[0], str):
            await asyncio.Event().wait()
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        assert isinstance(piece, bytes)
        return piece

    async def read(self, limit: int) -> bytes:
        body = b""
        while chunk := await self.chunk():
            body += chunk
        if len(body) > limit:
            raise UpstreamError(f"its answer is larger than {limit} bytes")
        return body

    async def finish(self) -> None:
        self.finished = True

    def close(self) -> None:
        self.closed = True


class FakeUpstream:
    """Answers requests with what is scripted for their URL's beginning, in order; the last one is repeated."""

    def __init__(self, script: Mapping[str, Sequence[FakeAnswer | Exception | str]]) -> None:
        self.requests: list[UpstreamRequest] = []
        self.answers: list[FakeAnswer] = []
        self._script = {url: list(answers) for url, answers in script.items()}

    async def send(self, request: UpstreamRequest) -> FakeAnswer:
        self.requests.append(request)
        answers = next(answers for url, answers in self._script.items() if request.url.startswith(url))
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            await asyncio.Event().wait()
        assert isinstance(answer, FakeAnswer)
        self.answers.append(answer.again())
        return self.answers[-1]


class Records:
    """A recorder that keeps everything."""

    def __init__(self) -> None:
        self.all: list[RequestRecord] = []

    def record(self, record: RequestRecord) -> None:
        self.all.append(record)

    @property
    def last(self) -> RequestRecord:
        return self.all[-1]
