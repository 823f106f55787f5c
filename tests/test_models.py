"""Reading providers' lists against scripted answers and a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from chain429.config import Config, parse
from chain429.errors import ConnectFailed
from chain429.models import LISTED, ModelLists
from chain429.redact import Redactor
from chain429.routing.fit import UNKNOWN, Capabilities
from chain429.routing.saved import Json
from chain429.store.writer import Store
from tests.fakes import FakeClock, settle

CONFIG = """
providers:
  a: {base_url: https://a.test/v1, keys: [env:A, env:B]}
  home: {base_url: http://127.0.0.1:9/v1}
chains: {default: [a/big, home/qwen3]}
"""
KEYS = {"A": "secret-key-of-a", "B": "secret-key-of-b", "OR": "secret-key-of-or"}
DAY = 86400
A_LIST = b'{"data":[{"id":"big","context_length":1000,"supports_vision":false},{"id":"small"}]}'

Answered = tuple[int, bytes] | Exception


class FakeLister:
    """Answers each GET of a URL with what is scripted, in order; the last answer is repeated."""

    def __init__(self, script: Mapping[str, list[Answered]]) -> None:
        self.script = {url: list(answers) for url, answers in script.items()}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.hold: asyncio.Event | None = None

    async def get(self, url: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109
        self.asked.append((url, headers))
        answers = self.script[url]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if self.hold:
            await self.hold.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def urls(self) -> list[str]:
        return [url for url, _ in self.asked]


class World:
    """Lists as the application keeps them: ``config`` is always the newest."""

    def __init__(self, folder: Path, text: str, lister: FakeLister, clock: FakeClock) -> None:
        self.clock = clock
        self.lister = lister
        self.store = Store(folder / "chain429.db", clock, Redactor(KEYS.values()), interval=0.01, patience=0.01)
        self.changes = 0
        self.lists = ModelLists(self.store, clock, self._changed, jitter=lambda: 0.5)
        self.config = parse(text, KEYS)

    def _changed(self) -> None:
        self.changes += 1
        self.config = self.lists.adopt(self.config)

    def reload(self, text: str) -> None:
        self.config = self.lists.adopt(parse(text, KEYS))

    def known(self, name: str = "a/big") -> Capabilities:
        chain = self.config.resolve(name)
        assert chain
        return chain.tiers[0][0].capabilities


@asynccontextmanager
async def running(
    folder: Path,
    *answers: Answered,
    text: str = CONFIG,
    script: Mapping[str, list[Answered]] | None = None,
    clock: FakeClock | None = None,
) -> AsyncIterator[World]:
    lister = FakeLister(script or {"https://a.test/v1/models": list(answers)})
    world = World(folder, text, lister, clock or FakeClock())
    world.store.open()
    world.lists.recall()
    world.config = world.lists.adopt(world.config)
    task = asyncio.create_task(world.lists.run(lister))
    await settle()
    try:
        yield world
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        world.store.close()


async def pass_days(world: World, days: float) -> None:
    """In steps that are long beside a look, and short beside a day."""
    for _ in range(round(days * 48)):
        await world.clock.advance(1800)


async def test_a_list_is_read_after_the_start_and_known_from_then_on(tmp_path: Path) -> None:
    async with running(tmp_path, (200, A_LIST)) as world:
        assert world.lister.asked == []
        assert world.known() == UNKNOWN
        await world.clock.advance(3)
        ((url, headers),) = world.lister.asked
        assert url == "https://a.test/v1/models"
        assert headers["authorization"] == "Bearer secret-key-of-a"
        assert headers["user-agent"].startswith("chain429")
        assert world.known() == Capabilities(images=False, context=1000)
        assert world.known("a/small") == UNKNOWN


async def test_it_is_read_again_every_day_and_taken_over_only_where_it_says_something_new(tmp_path: Path) -> None:
    newer = A_LIST.replace(b"1000", b"2000")
    async with running(tmp_path, (200, A_LIST), (200, A_LIST), (200, newer)) as world:
        await world.clock.advance(3)
        await pass_days(world, 0.95)
        assert len(world.lister.asked) == 1
        await pass_days(world, 0.1)
        assert (len(world.lister.asked), world.changes) == (2, 1)
        await pass_days(world, 1)
        assert (len(world.lister.asked), world.changes) == (3, 2)
        assert world.known().context == 2000


async def test_a_failure_is_quiet_and_tried_again_ever_later_with_the_next_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chain429")
    failures: list[Answered] = [(401, b"{}"), ConnectFailed("no connection"), (200, b"<html>"), (200, A_LIST)]
    async with running(tmp_path, *failures) as world:
        await world.clock.advance(3)
        for asked, wait in ((1, 600), (2, 1200), (3, 2400)):
            await world.clock.advance(wait - 60)
            assert len(world.lister.asked) == asked
            await world.clock.advance(60)
            await world.clock.advance(30)
            assert len(world.lister.asked) == asked + 1
        assert world.known().context == 1000
        keys = [headers["authorization"] for _, headers in world.lister.asked]
        assert keys == [f"Bearer secret-key-of-{key}" for key in "abab"]
    assert caplog.text == ""


async def test_what_fails_for_long_is_still_tried_every_day(tmp_path: Path) -> None:
    async with running(tmp_path, (500, b"")) as world:
        await world.clock.advance(3)
        await pass_days(world, 10)
        before = len(world.lister.asked)
        await pass_days(world, 10)
        assert len(world.lister.asked) - before in (9, 10, 11)


async def test_who_has_no_key_is_not_asked(tmp_path: Path) -> None:
    text = """
providers:
  home: {base_url: http://127.0.0.1:9/v1}
  claude: {preset: anthropic, keys: [passthrough]}
chains: {default: [home/qwen3, claude/claude-x]}
"""
    async with running(tmp_path, text=text, script={}) as world:
        await world.clock.advance(3)
        await pass_days(world, 2)
        assert world.lister.asked == []


ROUTER = """
providers: {openrouter: {keys: [env:OR]}}
chains: {default: ["openrouter/free/one:free"]}
"""
FIRST = "https://openrouter.ai/api/v1/models"


def page(model: str, after: str | None) -> tuple[int, bytes]:
    return 200, json.dumps({"data": [{"id": model, "context_length": 5}], "links": {"next": after}}).encode()


async def test_a_public_list_is_asked_for_without_a_key_and_page_by_page(tmp_path: Path) -> None:
    script: dict[str, list[Answered]] = {
        FIRST: [page("paid/one", "/api/v1/models?page=2")],
        f"{FIRST}?page=2": [page("free/one:free", None)],
    }
    async with running(tmp_path, text=ROUTER, script=script) as world:
        await world.clock.advance(3)
        assert world.lister.urls == [FIRST, f"{FIRST}?page=2"]
        assert not any("authorization" in headers for _, headers in world.lister.asked)
        assert world.known("openrouter/free/one:free").context == 5
        assert not world.lists.missing


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://elsewhere.test/models",
        "//elsewhere.test/models",
        "http://openrouter.ai/api/v1/models",
        "https://openrouter.ai@elsewhere.test/",
        "https://openrouter.ai:444/",
        "https://[broken/",
    ],
)
async def test_the_next_page_is_never_somebody_elses(tmp_path: Path, elsewhere: str) -> None:
    async with running(tmp_path, text=ROUTER, script={FIRST: [page("other", elsewhere)]}) as world:
        await world.clock.advance(3)
        assert world.lister.urls == [FIRST]
        # So it is not whole, and nobody is said to be missing in it.
        assert world.known("openrouter/other").context == 5
        assert not world.lists.missing


async def test_pages_without_end_have_one(tmp_path: Path) -> None:
    async with running(tmp_path, text=ROUTER, script={FIRST: [page("other", FIRST)]}) as world:
        await world.clock.advance(3)
        assert len(world.lister.asked) == 20


async def test_a_model_that_is_not_listed_is_told_once_and_not_benched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = CONFIG.replace("a/big,", "a/big, a/smal, a/vouched, a/gone,").replace(
        "env:B]", "env:B], models: {vouched: {tools: true}}"
    )
    async with running(tmp_path, (200, A_LIST), text=text + "aliases: {alias: a/other}\n") as world:
        assert not world.lists.missing
        await world.clock.advance(3)
        assert world.lists.missing == (
            "a does not list the model of 'a/smal'. Did you mean 'a/small'?",
            "a does not list the model of 'a/gone'.",
            "a does not list the model of 'a/other'.",
        )
        await pass_days(world, 3)
        assert len(world.lister.asked) > 2
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert warnings == list(world.lists.missing)
        assert world.known("a/gone") == UNKNOWN
        world.reload(CONFIG)
        assert not world.lists.missing


async def test_some_models_are_served_without_being_listed(tmp_path: Path) -> None:
    text = "providers: {zai: {keys: [env:A]}}\nchains: {default: [zai/glm-4.7-flash, zai/glm-9]}\n"
    script: dict[str, list[Answered]] = {"https://api.z.ai/api/paas/v4/models": [(200, b'{"data":[{"id":"glm-5"}]}')]}
    async with running(tmp_path, text=text, script=script) as world:
        await world.clock.advance(3)
        (missing,) = world.lists.missing
        assert "'zai/glm-9'" in missing


async def test_what_was_listed_survives_a_reload_unless_the_server_or_its_key_is_another(tmp_path: Path) -> None:
    async with running(tmp_path, (200, A_LIST)) as world:
        await world.clock.advance(3)
        world.reload(CONFIG.replace("default: [", "default: [home/x, "))
        assert world.known("a/big").context == 1000
        await world.clock.advance(60)
        assert len(world.lister.asked) == 1
        world.reload(CONFIG.replace("[env:A, env:B]", "[env:B]"))
        assert world.known("a/big") == UNKNOWN
        await world.clock.advance(60)
        assert world.lister.asked[-1][1]["authorization"] == "Bearer secret-key-of-b"
        assert world.known("a/big").context == 1000
        world.lister.script["https://b.test/v1/models"] = [(500, b"")]
        world.reload(CONFIG.replace("a.test", "b.test"))
        await world.clock.advance(60)
        assert world.known("a/big") == UNKNOWN


async def test_a_list_that_comes_after_a_reload_is_not_taken_for_another_servers(tmp_path: Path) -> None:
    async with running(tmp_path, (200, A_LIST)) as world:
        world.lister.hold = asyncio.Event()
        await world.clock.advance(3)
        world.lister.script["https://b.test/v1/models"] = [(500, b"")]
        world.reload(CONFIG.replace("a.test", "b.test"))
        world.lister.hold.set()
        await settle()
        assert (world.known("a/big"), world.changes) == (UNKNOWN, 0)


async def test_a_restart_knows_what_was_listed_before_and_does_not_ask_anew(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path, (200, A_LIST), clock=clock) as world:
        await world.clock.advance(3)
        before = world.config
    clock = FakeClock(clock.now() + 3600)
    async with running(tmp_path, (200, A_LIST), clock=clock) as world:
        assert (world.config.providers, world.config.chains) == (before.providers, before.chains)
        assert world.known().context == 1000
        await pass_days(world, 0.9)
        assert world.lister.asked == []
        await pass_days(world, 0.1)
        assert len(world.lister.asked) == 1
    # A clock that was ahead by a year is no reason to wait for a year.
    async with running(tmp_path, (200, A_LIST), clock=FakeClock(clock.now() - 365 * DAY)) as world:
        await world.clock.advance(3)
        assert len(world.lister.asked) == 1


async def test_no_key_is_kept_with_a_list(tmp_path: Path) -> None:
    told = b'{"data":[{"id":"secret-key-of-a"},{"id":"big"}]}'
    async with running(tmp_path, (200, told)) as world:
        await world.clock.advance(3)
        assert world.store.flush()
        kept = json.dumps(world.store.kept(LISTED))
        assert '"big"' in kept
        assert not any(key in kept for key in KEYS.values())


@pytest.mark.parametrize(
    "kept",
    [
        [],
        {"a": 5},
        {"a": {"mark": "?", "at": "yesterday", "whole": True, "models": [{"id": "big"}]}},
        {"a": {"mark": None, "at": 1.0, "whole": "yes", "models": {"big": 1}}},
        {"a": {"mark": "?", "at": 1.0, "models": [5, {"id": 5}, {"id": "big", "context": "x", "tools": 1}]}},
        {"nobody": {"mark": "?", "at": 1.0, "models": [{"id": "big"}]}},
    ],
)
async def test_what_was_kept_may_be_damaged_or_of_another_configuration(tmp_path: Path, kept: Json) -> None:
    store = Store(tmp_path / "chain429.db", FakeClock(), Redactor(), interval=0.01, patience=0.01)
    store.open()
    store.keep(LISTED, kept)
    store.close()
    async with running(tmp_path, (200, A_LIST)) as world:
        assert (world.known(), world.lists.missing) == (UNKNOWN, ())
        await world.clock.advance(3)
        assert world.known().context == 1000


async def test_a_store_that_can_not_be_read_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    store = Store(tmp_path / "gone" / "chain429.db", FakeClock(), Redactor())
    lists = ModelLists(store, FakeClock(), lambda: None)
    lists.recall()
    config: Config = parse(CONFIG, KEYS)
    assert lists.adopt(config) == config
