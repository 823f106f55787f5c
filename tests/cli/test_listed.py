from __future__ import annotations

import subprocess
import sys

import click
import pytest

from chain429 import __version__
from chain429.cli import main
from tests.cli.running import run

CONTEXT = click.Context(main, info_name="chain429")
COMMANDS = main.list_commands(CONTEXT)


def test_the_version() -> None:
    assert run("version") == (0, f"chain429 {__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_is_listed_with_its_first_sentence(name: str) -> None:
    code, text = run(name, "--help")
    assert code == 0
    assert text.startswith(f"Usage: main {name}")
    command = main.get_command(CONTEXT, name)
    assert command
    assert command.help
    assert command.name == name
    first = " ".join(command.help.partition("\n\n")[0].split())
    listed = " ".join(run("--help")[1].split())
    assert f" {name} {first} " in f"{listed} "


def test_a_command_that_there_is_not() -> None:
    code, text = run("serf")
    assert code == 2
    assert "No such command 'serf'" in text


def test_help_waits_for_nothing_that_only_commands_need() -> None:
    program = """
import sys
from chain429.cli import main
for arguments in (["--help"], ["version"]):
    main(arguments, standalone_mode=False)
print(sorted({"aiohttp", "asyncio", "mitmproxy", "peewee", "pydantic", "rich", "yaml"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
