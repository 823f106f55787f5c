"""What scripts/test-clients believes, and what it says when it can't try anything; the clients themselves run there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from scripts.clients.documented import USUAL, lines
from scripts.clients.process import Done, environment, run
from scripts.clients.trials import trials
from scripts.clients.world import SERVING, World, world

ROOT = Path(__file__).resolve().parent.parent
PINNED = json.loads((ROOT / "scripts" / "clients" / "package.json").read_text(encoding="utf-8"))["dependencies"]
LOCK = json.loads((ROOT / "scripts" / "clients" / "package-lock.json").read_text(encoding="utf-8"))["packages"]

PAGE = """
## One
```sh
export URL=http://127.0.0.1:4290/v1
```
## Two
```sh
nothing
```
"""


def test_lines_are_those_of_the_page_with_another_address() -> None:
    assert lines("One", "sh", "http://127.0.0.1:5", PAGE) == "export URL=http://127.0.0.1:5/v1\n"


@pytest.mark.parametrize(("heading", "language"), [("Two", "sh"), ("One", "toml"), ("On", "sh"), ("Three", "sh")])
def test_lines_that_the_page_does_not_have_are_missed(heading: str, language: str) -> None:
    with pytest.raises(LookupError, match=heading):
        lines(heading, language, "http://127.0.0.1:5", PAGE)


@pytest.mark.parametrize(
    ("heading", "language"), [("Claude Code", "sh"), ("Codex", "toml"), ("Codex as its built-in provider", "toml")]
)
def test_the_page_has_the_lines_that_are_tried(heading: str, language: str) -> None:
    assert USUAL in lines(heading, language, USUAL)


def test_every_package_is_pinned_with_a_hash_and_no_place_is_named() -> None:
    locked = {name.removeprefix("node_modules/"): entry for name, entry in LOCK.items() if name}
    assert {name: locked[name]["version"] for name in PINNED} == PINNED
    assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in locked.values())
    assert {trial.package for trial in trials()} == set(PINNED)


async def test_a_program_is_ended_in_time_and_what_it_said_is_kept(tmp_path: Path) -> None:
    env = environment(tmp_path, Path(sys.executable).parent)
    os.mkfifo(tmp_path / "fifo")
    done = await run(["/bin/sh", "-c", "echo begun; read never < fifo"], cwd=tmp_path, env=env, seconds=1)
    assert (done.status, done.out) == (None, "begun\n")
    assert done.complaint() == "ran out of time: …begun"


async def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    env = environment(tmp_path, Path(sys.executable).parent)
    done = await run([sys.executable, "-c", "raise SystemExit('no luck')"], cwd=tmp_path, env=env, seconds=30)
    assert done.complaint() == "ended with status 1: …no luck"
    assert Done(0, "x", "y").complaint() is None


async def ask(there: World, path: str) -> int:
    body = {"model": "default", "max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"authorization": f"Bearer {there.token}", "x-chain429-patience": "0"}
    async with aiohttp.ClientSession() as client, client.post(there.url + path, json=body, headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize("dialect", SERVING)
async def test_the_log_tells_which_way_requests_went(tmp_path: Path, dialect: str) -> None:
    async with world(dialect, tmp_path) as there:
        assert there.fault("messages") == "the request log is empty"
        assert await ask(there, "/v1/messages") == 200
        assert await ask(there, "/v1/messages") == 200
        assert there.fault("messages") is None
        assert "2 of 2 requests went another way" in (there.fault("responses") or "")
        there.simulator.control.script(SERVING[dialect], "401", times=9)
        assert await ask(there, "/v1/messages") == 429
        assert "1 of 3 requests went another way" in (there.fault("messages") or "")


async def test_a_first_request_that_nobody_refused_is_a_fault(tmp_path: Path) -> None:
    async with world("chat", tmp_path) as there:
        there.simulator.control.reset()
        assert await ask(there, "/v1/chat/completions") == 200
        assert "the first request went another way" in (there.fault("chat") or "")


def test_without_node_it_says_that_nothing_was_tried(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.clients"],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [f"{name}: not run: node is not on the path" for name in PINNED]
