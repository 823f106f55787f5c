"""The command line as a test calls it, and a gateway for it to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from click.testing import CliRunner

from chain429.app import App, Options, launch
from chain429.cli import main
from chain429.redact import Redactor
from tests.fakes import FakeClock


def run(*arguments: str, **environ: str) -> tuple[int, str]:
    """The exit status, and what was said: on stdout and on stderr."""
    result = CliRunner().invoke(main, arguments, env={"XDG_CONFIG_HOME": "/nowhere", **environ})
    return result.exit_code, result.output


_CONFIG = """
providers:
  lab: {base_url: http://127.0.0.1:9/v1, keys: [{key: env:KEY, rpm: 20}]}
  home: {base_url: http://127.0.0.1:9/v1}
chains:
  default: [lab/openai/gpt-oss-120b, home/qwen3]
  other: [home/qwen3]
"""


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[App]:
    """One that runs, and whose data is in ``folder``."""
    path = folder / "quota.yaml"
    path.write_text(_CONFIG)
    options = Options(path, folder, "127.0.0.1:0", "127.0.0.1:0")
    app = await launch(options, {"KEY": "key-0123456789"}, FakeClock(), Redactor())
    try:
        yield app
    finally:
        await app.stop()
