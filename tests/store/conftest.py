from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chain429.store.records import AttemptRecord, RequestRecord
from chain429.store.writer import Store
from tests.fakes import FakeClock

NOON = 1_750_000_000.0


def redact(words: str) -> str:
    return words.replace("gsk_secret", "[key]")


class Records:
    """Makes records that differ where a test says so."""

    def __call__(self, id: str = "req_1", *, at: float = NOON, **changes: object) -> RequestRecord:
        fields: dict[str, object] = {
            "id": id,
            "at": at,
            "dialect": "chat",
            "chain": "default",
            "model_asked": "gpt-4o",
            "provider": "groq",
            "model": "openai/gpt-oss-120b",
            "credential": "groq-1",
            "status": 200,
            "outcome": "served",
            "streamed": True,
            "tokens_in": 1200,
            "tokens_out": 85,
            "latency": 1.25,
            "first_token": 0.25,
            "client": "default",
            "error": "",
            "attempts": (self.skipped(), self.served()),
        }
        return RequestRecord(**{**fields, **changes})  # type: ignore[arg-type]

    @staticmethod
    def skipped() -> AttemptRecord:
        return AttemptRecord("cerebras", "gpt-oss-120b", "c-1", "skipped", None, "requests per day", 0.0, NOON + 60)

    @staticmethod
    def failed(reason: str = "503 queue full") -> AttemptRecord:
        return AttemptRecord("cerebras", "gpt-oss-120b", "c-1", "busy", 503, reason, 0.5)

    @staticmethod
    def served() -> AttemptRecord:
        return AttemptRecord("groq", "openai/gpt-oss-120b", "groq-1", "served", 200, "", 1.2)


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "log.db"


@pytest.fixture
def new_store(path: Path, clock: FakeClock) -> Iterator[Callable[..., Store]]:
    """Makes stores that are closed when the test ends. They wait for nobody's lock for long."""
    made: list[Store] = []

    def make(**options: float) -> Store:
        store = Store(path, clock, redact, **{"interval": 0.01, "patience": 0.01, **options})  # type: ignore[arg-type]
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()
