"""A gateway whose configuration is a real file and a real vault, and whose providers are scripted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chain429.config import Config, parse
from chain429.config_file import ConfigFile, Document, Edit
from chain429.engine import Call, Engine, Reply
from chain429.redact import Redactor
from chain429.vault import Vault

ENVIRON = {"GROQ_API_KEY": "gsk_telltale0123456789groq", "HOME_KEY": "home-telltale-0123456789"}
CONFIG = """\
# Mine.
providers:
  groq: {}
  home:   # in the cellar
    base_url: http://127.0.0.1:9/v1
    keys: [env:HOME_KEY]
chains:
  default:
    - groq/openai/gpt-oss-120b   # first
    - home/qwen3
aliases: {gpt-4o: default}
"""


class FakeGateway:
    """See ``chain429.web.admin.gateway.Gateway``. ``answers`` are what providers say to a GET, by URL; ``engine`` runs
    prompts."""

    def __init__(self, folder: Path, text: str = CONFIG) -> None:
        self.path = folder / "chain429.yaml"
        self.path.write_text(text, encoding="utf-8")
        self.vault = Vault(folder / "data")
        self.redact = Redactor()
        self.file = ConfigFile(self.path, self._checked, str)
        self.config = self._checked(text, self.path)
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.reset: list[str] = []
        self.engine: Engine | None = None

    def _checked(self, text: str, path: Path) -> Config:
        return parse(text, ENVIRON, file=str(path), secrets=self.vault.get)

    async def edit(self, change: Edit, version: str | None = None) -> Document:
        document, self.config = self.file.change(change, version)
        return document

    async def replace_config(self, text: str, version: str | None = None) -> Document:
        document, self.config = self.file.replace(text, version)
        return document

    async def get(self, url: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109
        self.asked.append((url, headers))
        return self.answers[url]

    async def ask(self, call: Call) -> Reply:
        assert self.engine
        return await self.engine.run(call)

    def reset_breaker(self, provider: str) -> None:
        self.reset.append(provider)
