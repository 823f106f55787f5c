"""A gateway on simulated providers, of which the first one refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from chain429.app import App, Options, launch
from chain429.clock import SystemClock
from chain429.redact import Redactor
from chain429.simulator import Simulator

# The simulated provider that serves, by the dialect that it speaks.
SERVING = {"chat": "generic", "messages": "anthropic", "responses": "openai-responses"}
_REFUSING, _REFUSED_MODEL = "groq", "openai/gpt-oss-120b"
_KEY = "sim-clients-0123456789abcdef"
_CONFIG = """
providers:
  {refusing}: {{keys: [env:KEY], base_url: "{refusing_url}"}}
  {serving}: {{keys: [env:KEY], base_url: "{serving_url}", dialect: {dialect}}}
chains:
  default: ["{refusing}/{refused_model}", "{serving}/{model}"]
patience: 2
"""
_NO_LIMIT = dict.fromkeys(("rpm", "rph", "rpd", "tpm", "tph", "tpd", "itpm", "otpm"))


@dataclass(frozen=True, slots=True)
class Served:
    """One request of a client, from the request log. ``attempts`` are providers and what became of each."""

    dialect: str
    status: int
    outcome: str
    provider: str | None
    attempts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class World:
    """``serving`` is the provider that answers, ``dialect`` what it speaks."""

    app: App
    simulator: Simulator
    dialect: str
    serving: str

    @property
    def url(self) -> str:
        assert self.app.api
        return self.app.api.url

    @property
    def token(self) -> str:
        return self.app.client_token

    def log(self) -> list[Served]:
        """All requests so far, oldest first."""
        self.app.store.flush()
        database = sqlite3.connect(self.app.data / "chain429.db")
        try:
            tried: dict[int, list[tuple[str, str]]] = {}
            for number, provider, outcome in database.execute(
                "SELECT request_id, provider, outcome FROM attempt ORDER BY request_id, ordinal"
            ):
                tried.setdefault(number, []).append((provider, outcome))
            rows = database.execute("SELECT number, dialect, status, outcome, provider FROM request ORDER BY number")
            return [
                Served(spoken, status, outcome, provider, tuple(tried.get(number, ())))
                for number, spoken, status, outcome, provider in rows
            ]
        finally:
            database.close()

    def fault(self, dialect: str) -> str | None:
        """What the log has to say against this: all requests came in ``dialect`` and were served by the provider that
        serves, the first of them after the other one's refusal."""
        rows = self.log()
        if not rows:
            return "the request log is empty"
        if rows[0].attempts != ((_REFUSING, "rate_limited"), (self.serving, "served")):
            return f"the first request went another way: {rows[0]}"
        wrong = [row for row in rows if (row.dialect, row.outcome, row.provider) != (dialect, "served", self.serving)]
        return f"{len(wrong)} of {len(rows)} requests went another way: {wrong[0]}" if wrong else None


@asynccontextmanager
async def world(dialect: str, folder: Path) -> AsyncIterator[World]:
    """A world whose second provider speaks ``dialect``; its files are in ``folder``."""
    clock = SystemClock()
    # With a moment between the words, so that those before a failure are on their way when it comes.
    async with Simulator(clock, token_delay=0.001) as simulator:
        serving = SERVING[dialect]
        provider = simulator.control.provider(serving)
        simulator.control.limits(serving, None, _NO_LIMIT)
        # More often than any client asks.
        simulator.control.script(_REFUSING, "rate_limit_minute", times=10_000)
        path = folder / "chain429.yaml"
        path.write_text(
            _CONFIG.format(
                refusing=_REFUSING,
                refusing_url=simulator.base_url(_REFUSING),
                refused_model=_REFUSED_MODEL,
                serving=serving,
                serving_url=simulator.base_url(serving),
                dialect=dialect,
                model=next(iter(provider.models)),
            ),
            encoding="utf-8",
        )
        options = Options(path, folder / "data", "127.0.0.1:0", "127.0.0.1:0", drain=0.1)
        app = await launch(options, {"KEY": _KEY}, clock, Redactor())
        try:
            yield World(app, simulator, dialect, serving)
        finally:
            await app.stop()
