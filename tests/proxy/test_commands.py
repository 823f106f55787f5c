"""The commands, called as mitmweb calls them: with texts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons

from chain429.app import App
from chain429.proxy.commands import Commands, table
from chain429.routing.limits import Need
from chain429.routing.outcome import Kind, Outcome
from chain429.routing.status import ChainStatus, LimitStatus, TargetStatus
from chain429.routing.window import Window
from tests.fakes import FakeClock
from tests.test_app import start_at

CONFIG = """
providers: {home: {base_url: http://127.0.0.1:9/v1}}
chains: {default: [home/qwen3], fast: [home/qwen3]}
proxy: {hosts: {api.openai.com: default, api.anthropic.com: observe, chain429.internal: }}
"""
AS_CONFIGURED = {"api.openai.com": "default", "api.anthropic.com": "observe", "chain429.internal": ""}

NOW = FakeClock().now()

Call = Callable[..., Any]


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    app = await start_at(FakeClock(), tmp_path, CONFIG)
    yield app
    await app.stop()


@pytest.fixture
async def call(app: App) -> AsyncIterator[Call]:
    with taddons.context(Commands(lambda: app, FakeClock())) as context:

        def call(name: str, *arguments: str) -> Any:
            return context.master.commands.call_strings(f"chain429.{name}", list(arguments))

        yield call


async def test_limits_are_listed_and_a_cooldown_is_cleared(app: App, call: Call) -> None:
    (target,) = app.config.chains["default"].targets
    lease = app.ledger.take(app.config.providers["home"], target, Need(), NOW)
    refused = Outcome.of(Kind.RATE_LIMITED, "too many requests", status=429, until=NOW + 20)
    app.ledger.learn(lease, refused, (None, None), NOW)
    titles, row = call("limits")
    assert titles == ["target", "key", "state", "back in", "left"]
    assert row[:4] == ["home/qwen3", "home/no-key", "cooling: too many requests", "0:00:20"]
    assert call("clear", "home/qwen3") == "home/qwen3 is cleared, with home/no-key"
    assert call("limits")[1][2:4] == ["available", ""]


def test_a_row_says_what_is_left_and_a_target_of_several_chains_has_one() -> None:
    limits = (
        LimitStatus("requests", Window.MINUTE, 1000, 50, 950, None, NOW + 60, "reported"),
        LimitStatus("tokens", Window.DAY, None, 300, None, None, None, "counted"),
    )
    target = TargetStatus("p", "m", "p/k", "tracking", "", NOW + 86_400.5, limits)
    chains = [ChainStatus("default", ((target,),)), ChainStatus("fast", ((target,),))]
    assert table(chains, NOW)[1:] == [
        ["p/m", "p/k", "tracking", "1 day, 0:00:01", "950 of 1,000 requests per minute; used: 300 tokens in a day"]
    ]


async def test_the_chain_of_covered_hosts_is_switched_until_the_configuration_is_loaded_anew(
    app: App, call: Call
) -> None:
    assert call("chain", "fast") == "api.openai.com, chain429.internal: chain fast"
    assert app.config.proxy_hosts == dict.fromkeys(AS_CONFIGURED, "fast") | {"api.anthropic.com": "observe"}
    assert call("chain", "fast", "api.anthropic.com") == "api.anthropic.com: chain fast"
    assert call("chain", "-", "api.openai.com") == "api.openai.com: as configured"
    assert app.config.proxy_hosts == {
        "api.openai.com": "default",
        "api.anthropic.com": "fast",
        "chain429.internal": "fast",
    }
    app.reload()
    assert app.config.proxy_hosts == AS_CONFIGURED


async def test_what_there_is_not_is_said_with_what_there_is(call: Call) -> None:
    for command, error in (
        (["clear", "home/gemma"], "There is no target 'home/gemma'. There are: home/qwen3."),
        (["chain", "slow"], "There is no chain 'slow'. There are: default, fast."),
        (["chain", "fast", "example.com"], "The host 'example.com' is not covered. Covered are: api.openai.com, "),
    ):
        with pytest.raises(exceptions.CommandError) as raised:
            call(*command)
        assert str(raised.value).startswith(error)


async def test_without_a_gateway_there_is_nothing_to_command() -> None:
    with (
        taddons.context(Commands(lambda: None, FakeClock())) as context,
        pytest.raises(exceptions.CommandError, match="chain429 is not running"),
    ):
        context.master.commands.call_strings("chain429.limits", [])
