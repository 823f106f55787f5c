"""The addon's options and its life, in mitmproxy's context but without a proxy; the rest is in tests/integration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from mitmproxy import exceptions, http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.save import Save
from mitmproxy.addons.termlog import TermLog
from mitmproxy.test import taddons

from chain429.proxy.addon import Addon, _version

CONFIG = """
providers: {{home: {{base_url: http://127.0.0.1:1/v1}}}}
chains: {{default: [home/{model}]}}
proxy: {{hosts: [{host}]}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "chain429.yaml"
    path.write_text(CONFIG.format(model="one", host="one.example"), encoding="utf-8")
    return path


@pytest.fixture
def addon(config: Path) -> Addon:
    return Addon({"HOME": str(config.parent), "XDG_DATA_HOME": str(config.parent), "CHAIN429_CONFIG": str(config)})


@pytest.fixture
async def context(addon: Addon) -> AsyncIterator[taddons.context]:
    with taddons.context(Proxyserver(), Save(), addon) as context:
        context.options.update(chain429_listen="127.0.0.1:0", chain429_pages="127.0.0.1:0")
        yield context


async def models(addon: Addon) -> list[str]:
    """What the API lists, asked as the proxy would ask."""
    app = addon.app
    assert app
    assert app.api
    headers = {"authorization": f"Bearer {app.client_token}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{app.api.url}/v1/models") as answer:
        return [row["id"] for row in (await answer.json())["data"]]


def test_loading_makes_mitmproxy_fit(context: taddons.context) -> None:
    assert context.options.connection_strategy == "lazy"
    assert context.options.listen_host == "127.0.0.1"
    assert context.options.showhost is True


async def test_it_runs_from_running_to_done(addon: Addon, context: taddons.context) -> None:
    await addon.running()
    assert "home/one" in await models(addon)
    assert addon.app
    assert addon.app.api
    url = addon.app.api.url
    stopped = addon.done()
    assert stopped
    await stopped
    assert addon.app is None
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)


class Errors:
    """An addon that sees what went wrong."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def error(self, flow: http.HTTPFlow) -> None:
        assert flow.error
        self.messages.append(flow.error.msg)


async def test_attempts_are_flows_while_somebody_looks(addon: Addon, context: taddons.context, tmp_path: Path) -> None:
    await addon.running()
    errors = Errors()
    context.master.addons.add(errors)
    assert addon.app
    assert addon.app.api
    url = f"{addon.app.api.url}/v1/chat/completions"
    headers = {"authorization": f"Bearer {addon.app.client_token}", "x-chain429-patience": "0"}
    body = {"model": "home/one", "messages": [{"role": "user", "content": "Hello"}]}
    seen = []
    async with aiohttp.ClientSession(headers=headers) as session:
        for file in (None, str(tmp_path / "flows"), None):
            context.options.update(save_stream_file=file)
            async with session.post(url, json=body) as answer:
                assert answer.status >= 500
            seen.append(len(errors.messages))
    stopped = addon.done()
    assert stopped
    await stopped
    assert (seen[0], len(errors.messages)) == (0, 1)
    assert errors.messages[0].startswith("no connection: ")


async def test_a_reloaded_script_waits_for_the_ports_of_its_predecessor(
    addon: Addon, context: taddons.context, config: Path
) -> None:
    await addon.running()
    assert addon.app
    assert addon.app.api
    port = addon.app.api.port
    context.options.update(chain429_listen=f"127.0.0.1:{port}")
    # As mitmproxy does it: nothing of this is awaited.
    successor = Addon({"CHAIN429_CONFIG": str(config), "XDG_DATA_HOME": str(config.parent)})
    left = addon.done()
    with taddons.context(Proxyserver(), Save(), successor) as second:
        second.options.update(chain429_listen=f"127.0.0.1:{port}", chain429_pages="127.0.0.1:0")
        started = successor.running()
        assert successor.app is None
        await started
        assert "home/one" in await models(successor)
        stopped = successor.done()
    assert left
    assert stopped
    await left
    await stopped


async def test_another_configuration_is_taken_over_or_refused(
    addon: Addon, context: taddons.context, config: Path, tmp_path: Path
) -> None:
    await addon.running()
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(CONFIG.format(model="two", host="two.example"), encoding="utf-8")
    bad.write_text("providers: {home: {base_uri: x}}\nchains: {}\n", encoding="utf-8")
    with pytest.raises(exceptions.OptionsError, match=r"bad\.yaml:1: providers\.home\.base_uri: is not a known key"):
        context.options.update(chain429_config=str(bad))
    assert context.options.chain429_config == ""
    assert "home/one" in await models(addon)
    context.options.update(chain429_config=str(good))
    assert "home/two" in await models(addon)
    stopped = addon.done()
    assert stopped
    await stopped


async def test_only_what_inspect_can_be_is_taken(
    addon: Addon, context: taddons.context, caplog: pytest.LogCaptureFixture
) -> None:
    words = "chain429_inspect is 'maybe'; it can be auto, always, never"
    context.options.update(chain429_inspect="maybe")
    await addon.running()
    assert addon.app is None
    assert caplog.messages[-1] == f"chain429 can't start: {words}"
    stopped = addon.done()
    assert stopped
    await stopped


async def test_a_later_value_that_inspect_can_not_be_leaves_the_old_one(addon: Addon, context: taddons.context) -> None:
    await addon.running()
    context.options.update(chain429_inspect="never")
    with pytest.raises(exceptions.OptionsError, match="chain429_inspect is 'maybe'; it can be auto, always, never"):
        context.options.update(chain429_inspect="maybe")
    assert context.options.chain429_inspect == "never"
    stopped = addon.done()
    assert stopped
    await stopped


async def test_what_is_wrong_is_said_once_and_ends_mitmdump(
    addon: Addon, context: taddons.context, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await asyncio.to_thread(config.write_text, "providers: {home: {base_uri: x}}\nchains: {}\n", encoding="utf-8")
    terminal = TermLog()
    context.master.addons.add(terminal)
    try:
        with pytest.raises(SystemExit) as exited:
            await addon.running()
    finally:
        terminal.uninstall()
    stopped = addon.done()
    assert stopped
    await stopped
    assert exited.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("base_uri") == 1
    assert "Traceback" not in err


async def test_under_an_interface_of_its_own_mitmproxy_gets_the_log_without_keys(
    addon: Addon, context: taddons.context, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        await addon.running()
        assert addon.app
        logging.getLogger("chain429.test").warning("the token is %s", addon.app.client_token)
        stopped = addon.done()
        assert stopped
        await stopped
    assert "the token is [redacted]" in caplog.messages
    assert all(record.name.startswith("mitmproxy.") for record in caplog.records if "token is" in record.message)
    assert capsys.readouterr() == ("", "")


async def test_done_without_a_start_does_nothing(addon: Addon, context: taddons.context) -> None:
    assert addon.done() is None


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["chain429_debug=true", "chain429_listen=127.0.0.1:0"], None),
        (["chain429_debug=perhaps"], 'must be "true", "false"'),
        (
            ["chain429_listen=127.0.0.1:0", "chain429_listen=127.0.0.1:1"],
            "Received multiple values for chain429_listen",
        ),
        (["chain429_confg=x"], "there is no option chain429_confg; there are: chain429_allow_local, chain429_config, "),
        (["anothers_option=x"], None),
    ],
)
async def test_options_that_are_set_before_they_exist(
    context: taddons.context, given: list[str], complaint: str | None
) -> None:
    with taddons.context(Proxyserver()) as early:
        early.options.set(*given, defer=True)
        addon = Addon({})
        early.master.addons.add(addon)
        wrong = addon.wrong
        assert (wrong is None) if complaint is None else (complaint in (wrong or ""))
        # mitmproxy's own next step.
        early.options.process_deferred()
        assert early.options.chain429_debug is (given[0] == "chain429_debug=true")


@pytest.mark.parametrize(
    ("text", "parts"), [("11.0.2", (11, 0, 2)), ("12.2.2", (12, 2, 2)), ("13.0.0.dev", (13, 0, 0)), ("12.10", (12, 10))]
)
def test_versions_compare_as_numbers(text: str, parts: tuple[int, ...]) -> None:
    assert _version(text) == parts
