from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from chain429.config import Config, parse
from chain429.memory import LEARNED, Memory
from chain429.redact import Redactor
from chain429.routing.chain import Target
from chain429.routing.ledger import Ledger, Refusal
from chain429.routing.limits import Need
from chain429.routing.outcome import SERVED, Kind, Outcome
from chain429.routing.saved import Json
from chain429.store.writer import Store
from tests.fakes import FakeClock

NOW = FakeClock().now()
CONFIG = """
providers:
  one: {{base_url: {server}, keys: [env:A, {{key: env:B, account: ours}}, {{key: env:C, account: ours}}]}}
  two: {{base_url: http://127.0.0.1:9/v1, keys: [env:A]}}
chains: {{default: [one/m, two/m]}}
"""
KEYS = {"A": "key-a-0123456789", "B": "key-b-0123456789", "C": "key-c-0123456789"}


def config(server: str = "http://127.0.0.1:8/v1", **keys: str) -> Config:
    return parse(CONFIG.format(server=server), {**KEYS, **keys})


class Life:
    """One run of the gateway, as far as its memory is concerned."""

    def __init__(self, folder: Path, using: Config, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.config = using
        self.ledger = Ledger(using.breaker)
        self.ledger.configure(using.breaker, using.providers.values())
        redact = Redactor(secret.reveal() for secret in using.secrets())
        self.store = Store(folder / "chain429.db", self.clock, redact, interval=0.01, patience=0.01)
        self.store.open()
        self.memory = Memory(using, self.ledger, self.store, self.clock, 30.0)

    def targets(self) -> dict[str, Target]:
        return {target.credential: target for target in self.config.chains["default"].targets}

    def call(self, credential: str, outcome: Outcome) -> None:
        target = self.targets()[credential]
        now = self.clock.now()
        lease = self.ledger.take(self.config.providers[target.provider], target, Need(), now)
        self.ledger.learn(lease, outcome, (None, None), now)

    def refused(self) -> dict[str, Refusal | None]:
        return {name: self.ledger.refusal(target, Need(), self.clock.now()) for name, target in self.targets().items()}

    def benched(self) -> set[str]:
        return {name for name, refusal in self.refused().items() if refusal}


@contextmanager
def life(folder: Path, using: Config | None = None, clock: FakeClock | None = None) -> Iterator[Life]:
    begun = Life(folder, using or config(), clock)
    begun.memory.recall()
    try:
        yield begun
        begun.memory.keep()
    finally:
        begun.store.close()


SPENT = Outcome.of(Kind.QUOTA_SPENT, "no more today", until=NOW + 5000)


def test_what_was_learned_is_there_after_a_restart(tmp_path: Path) -> None:
    with life(tmp_path) as before:
        for name in before.targets():
            before.call(name, SPENT)
    with life(tmp_path) as after:
        assert after.refused() == before.refused()
        assert after.benched() == {"one/A", "one/B", "one/C", "two/A"}
        after.clock.time += 5000
        assert after.benched() == set()


@asynccontextmanager
async def running(at: Life) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(at.memory.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def written(folder: Path) -> float | None:
    """When something was kept last."""
    with closing(sqlite3.connect(folder / "chain429.db")) as connection:
        row = connection.execute("SELECT written_at FROM state").fetchone()
        return row[0] if row else None


async def test_it_is_kept_every_so_often_while_it_changes(tmp_path: Path) -> None:
    with life(tmp_path) as begun:
        async with running(begun):
            await begun.clock.advance(30)
            assert begun.store.flush()
            assert written(tmp_path) is None
            for name in begun.targets():
                begun.call(name, SPENT)
            await begun.clock.advance(29)
            assert begun.store.flush()
            assert written(tmp_path) is None
            await begun.clock.advance(1)
            assert begun.store.flush()
            assert written(tmp_path) == NOW + 60
            await begun.clock.advance(30)
            assert begun.store.flush()
            assert written(tmp_path) == NOW + 60
            begun.call("one/B", SERVED)
            await begun.clock.advance(30)
            assert begun.store.flush()
            assert written(tmp_path) == NOW + 120
        # As after a kill: nothing is kept at the end.
        with life(tmp_path, clock=begun.clock) as after:
            assert after.benched() == {"one/A", "two/A"}


class Stalling(FakeClock):
    """One under which nobody who lets others go first comes to his turn again."""

    async def sleep(self, seconds: float) -> None:
        await (asyncio.Event().wait() if seconds <= 0 else super().sleep(seconds))


async def test_what_was_being_kept_when_it_ended_is_kept_at_the_end(tmp_path: Path) -> None:
    with life(tmp_path, clock=Stalling()) as begun:
        for name in begun.targets():
            begun.call(name, SPENT)
        async with running(begun):
            await begun.clock.advance(30)
            assert not begun.ledger.changed
            assert begun.store.flush()
            assert written(tmp_path) is None
    with life(tmp_path) as after:
        assert after.benched() == {"one/A", "one/B", "one/C", "two/A"}


def test_where_nothing_changed_nothing_is_kept(tmp_path: Path) -> None:
    with life(tmp_path) as first:
        first.call("one/A", SPENT)
    with life(tmp_path, clock=FakeClock(NOW + 10)) as second:
        assert second.benched() == {"one/A"}
    assert written(tmp_path) == NOW


# Keys and servers that are others than before.


def test_a_key_that_was_replaced_is_tried_anew_after_a_restart(tmp_path: Path) -> None:
    refused = Outcome.of(Kind.UNAUTHORIZED, "wrong key")
    with life(tmp_path) as before:
        for name in before.targets():
            before.call(name, refused)
    with life(tmp_path, config(B="key-b-another-one")) as after:
        assert after.benched() == {"one/A", "one/C", "two/A"}


def test_with_a_key_all_of_its_account_begins_anew(tmp_path: Path) -> None:
    with life(tmp_path) as before:
        for name in before.targets():
            before.call(name, SPENT)
    with life(tmp_path, config(C="key-c-another-one")) as after:
        assert after.benched() == {"one/A", "two/A"}


def test_another_server_is_another_provider(tmp_path: Path) -> None:
    with life(tmp_path) as before:
        for name in before.targets():
            before.call(name, SPENT)
        before.call("one/A", Outcome.of(Kind.GONE, "no such model"))
        for _ in range(3):
            before.call("two/A", Outcome.of(Kind.FAILED, "down"))
    with life(tmp_path, config("http://127.0.0.1:7/v1")) as after:
        assert after.benched() == {"two/A"}


def test_a_key_that_was_replaced_is_tried_anew_after_a_reload(tmp_path: Path) -> None:
    with life(tmp_path) as begun:
        for name in begun.targets():
            begun.call(name, SPENT)
        begun.memory.adopt(config())
        assert begun.benched() == {"one/A", "one/B", "one/C", "two/A"}
        begun.memory.adopt(config(A="key-a-another-one"))
        assert begun.benched() == {"one/B", "one/C"}


def test_no_key_is_on_the_disk(tmp_path: Path) -> None:
    with life(tmp_path) as begun:
        for name in begun.targets():
            begun.call(name, Outcome.of(Kind.UNAUTHORIZED, f"the key {KEYS['A']} is wrong"))
    disk = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"the key [redacted] is wrong" in disk
    for key in KEYS.values():
        assert key.encode() not in disk


# What goes wrong.


def test_what_can_not_be_read_is_one_line_and_nothing_is_lost_but_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with life(tmp_path) as before:
        before.call("one/A", SPENT)
    with closing(sqlite3.connect(before.store.path)) as connection, connection:
        connection.execute("UPDATE state SET value = substr(value, 2)")
    with life(tmp_path) as after:
        (line,) = caplog.messages
        assert line.startswith(f"what was learned before this start can't be used, so it begins anew: {tmp_path}")
        assert after.benched() == set()
        after.call("two/A", SPENT)
    with life(tmp_path) as later:
        assert later.benched() == {"two/A"}
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        ({"ledger": {"format": 99, "at": NOW}}, "it was written by another version, or is damaged"),
        ({"ledger": []}, "it was written by another version, or is damaged"),
        ({"ledger": {"format": 1, "at": NOW - 4e6}}, "it was written 46 days ago"),
    ],
)
def test_what_does_not_hold_any_more_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: Json, why: str
) -> None:
    with life(tmp_path) as before:
        before.store.keep(LEARNED, kept)
    with life(tmp_path):
        assert caplog.messages == [f"what was learned before this start is not used, so it begins anew: {why}"]


def test_the_first_start_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with life(tmp_path) as begun:
        assert begun.benched() == set()
    assert caplog.messages == []
    assert begun.store.kept(LEARNED) is None


@pytest.mark.parametrize("kept", [None, [], 5, "words", {}, {"marks": 5}, {"marks": {"one": 5}}])
def test_nothing_that_is_kept_breaks_a_start(tmp_path: Path, kept: Json) -> None:
    with life(tmp_path) as before:
        before.store.keep(LEARNED, kept)
    with life(tmp_path) as after:
        assert after.benched() == set()
