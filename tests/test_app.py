"""Finding, building, reloading and stopping, without mitmproxy."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from chain429.app import App, Options, banner, data_folder, find_config, launch, templates_folder
from chain429.errors import ConfigError, StartError
from chain429.redact import Redactor
from tests.fakes import FakeClock

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
    assert (templates_folder() / "index.html").is_file()


async def start(folder: Path, text: str | None = CONFIG, **more: Path | str) -> App:
    path = folder / "chain429.yaml"
    if text is not None:
        path.write_text(text)
        more["config"] = path
    environ = {"XDG_CONFIG_HOME": str(folder / "none")}
    return await launch(options(folder, **more), environ, FakeClock(), Redactor())


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


async def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    app = await start(tmp_path)
    await app.stop()
    await app.stop()
