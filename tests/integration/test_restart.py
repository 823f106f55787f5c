"""What a real process learned, after it ended and another began."""

from __future__ import annotations

import json
import signal
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.conftest import HELLO, Front, Providers, Starter, direct, until

# Within it a program ends that does not wait, in seconds. One that waits has 30.
AT_ONCE = 5

CONFIG = """
providers:
  groq: {{keys: [env:PROVIDER_KEY], base_url: {groq}}}
  home: {{keys: [env:PROVIDER_KEY], base_url: {generic}}}
chains:
  default: [groq/openai/gpt-oss-120b, home/qwen3]
  alone: [groq/openai/gpt-oss-120b]
"""

# The gateway without a proxy, which keeps what it learns twenty times a second.
GATEWAY = """
import asyncio, os, sys
from pathlib import Path
from chain429.app import Options, banner, launch
from chain429.clock import SystemClock
from chain429.redact import Redactor

async def main():
    options = Options(Path(sys.argv[1]), Path(sys.argv[2]), "127.0.0.1:0", "127.0.0.1:0", keep=0.05)
    app = await launch(options, os.environ, SystemClock(), Redactor())
    print(banner(app, None), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@dataclass
class Answer:
    status: int
    provider: str | None
    body: Any


def ask(front: Front, model: str) -> Answer:
    request = urllib.request.Request(
        f"{front.api}/v1/chat/completions",
        json.dumps({**HELLO, "model": model}).encode(),
        {"authorization": f"Bearer {front.token}", "content-type": "application/json"},
    )
    try:
        with direct.open(request, timeout=30) as answer:
            return Answer(answer.status, answer.headers["x-chain429-provider"], json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, None, json.loads(error.read()))


def back_at(front: Front) -> float:
    """When the spent target is back, as the gateway says."""
    answer = ask(front, "alone")
    assert answer.status == 429
    (target,) = answer.body["error"]["chain429"]["targets"]
    found: float = target["back_at"]
    return found


def calls(providers: Providers) -> int:
    return sum(record.provider == "groq" for record in providers.received())


def spend(front: Front, providers: Providers) -> float:
    """Have a target reach its limit of the day. When it is back."""
    providers.script("groq", "rate_limit_day")
    assert ask(front, "default").provider == "home"
    assert calls(providers) == 1
    return back_at(front)


def still_spent(front: Front, providers: Providers, until: float) -> None:
    assert back_at(front) == until
    assert ask(front, "default").provider == "home"
    assert calls(providers) == 1


@pytest.fixture
def begun(starter: Starter, providers: Providers) -> Starter:
    urls = {name: providers.simulator.base_url(name) for name in ("groq", "generic")}
    starter.config.write_text(CONFIG.format(**urls), encoding="utf-8")
    return starter


def test_a_cooldown_survives_a_restart(begun: Starter, providers: Providers) -> None:
    front = begun.serve()
    spent_until = spend(front, providers)
    assert front.stop(signal.SIGTERM) == 0
    still_spent(begun.serve(), providers, spent_until)


def test_a_cooldown_survives_who_does_not_wait_for_the_end(begun: Starter, providers: Providers) -> None:
    front = begun.start("-q")
    spent_until = spend(front, providers)
    # An answer that goes on holds the end up, until it is asked for a second time.
    providers.script("generic", "hang_mid_stream")
    streamed = urllib.request.Request(
        f"{front.api}/v1/chat/completions",
        json.dumps({**HELLO, "model": "default", "stream": True}).encode(),
        {"authorization": f"Bearer {front.token}", "content-type": "application/json"},
    )
    with direct.open(streamed, timeout=30):
        front.send(signal.SIGINT)
        front.wait_for("stopping", stream="err")
        until(lambda: "denied" in kept(begun))
        front.send(signal.SIGINT)
        assert front.wait(AT_ONCE) == -signal.SIGINT
    assert "Traceback" not in front.err
    still_spent(begun.serve(), providers, spent_until)


def kept(starter: Starter) -> str:
    """What is on the disk."""
    with closing(sqlite3.connect(starter.folder / "data" / "chain429.db")) as connection:
        row = connection.execute("SELECT value FROM state").fetchone()
        return str(row[0]) if row else ""


def test_a_cooldown_survives_a_kill(begun: Starter, providers: Providers) -> None:
    command = ("python", "-c", GATEWAY, begun.config, begun.folder / "data")
    front = begun.fork(*command)
    spent_until = spend(front, providers)
    until(lambda: "denied" in kept(begun))
    assert front.stop(signal.SIGKILL) == -signal.SIGKILL
    still_spent(begun.fork(*command), providers, spent_until)
