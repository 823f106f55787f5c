"""``requests``, ``usage`` and ``status``, with a gateway that runs and without."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from chain429.cli.words import local
from chain429.redact import Redactor
from chain429.store.records import AttemptRecord, RequestRecord
from chain429.store.writer import Store
from tests.cli.running import gateway, run
from tests.fakes import FakeClock

NOW = FakeClock().now()
SERVED = RequestRecord(
    "req_1", NOW - 60, "chat", "default", "gpt-4o", "home", "qwen3", "home/no-key", 200, "served", True, 1200, 85, 1.25,
    0.25, "tests", "",
    (
        AttemptRecord("lab", "openai/gpt-oss-120b", "lab/KEY", "rate_limited", 429, "slow\x1b[2Jdown", 0.08, NOW),
        AttemptRecord("home", "qwen3", "home/no-key", "served", 200, "", 1.1),
    ),
)  # fmt: skip
REFUSED = RequestRecord(
    "req_2", NOW - 30, "messages", "other", "nonsense", None, None, None, 400, "refused", False, None, None, 0.002,
    None, "tests", "There is no model 'nonsense'.", (),
)  # fmt: skip
SPAN = ("--since", str(NOW - 7200), "--until", str(NOW + 3600))
QUESTIONS = [
    ("requests",),
    ("requests", "--since", str(NOW - 40)),
    ("requests", "--until", str(NOW - 40)),
    ("requests", "--chain", "default", "--provider", "lab", "--outcome", "served", "--status", "200"),
    ("requests", "--text", "nonsense", "--limit", "1"),
    ("requests", "--before", "1"),
    ("requests", "req_1"),
    *[("usage", "--by", by, *SPAN) for by in ("provider", "client", "day")],
]


async def ask(data: Path, *command: str) -> tuple[int, str]:
    return await asyncio.to_thread(run, *command, "--data-dir", str(data))


def write(data: Path, *records: RequestRecord) -> None:
    store = Store(data / "chain429.db", FakeClock(), Redactor())
    store.open()
    for record in records:
        store.record(record)
    store.close()


async def test_the_answers_are_the_same_with_a_gateway_and_without(tmp_path: Path) -> None:
    async def answers() -> list[Any]:
        found = []
        for question in QUESTIONS:
            code, text = await ask(tmp_path, *question, "--json")
            assert code == 0, text
            found.append(json.loads(text))
        return found

    async with gateway(tmp_path) as app:
        app.store.record(SERVED)
        app.store.record(REFUSED)
        await asyncio.to_thread(app.store.flush)
        assert await ask(tmp_path, "requests", "req_3") == (1, "chain429: There is no request of that id in the log.\n")
        asked = await answers()
    assert await ask(tmp_path, "requests", "req_3") == (1, "chain429: There is no request of that id in the log.\n")
    assert await answers() == asked
    ids = [[request["id"] for request in found["requests"]] for found in asked[:6]]
    assert ids == [["req_2", "req_1"], ["req_2"], ["req_1"], ["req_1"], ["req_2"], []]
    assert [attempt["status"] for attempt in asked[6]["attempts"]] == [429, 200]
    assert [(sums["name"], sums["requests"]) for sums in asked[7]["usage"]] == [("", 1), ("home", 1), ("lab", 0)]


def test_requests_and_one_of_them(tmp_path: Path) -> None:
    write(tmp_path, SERVED, REFUSED)
    code, text = run("requests", "--data-dir", str(tmp_path))
    assert code == 0
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "TIME OUTCOME CHAIN SERVED BY, OR WHY NOT TOOK TRIES TOKENS IN OUT COST ID",
        f"{local(NOW - 30)} refused 400 other There is no model 'nonsense'. 2 ms 0 - - - req_2",
        f"{local(NOW - 60)} served 200 default home/qwen3 1.2 s 2 1,200 85 - req_1",
    ]
    assert run("requests", "req_1", "--data-dir", str(tmp_path)) == (
        0,
        "request  req_1\n"
        f"at       {local(NOW - 60)}, by tests\n"
        "asked    gpt-4o, of the chain default (chat)\n"
        "ended    served, HTTP 200\n"
        "by       home/qwen3\n"
        "took     1.2 s, the first token after 250 ms\n"
        "tokens   1,200 in, 85 out\n"
        "cost     -\n"
        "\n"
        "TARGET                   KEY          OUTCOME       STATUS   TOOK  WHY\n"
        "lab/openai/gpt-oss-120b  lab/KEY      rate limited     429  80 ms  slow�[2Jdown\n"
        "home/qwen3               home/no-key  served           200  1.1 s\n",
    )
    nothing = run("requests", "--chain", "none", "--data-dir", str(tmp_path))
    assert nothing == (0, "No such request is in the log.\n")


def test_usage(tmp_path: Path) -> None:
    write(tmp_path, SERVED, REFUSED)
    code, text = run("usage", "--data-dir", str(tmp_path), *SPAN)
    assert code == 0
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["nobody", "1", "0", "0", "0", "0", "0", "0", "-", "-", "-", "-"],
        ["home", "1", "1", "0", "1,200", "85", "0", "0", "-", "-", "2.0", "s", "2.0", "s"],
        ["lab", "0", "0", "1", "0", "0", "0", "0", "-", "-", "-", "-"],
        ["1", "served", "without", "a", "known", "price", "are", "not", "in", "COST", "and", "SAVED."],
    ]
    code, text = run("usage", "--data-dir", str(tmp_path), "--since", str(NOW + 7200), "--until", str(NOW + 9000))
    assert (code, text) == (0, f"Nothing was used since {local(NOW + 7200)}.\n")


async def test_status_of_a_gateway(tmp_path: Path) -> None:
    async with gateway(tmp_path) as app:
        app.store.record(SERVED)
        await asyncio.to_thread(app.store.flush)
        assert app.pages
        code, text = await ask(tmp_path, "status")
        assert (code, text.splitlines()) == (
            0,
            [
                f"running   since {local(NOW)}, version {app.status(NOW).version}",
                f"pages     {app.pages.url}",
                "healthy   yes",
                "last day  1 requests: 1 served, 0 failed",
                "          half within 1.2 s, 95 % within 1.2 s",
                "",
                "CHAIN     READY  NEXT                     MORE IN",
                "default  2 of 2  lab/openai/gpt-oss-120b        -",
                "other    1 of 1  home/qwen3                     -",
                "",
                "PROVIDER  TIER   BREAKER",
                "lab       local  closed",
                "home      local  closed",
            ],
        )
        code, text = await ask(tmp_path, "status", "--json")
        found = json.loads(text)
        assert (code, found["running"], found["gateway"]["healthy"], found["day"]["served"]) == (0, True, True, 1)


def test_status_where_none_runs(tmp_path: Path) -> None:
    write(tmp_path, SERVED)
    code, text = run("status", "--data-dir", str(tmp_path))
    assert code == 1
    assert text.splitlines()[:3] == [
        "running   no",
        f"          no gateway runs with its data in {tmp_path}; 'chain429 serve' starts one",
        "last day  1 requests: 1 served, 0 failed",
    ]


@pytest.mark.parametrize("command", ["requests", "usage"])
def test_why_nothing_can_be_told(tmp_path: Path, command: str) -> None:
    why = f"no gateway runs with its data in {tmp_path}; 'chain429 serve' starts one"
    asked = (command, "--data-dir", str(tmp_path))
    assert run(*asked) == (1, f"chain429: {why}; and there is no log in {tmp_path} yet\n")
    file = tmp_path / "chain429.db"
    file.write_text("this was never a database, but it is long enough to be taken for one " * 20)
    assert run(*asked) == (1, f"chain429: the log {file} can't be read: file is not a database\n")
    code, text = run(*asked, "--since", "yesterday")
    assert code == 2
    assert "'yesterday' is not a time such as 90m, 24h, 7d, 2026-11-01 or '2026-11-01 18:30'." in text
