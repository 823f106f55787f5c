from __future__ import annotations

import asyncio
import json
from pathlib import Path

from chain429.app import App
from chain429.routing.headers import Reading
from chain429.routing.limits import Need
from chain429.routing.outcome import SERVED, Kind, Outcome
from chain429.routing.window import Window
from tests.cli.running import gateway, run
from tests.fakes import FakeClock


def call(app: App, provider: str, outcome: Outcome, tokens: int, *readings: Reading) -> None:
    now = FakeClock().now()
    target = next(target for target in app.config.chains["default"].targets if target.provider == provider)
    lease = app.ledger.take(app.config.providers[provider], target, Need(), now)
    app.ledger.observe(lease, readings, now)
    app.ledger.learn(lease, outcome, (tokens, 0), now)


async def test_quota_is_a_table_of_what_is_left(tmp_path: Path) -> None:
    now = FakeClock().now()
    async with gateway(tmp_path) as app:
        report = Reading("requests", Window.DAY, 1000, 1, now + 3 * 3600 + 720)
        call(app, "lab", SERVED, 1500, report)
        call(app, "home", Outcome.of(Kind.UNAUTHORIZED, "it refuses\tthe key"), 0)
        code, text = await asyncio.to_thread(run, "quota", CHAIN429_DATA_DIR=str(tmp_path))
        assert code == 0
        assert text.splitlines() == [
            "chain default",
            "TARGET                      KEY          STATE                    LIMIT                 SIZE   USED  LEFT  ALL BACK IN  KNOWN",  # noqa: E501
            "1. lab/openai/gpt-oss-120b  lab/KEY      tracking                 requests per minute     20      1    19         61 s  configured",  # noqa: E501
            "                                                                  requests per day     1,000    999     1   3 h 12 min  reported",  # noqa: E501
            "                                                                  tokens per minute        ?  1,500     ?         61 s  counted",  # noqa: E501
            "                                                                  tokens per day           ?  1,500     ?   24 h 1 min  counted",  # noqa: E501
            "2. home/qwen3               home/no-key  refused, back in 10 min",
            "2. home/qwen3 (home/no-key): it refuses�the key",
            "",
            "chain other",
            "TARGET         KEY          STATE                    LIMIT  SIZE  USED  LEFT  ALL BACK IN  KNOWN",
            "1. home/qwen3  home/no-key  refused, back in 10 min",
            "1. home/qwen3 (home/no-key): it refuses�the key",
        ]


async def test_quota_of_one_chain_and_as_json(tmp_path: Path) -> None:
    async with gateway(tmp_path) as app:
        call(app, "lab", SERVED, 1500)
        command = ["quota", "--data-dir", str(tmp_path), "--json", "--chain"]
        code, text = await asyncio.to_thread(run, *command, "default")
        assert code == 0
        found = json.loads(text)
        assert [chain["name"] for chain in found["chains"]] == ["default"]
        assert found["now"] == FakeClock().now()
        assert found["chains"][0]["tiers"][0][0]["limits"][0]["left"] == 19
        wrong = await asyncio.to_thread(run, *command, "defualt")
        assert wrong == (1, "chain429: there is no chain 'defualt'; there are: default, other\n")


async def test_quota_says_in_a_line_why_it_can_tell_nothing(tmp_path: Path) -> None:
    async def said() -> str:
        code, text = await asyncio.to_thread(run, "quota", CHAIN429_DATA_DIR=str(tmp_path))
        assert code == 1
        return text.removeprefix("chain429: ")

    assert await said() == f"no gateway runs with its data in {tmp_path}; 'chain429 serve' starts one\n"
    async with gateway(tmp_path) as app:
        assert app.pages
        url = app.pages.url
        token = (tmp_path / "admin-token").read_text()
        (tmp_path / "admin-token").write_text("another")
        taken = f"the admin token in {tmp_path / 'admin-token'}\n"
        assert await said() == f"the gateway at {url} does not take {taken}"
        (tmp_path / "admin-token").unlink()
        assert await said() == f"the admin token can't be read from {tmp_path / 'admin-token'}\n"
        (tmp_path / "admin-token").write_text(token)
        # Another program has the port now.
        assert app.api
        (tmp_path / "pages-url").write_text(app.api.url)
        assert await said() == f"the gateway at {app.api.url} does not take {taken}"
    (tmp_path / "pages-url").write_text(url)
    assert await said() == f"no gateway answers at {url} any more; 'chain429 serve' starts one\n"
