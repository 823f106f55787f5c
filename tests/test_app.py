"""Finding, building, reloading and stopping, without mitmproxy."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from chain429 import log
from chain429.app import App, Options, banner, data_folder, find_config, launch, templates_folder
from chain429.errors import ConfigError, RequestError, StartError
from chain429.folders import running_pages
from chain429.memory import LEARNED
from chain429.redact import Redactor
from chain429.routing.chain import Entry, Target
from chain429.routing.limits import Need
from chain429.routing.outcome import Kind, Outcome
from chain429.simulator import Simulator
from tests.fakes import FakeClock

HELLO = [{"role": "user", "content": "Hello"}]
CONFIG = """
providers: {home: {base_url: http://127.0.0.1:9/v1}}
chains: {default: [home/qwen3]}
"""


def options(folder: Path, **more: Path | str) -> Options:
    return Options(**{"data_dir": folder / "data", "listen": "127.0.0.1:0", "pages": "127.0.0.1:0", **more})  # type: ignore[arg-type]


def test_the_configuration_is_found_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    assert find_config(Options(), home) is None
    (tmp_path / "home/chain429").mkdir(parents=True)
    usual = tmp_path / "home/chain429/chain429.yaml"
    usual.touch()
    assert find_config(Options(), home) == usual
    Path("chain429.yaml").touch()
    assert find_config(Options(), home) == Path("chain429.yaml")
    # What is told is taken, even where it does not exist: a mistake must not be silent.
    assert find_config(Options(), {**home, "CHAIN429_CONFIG": "a.yaml"}) == Path("a.yaml")
    assert find_config(Options(config=Path("b.yaml")), {**home, "CHAIN429_CONFIG": "a.yaml"}) == Path("b.yaml")


def test_the_data_folder() -> None:
    assert data_folder(Options(), {"XDG_DATA_HOME": "/x"}) == Path("/x/chain429")
    assert data_folder(Options(), {"CHAIN429_DATA_DIR": "/y", "XDG_DATA_HOME": "/x"}) == Path("/y")
    assert data_folder(Options(data_dir=Path("/z")), {"CHAIN429_DATA_DIR": "/y"}) == Path("/z")


def test_the_templates_are_found() -> None:
    assert (templates_folder() / "overview.html").is_file()


async def start(folder: Path, text: str | None = CONFIG, **more: Path | str) -> App:
    return await start_at(FakeClock(), folder, text, **more)


async def start_at(clock: FakeClock, folder: Path, text: str | None, **more: Path | str) -> App:
    path = folder / "chain429.yaml"
    if text is not None:
        path.write_text(text)
        more["config"] = path
    environ = {"XDG_CONFIG_HOME": str(folder / "none")}
    return await launch(options(folder, **more), environ, clock, Redactor())


async def test_without_anything_the_simulator_answers_and_the_banner_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = await start(tmp_path, None)
    try:
        text = banner(app, "http://127.0.0.1:8080")
        assert "SIMULATED PROVIDERS" in text
        assert app.api
        assert f"curl {app.api.url}/v1/chat/completions -H 'Authorization: Bearer {app.client_token}'" in text
        assert f'OpenAI(base_url="{app.api.url}/v1", api_key="{app.client_token}")' in text
        assert f"/login#{app.admin_token}" in text
        assert app.health()["simulated"] is True
    finally:
        await app.stop()
    again = await start(tmp_path, None)
    try:
        assert (again.client_token, again.admin_token) == (app.client_token, app.admin_token)
        assert app.admin_token not in banner(again, None)
    finally:
        await again.stop()


async def test_a_key_that_can_not_be_used_is_named_where_the_simulator_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "CLOUDFLARE_API_TOKEN": "one"}
    app = await launch(options(tmp_path), environ, FakeClock(), Redactor())
    try:
        text = banner(app, None)
        assert "no configuration file and no provider's key that can be used was found" in text
        assert "\n  CLOUDFLARE_API_TOKEN is not used: set CLOUDFLARE_ACCOUNT_ID too.\n" in text
    finally:
        await app.stop()


async def test_a_taken_port_is_one_clear_line_and_leaves_nothing_open(tmp_path: Path) -> None:
    app = await start(tmp_path)
    assert app.api
    try:
        for what, more in (("the API", "listen"), ("the pages' server", "pages")):
            address = f"127.0.0.1:{app.api.port}"
            with pytest.raises(StartError, match=f"{what} can't listen on {address}: the port is taken"):
                await start(tmp_path, **{more: address})
    finally:
        await app.stop()


async def test_a_wrong_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="'4290' is not an address"):
        await start(tmp_path, listen="4290")


async def test_a_wrong_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing"):
        await start(tmp_path, "providers: {}\nnothing: 1\n")


async def test_a_changed_file_is_taken_over_and_a_wrong_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chain429")
    app = await start(tmp_path)
    try:
        assert app.path
        app.path.write_text(CONFIG.replace("default:", "fast: [home/small], default:"))
        assert app.reload()
        assert list(app.config.chains) == ["fast", "default"]
        app.path.write_text("providers: 5")
        assert not app.reload()
        assert list(app.config.chains) == ["fast", "default"]
        assert "the old one goes on" in caplog.text
        app.path.unlink()
        assert not app.reload()
    finally:
        await app.stop()


async def test_a_changed_largest_body_holds_at_once(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b" " * 4_000

    app = await start(tmp_path, CONFIG + "max_body: 2000\n")
    try:
        assert app.path
        assert app.api
        async with aiohttp.ClientSession() as client:
            for status in (413, 400):
                url, token = f"{app.api.url}/v1/chat/completions", {"x-api-key": app.client_token}
                async with client.post(url, data=pieces(), headers=token) as response:
                    assert response.status == status
                app.path.write_text(CONFIG + "max_body: 5000\n")
                assert app.reload()
    finally:
        await app.stop()


async def test_what_was_learned_survives_a_reload(tmp_path: Path) -> None:
    app = await start(tmp_path)
    try:
        now = FakeClock().now()
        for _ in range(3):
            app.ledger.breaker("home").failed(now, "refused")
        app.reload()
        status = app.status(now)
        assert status.chains[0].tiers[0][0].state == "open"
        assert not status.healthy
        assert "No target of chain 'default' is available." in status.problems
        assert app.health()["status"] == "degraded"
    finally:
        await app.stop()


TWO_KEYS = """
providers: {home: {base_url: http://127.0.0.1:9/v1, keys: [env:A, env:B]}}
chains: {default: [home/qwen3]}
"""


async def test_what_speaks_against_a_target_is_cleared_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(TWO_KEYS)
    keys = {"A": "key-a-0123456789", "B": "key-b-0123456789"}
    app = await launch(options(tmp_path, config=tmp_path / "keys.yaml"), keys, FakeClock(), Redactor())
    now = FakeClock().now()
    provider, chain = app.config.providers["home"], app.config.chains["default"]

    def refuse(*targets: Target) -> None:
        for target in targets:
            lease = app.ledger.take(provider, target, Need(), now)
            app.ledger.learn(lease, Outcome.of(Kind.UNAUTHORIZED, "no"), (None, None), now)

    def states() -> list[str]:
        return [target.state for target in app.status(now).chains[0].tiers[0]]

    try:
        refuse(*chain.targets)
        assert states() == ["refused", "refused"]
        assert app.clear("home/qwen3", "home/B") == ("home/B",)
        assert states() == ["refused", "available"]
        assert app.clear("home/qwen3") == ("home/A", "home/B")
        assert states() == ["available", "available"]
        for name in ("home/qwen", "home", "home/", "other/qwen3", ""):
            with pytest.raises(RequestError, match=rf"There is no target '{name}'. There are: home/qwen3."):
                app.clear(name)
        with pytest.raises(RequestError, match=r"'home/qwen3' has no credential 'home/C'. It has: home/A, home/B."):
            app.clear("home/qwen3", "home/C")
        # One that no chain has, but that a client asked for by its name.
        refuse(Entry.of(provider, "qwen").targets[0])
        assert app.clear("home/qwen") == ("home/A",)
    finally:
        await app.stop()


async def test_where_the_pages_are_is_told_for_as_long_as_they_are_there(tmp_path: Path) -> None:
    app = await start(tmp_path)
    assert app.pages
    assert running_pages(tmp_path / "data") == app.pages.url
    again = await start(tmp_path)
    assert again.pages
    assert running_pages(tmp_path / "data") == again.pages.url
    await app.stop()
    assert running_pages(tmp_path / "data") == again.pages.url
    await again.stop()
    assert running_pages(tmp_path / "data") is None


async def test_a_key_that_a_provider_repeats_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(TWO_KEYS)
    keys = {"A": "key-a-0123456789", "B": "key-b-0123456789"}
    app = await launch(options(tmp_path, config=tmp_path / "keys.yaml"), keys, FakeClock(), Redactor())
    try:
        now = FakeClock().now()
        target = app.config.chains["default"].targets[0]
        lease = app.ledger.take(app.config.providers["home"], target, Need(), now)
        app.ledger.learn(lease, Outcome.of(Kind.UNAUTHORIZED, "no key-a-0123456789"), (None, None), now)
        assert app.status(now).chains[0].tiers[0][0].reason == "no [redacted]"
    finally:
        await app.stop()


async def test_metrics_and_the_format_of_the_log_follow_the_configuration(tmp_path: Path) -> None:
    written = io.StringIO()
    handler = log.start(Redactor(), debug=False, to=written)
    app = await start(tmp_path)
    try:
        app.reset_breaker("home")
        assert not written.getvalue().startswith("{")
        assert app.path
        app.path.write_text(CONFIG + "log: {format: json}\nmetrics: {open: true}\n")
        assert app.reload()
        assert app.pages
        async with aiohttp.ClientSession() as client, client.get(f"{app.pages.url}/metrics") as answer:
            assert answer.status == 200
            assert "\nchain429_target_ready{" in await answer.text()
    finally:
        await app.stop()
        log.stop(handler)
    assert json.loads(written.getvalue().splitlines()[-1])["message"] == f"the configuration was reloaded: {app.path}"


async def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    app = await start(tmp_path)
    await app.stop()
    await app.stop()


def spend(app: App, until: float) -> None:
    """Have the first target of the default chain learn that its quota is spent."""
    now = FakeClock().now()
    entry = app.config.chains["default"].tiers[0][0]
    lease = app.ledger.take(entry.provider, entry.targets[0], Need(), now)
    app.ledger.learn(lease, Outcome.of(Kind.QUOTA_SPENT, "no more today", until=until), (None, None), now)


async def test_what_was_learned_survives_a_restart(tmp_path: Path) -> None:
    now = FakeClock().now()
    app = await start(tmp_path)
    spend(app, now + 600)
    before = app.status(now).chains
    await app.stop()
    app = await start(tmp_path)
    try:
        assert app.status(now).chains == before
        (((target,),),) = (chain.tiers for chain in before)
        assert (target.state, target.until) == ("exhausted", now + 600)
    finally:
        await app.stop()


async def test_a_start_that_fails_leaves_what_was_learned_alone(tmp_path: Path) -> None:
    now = FakeClock().now()
    app = await start(tmp_path)
    spend(app, now + 600)
    await app.stop()
    app = await start(tmp_path)
    assert app.api
    try:
        # With another server all that was learned would be forgotten.
        with pytest.raises(StartError, match="the port is taken"):
            await start(tmp_path, CONFIG.replace(":9/", ":7/"), listen=f"127.0.0.1:{app.api.port}")
    finally:
        await app.stop()
    app = await start(tmp_path)
    try:
        assert app.status(now).chains[0].tiers[0][0].until == now + 600
    finally:
        await app.stop()


LISTED = """
providers: {{groq: {{keys: [sim-key-of-the-list], base_url: "{groq}"}}}}
chains: {{default: [groq/openai/gpt-oss-20b, groq/openai/gpt-oss-21b]}}
"""


async def test_what_a_provider_lists_is_known_over_a_reload_and_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        simulator = Simulator(clock=FakeClock())
        await simulator.start()
        stack.push_async_callback(simulator.stop)
        text = LISTED.format(groq=simulator.base_url("groq"))
        app = await start_at(clock, tmp_path, text)
        stack.push_async_callback(app.stop)
        missing = "Groq does not list the model of 'groq/openai/gpt-oss-21b'. Did you mean 'groq/openai/gpt-oss-20b'?"
        assert missing not in app.status(clock.now()).problems
        await clock.advance(3)
        async with asyncio.timeout(30):
            while missing not in app.status(clock.now()).problems:  # noqa: ASYNC110  sockets give no event
                await asyncio.sleep(0)
        listed = app.config
        assert "openai/gpt-oss-20b" in listed.providers["groq"].models.listed
        assert app.reload()
        assert app.config.providers == listed.providers
        assert missing in app.status(clock.now()).problems
        # A hint, and no more: it is still tried.
        assert app.status(clock.now()).chains[0].tiers[1][0].ready
    again = await start_at(clock, tmp_path, text)
    try:
        assert (again.config.providers, again.config.chains) == (listed.providers, listed.chains)
        assert missing in again.status(clock.now()).problems
        assert b"sim-key-of-the-list" not in (tmp_path / "data/chain429.db").read_bytes()
    finally:
        await again.stop()


async def test_what_the_simulator_taught_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    now = FakeClock().now()
    app = await start(tmp_path, None)
    spend(app, now + 600)
    await app.stop()
    assert app.store.kept(LEARNED) is None


async def test_a_provider_that_is_the_gateway_itself_is_passed_over(tmp_path: Path) -> None:
    simulator = Simulator()
    await simulator.start()
    app = await start(tmp_path, f"trust_loopback: true\n{CONFIG}")
    try:
        assert app.api
        (tmp_path / "chain429.yaml").write_text(
            f"""
trust_loopback: true
providers: {{itself: {{base_url: {app.api.url}/v1}}, home: {{base_url: {simulator.base_url("generic")}}}}}
chains: {{default: [itself/default, home/qwen3]}}
"""
        )
        assert app.reload()
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{app.api.url}/v1/chat/completions", json={"model": "default", "messages": HELLO}) as answer,
        ):
            assert answer.status == 200
            assert (answer.headers["x-chain429-provider"], answer.headers["x-chain429-attempts"]) == ("home", "2")
        breaker = app.ledger.breaker("itself")
        assert "go round for ever" in breaker.last_reason
    finally:
        await app.stop()
        await simulator.stop()
