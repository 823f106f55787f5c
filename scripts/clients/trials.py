"""What each client is told to do, and what must have come of it.

A trial gives None where all is well, else what is wrong, in one line.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.clients.documented import lines
from scripts.clients.packages import Packages
from scripts.clients.process import Done, environment, run
from scripts.clients.world import World

MODULES = Path(__file__).resolve().parent.parent.parent / "tests" / "clients"
_MADE, _CONTENT = "made.txt", "made by a tool call"
_SECONDS = 60.0
# Bash runs what the page says, then the client.
_THEN = '\nexec "$@"\n'


@dataclass(frozen=True, slots=True)
class Trial:
    """``client`` is its name for people, ``package`` the one that it comes from, ``run`` the trial itself, in a folder
    of its own."""

    client: str
    package: str
    run: Callable[[World, Packages, Path], Awaitable[str | None]]


def trials() -> list[Trial]:
    return [
        Trial("Claude Code", "@anthropic-ai/claude-code", claude_code),
        Trial("Codex", "@openai/codex", codex),
        Trial("Codex as its built-in provider", "@openai/codex", codex_built_in),
        Trial("openai for Node", "openai", _module("sdk_openai.mjs")),
        Trial("anthropic for Node", "@anthropic-ai/sdk", _module("sdk_anthropic.mjs")),
    ]


async def claude_code(world: World, packages: Packages, folder: Path) -> str | None:
    """It makes a file with its tool Bash, looks at it with Read, and says what the model said of that."""
    work = _work(folder)
    command = json.dumps({"command": _shell_command(), "description": "Make a file"})
    prompt = f"call Bash with {command}, then call Read with {json.dumps({'file_path': str(work / _MADE)})}"
    told = lines("Claude Code", "sh", world.url) + _THEN
    asked = ["claude", "-p", prompt, "--allowedTools", "Bash", "Read", "--output-format", "json"]
    done = await _run(["bash", "-c", told, "bash", *asked], world, packages, folder, work)
    if complaint := done.complaint():
        return complaint
    try:
        result = json.loads(done.out)
    except ValueError:
        return f"it printed no JSON: {done.out[:200]!r}"
    if result.get("is_error") or result.get("num_turns") != 3:
        return f"it ended as {result.get('subtype')!r} after {result.get('num_turns')} turns: {result.get('result')!r}"
    return _final(str(result.get("result"))) or _file(work) or world.fault("messages")


async def codex(world: World, packages: Packages, folder: Path) -> str | None:
    """It makes a file with the shell, prints it, and says what the model said of that."""
    prompt = f"run `{_shell_command()} && cat {_MADE}` in the shell"
    return await _codex("Codex", prompt, world, packages, folder)


async def codex_built_in(world: World, packages: Packages, folder: Path) -> str | None:
    """The same by its tool that runs JavaScript, which is a tool of free text in a namespace, among the input."""
    command = json.dumps(f"{_shell_command()} && cat {_MADE}")
    script = f"const done = await tools.exec_command({{cmd: {command}}}); text(done.output)"
    prompt = f"call functions__exec with {json.dumps({'input': script})}"
    return await _codex("Codex as its built-in provider", prompt, world, packages, folder, CODEX_API_KEY=world.token)


async def _codex(heading: str, prompt: str, world: World, packages: Packages, folder: Path, **more: str) -> str | None:
    work = _work(folder)
    home = folder / "codex"
    home.mkdir()
    (home / "config.toml").write_text(lines(heading, "toml", world.url), encoding="utf-8")
    last = folder / "last-message.txt"
    asked = ["codex", "exec", "--skip-git-repo-check", "--output-last-message", str(last)]
    # Its sandbox needs what containers lack; and what it would report, it has nobody to report to.
    asked += ["--sandbox", "danger-full-access", "-c", "analytics.enabled=false"]
    done = await _run([*asked, prompt], world, packages, folder, work, CODEX_HOME=str(home), **more)
    if complaint := done.complaint():
        return complaint
    if not last.is_file():
        return f"it had no last message: {done.out[-200:]!r}"
    return _final(last.read_text(encoding="utf-8")) or _file(work) or world.fault("responses")


def _module(name: str) -> Callable[[World, Packages, Path], Awaitable[str | None]]:
    """A module of tests/clients, which ends with 0 where all is well. It is told where the gateway is, the token, and
    how the provider behind it is made to fail."""

    async def trial(world: World, packages: Packages, folder: Path) -> str | None:
        # Node looks for packages in the folders above a module, so it has to lie beside them.
        there = packages.folder / f"{world.dialect}_{name}"
        shutil.copyfile(MODULES / name, there)
        control = f"http://127.0.0.1:{world.simulator.port}/control"
        told = {"BASE_URL": world.url, "TOKEN": world.token, "CONTROL": control, "SERVING": world.serving}
        done = await _run(["node", str(there)], world, packages, folder, _work(folder), **told)
        return done.complaint()

    return trial


async def _run(command: Sequence[str], world: World, packages: Packages, folder: Path, work: Path, **more: str) -> Done:
    env = environment(folder, packages.bin, CHAIN429_TOKEN=world.token, **more)
    # The program itself, for the path is the client's.
    program = shutil.which(command[0], path=env["PATH"]) or command[0]
    return await run([program, *command[1:]], cwd=work, env=env, seconds=_SECONDS)


def _work(folder: Path) -> Path:
    work = folder / "work"
    work.mkdir()
    return Path(os.path.realpath(work))


def _shell_command() -> str:
    return f"printf '{_CONTENT}' > {_MADE}"


def _final(text: str) -> str | None:
    """The simulated model repeats what the last tool answered."""
    wanted = "The tool answered:"
    return None if wanted in text and _CONTENT in text else f"its final text is not the model's: {text[:200]!r}"


def _file(work: Path) -> str | None:
    try:
        content = (work / _MADE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return f"its tool call made no {_MADE}"
    return None if content == _CONTENT else f"its tool call made {_MADE} with {content[:100]!r} in it"
