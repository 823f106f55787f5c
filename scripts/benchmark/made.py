"""``scripts/make-log``: a log of made-up requests, to see how the pages do with a long one.

It goes through the store's own tables and prices, only in large bites. The same seed makes the same requests: of a
month, more by day than by night, in three chains over five providers, of which some fail and some are at their limits.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from chain429.clock import SystemClock
from chain429.config import parse
from chain429.pricing import Pricer
from chain429.store import disk
from chain429.store.migrations import connection_of
from chain429.store.records import AttemptRecord, RequestRecord
from chain429.store.rows import Priced, Rows

_DAY = 86_400.0
DAYS = 30
_BITE = 20_000
_KINDS = 5_000
_SEED = 429
_CACHE_KIB = 256_000

_CONFIG = """
providers:
  groq:       {keys: [env:ONE, env:TWO]}
  cerebras:   {keys: [env:ONE]}
  gemini:     {keys: [env:ONE, env:TWO]}
  openrouter: {keys: [env:ONE]}
  mistral:    {keys: [env:ONE]}
chains:
  default:
    - groq/openai/gpt-oss-120b
    - cerebras/gpt-oss-120b
    - gemini/gemini-2.5-flash
    - mistral/mistral-small-2603
  fast:
    - cerebras/gpt-oss-120b
    - groq/openai/gpt-oss-20b
  code:
    - gemini/gemini-2.5-flash
    - "openrouter/openai/gpt-oss-20b:free"
    - mistral/mistral-small-2603
"""
_ASKED = {
    "default": ("gpt-4o", "claude-sonnet-4-5", "default", "gpt-5"),
    "fast": ("gpt-4o-mini", "fast"),
    "code": ("code", "claude-sonnet-4-5"),
}
_CLIENTS = ("default", "default", "default", "laptop", "ci")
_DIALECTS = ("chat", "chat", "messages", "responses")
# What may become of an attempt, with its status and what the provider says.
_FAILURES = (
    ("rate_limited", 429, "Rate limit reached for requests per minute (RPM): limit 30, used 30, requested 1."),
    ("quota_spent", 429, "You exceeded your current quota of requests per day."),
    ("busy", 503, "The model is overloaded. Please try again later."),
    ("failed", None, "no answer within 30 s"),
)
_OUTCOMES = ("served", "exhausted", "broken", "cancelled", "refused")
_OFTEN = (940, 20, 6, 14, 20)
_ERRORS = {
    "exhausted": (429, "Every target of the chain is at its limit."),
    "broken": (200, "the provider reported an error in the middle of its answer: internal error"),
    "cancelled": (200, "the client left in the middle of the answer"),
    "refused": (400, "'messages' must be an array of at least one message."),
}


def make(path: Path, count: int, now: float) -> None:
    """Add ``count`` requests of the last month to the log at ``path``, made where there is none."""
    chance = random.Random(_SEED)
    kinds, rows = _kinds(chance), Rows(lambda words: words)
    database = disk.connect(path, 1.0, now)
    try:
        connection = connection_of(database)
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        made = _requests(chance, kinds, count, now)
        while bite := list(islice(made, _BITE)):
            with database.atomic("IMMEDIATE"):
                rows.add(connection, bite)
    finally:
        database.close()


def _requests(chance: random.Random, kinds: Sequence[Priced], count: int, now: float) -> Iterator[Priced]:
    for number in range(count):
        record, costs = chance.choice(kinds)
        yield record._replace(id=f"req_{chance.getrandbits(96):024x}", at=_when(number / count, now)), costs


_Target = tuple[str, str, str]


def _kinds(chance: random.Random) -> list[Priced]:
    """So many different requests, of no time yet: to think up each anew would take most of the time."""
    config = parse(_CONFIG, {"ONE": "key-one", "TWO": "key-two"}, file="scripts/make-log")
    price = Pricer(config)
    targets = {
        name: [(target.provider, target.model, target.credential) for target in chain.targets]
        for name, chain in config.chains.items()
    }
    return [(record, price(record)) for record in (_kind(chance, targets) for _ in range(_KINDS))]


def _kind(chance: random.Random, targets: dict[str, list[_Target]]) -> RequestRecord:
    (chain,) = chance.choices(list(targets), (6, 3, 1))
    (outcome,) = chance.choices(_OUTCOMES, _OFTEN)
    trail = () if outcome == "refused" else tuple(_attempts(chance, targets[chain], outcome))
    last = trail[-1] if outcome in ("served", "broken", "cancelled") else None
    status, error = _ERRORS.get(outcome, (200, ""))
    latency = chance.lognormvariate(0.3, 0.9)
    return RequestRecord(
        id="",
        at=0.0,
        dialect=chance.choice(_DIALECTS),
        chain="" if outcome == "refused" else chain,
        model_asked=chance.choice(_ASKED[chain]),
        provider=last.provider if last else None,
        model=last.model if last else None,
        credential=last.credential if last else None,
        status=status,
        outcome=outcome,
        streamed=chance.random() < 0.7,
        tokens_in=int(chance.lognormvariate(7.5, 1.2)) if last else None,
        tokens_out=int(chance.lognormvariate(5.0, 1.0)) if last else None,
        latency=latency,
        first_token=latency * chance.random() if last else None,
        client=chance.choice(_CLIENTS),
        error=error,
        attempts=trail,
    )


def _when(share: float, now: float) -> float:
    """When a request came, by how many of all came before it: by night the clock goes on faster."""
    days = share * DAYS
    return now - (DAYS - days) * _DAY - 0.12 * _DAY * math.sin(2 * math.pi * days)


def _attempts(chance: random.Random, targets: list[_Target], outcome: str) -> Iterator[AttemptRecord]:
    for target in targets:
        luck = chance.random()
        if luck < 0.2 or (outcome == "exhausted" and luck < 0.8):
            yield AttemptRecord(*target, "skipped", None, "requests per day", 0.0)
        elif luck < 0.3 or outcome == "exhausted":
            failure, status, reason = chance.choice(_FAILURES)
            yield AttemptRecord(*target, failure, status, reason, chance.random())
        else:
            yield AttemptRecord(*target, outcome, 200, "", chance.lognormvariate(0.2, 0.9))
            return
    if outcome != "exhausted":
        yield AttemptRecord(*targets[-1], outcome, 200, "", chance.lognormvariate(0.2, 0.9))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/make-log", description="Makes a request log of made-up requests.")
    parser.add_argument("requests", type=int, nargs="?", default=1_000_000, help="how many, a million as a rule")
    parser.add_argument("folder", type=Path, help="the data folder; a log that is there already grows")
    told = parser.parse_args(arguments)
    clock = SystemClock()
    began = clock.monotonic()
    path = told.folder / "chain429.db"
    make(path, told.requests, clock.now())
    print(f"{path}: {told.requests} requests in {clock.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
