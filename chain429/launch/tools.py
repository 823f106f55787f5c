"""What each tool's settings must say so that it asks the gateway, and where these are. Nothing is changed here.

``docs/clients.md`` tells the same to people, with the versions that it was tried with.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from chain429.errors import StartError
from chain429.launch.formats import Item, Kind, Place


class Tool(StrEnum):
    CLAUDE_CODE = "claude-code"
    CODEX = "codex"
    AIDER = "aider"
    OPENCODE = "opencode"
    CONTINUE = "continue"
    LLM = "llm"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True)
class Gateway:
    """``url`` is the API's without ``/v1``; ``token`` lets clients in and is kept in ``token_file``. ``model`` names a
    chain, an alias or ``provider/model``; None leaves the tool to its own names, where it has some."""

    url: str
    token: str
    token_file: Path
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """One file: what it must say in which places. ``first`` is what it begins with where there is none."""

    path: Path
    kind: Kind
    values: tuple[tuple[Place, Any], ...]
    first: str = ""


@dataclass(frozen=True, slots=True)
class Setup:
    """``then`` is what is left to do for people, in one line."""

    files: tuple[Settings, ...]
    then: str


def setup_of(tool: Tool, gateway: Gateway, environ: Mapping[str, str], home: Path, platform: str) -> Setup:
    """``platform`` as ``sys.platform``. Raises StartError where the tool can't be told so."""
    base = f"{gateway.url}/v1"
    model = gateway.model or "default"
    if tool is Tool.CLAUDE_CODE:
        return _claude_code(gateway, Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude"))
    if tool is Tool.CODEX:
        return _codex(gateway, Path(environ.get("CODEX_HOME") or home / ".codex"))
    if tool is Tool.AIDER:
        values: dict[str, Any] = {
            "openai-api-base": base,
            "openai-api-key": gateway.token,
            "model": f"openai/{model}",
            "show-model-warnings": False,
        }
        settings = Settings(
            home / ".aider.conf.yml", Kind.YAML, tuple(((name,), value) for name, value in values.items())
        )
        return Setup((settings,), "start aider as ever")
    if tool is Tool.OPENCODE:
        return _opencode(gateway, _config_home(environ, home) / "opencode")
    if tool is Tool.CONTINUE:
        return _continue(gateway, Path(environ.get("CONTINUE_GLOBAL_DIR") or home / ".continue"))
    if tool is Tool.LLM:
        return _llm(gateway, _llm_folder(environ, home, platform))
    return _openai(gateway, environ, home)


def _config_home(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config")


def _claude_code(gateway: Gateway, folder: Path) -> Setup:
    values = {"ANTHROPIC_BASE_URL": gateway.url, "ANTHROPIC_AUTH_TOKEN": gateway.token}
    if gateway.model:
        values |= {"ANTHROPIC_MODEL": gateway.model, "ANTHROPIC_DEFAULT_HAIKU_MODEL": gateway.model}
    settings = Settings(
        folder / "settings.json", Kind.JSON, tuple((("env", name), value) for name, value in values.items())
    )
    return Setup((settings,), "start claude as ever")


def _codex(gateway: Gateway, folder: Path) -> Setup:
    provider = {
        "name": "chain429",
        "base_url": f"{gateway.url}/v1",
        "wire_api": "responses",
        # A key of its own would have to be in the environment.
        "http_headers": {"x-chain429-token": gateway.token},
    }
    values: tuple[tuple[Place, Any], ...] = (
        (("model",), gateway.model or "default"),
        (("model_provider",), "chain429"),
        (("model_providers", "chain429"), provider),
    )
    return Setup((Settings(folder / "config.toml", Kind.TOML, values),), "start codex as ever")


def _opencode(gateway: Gateway, folder: Path) -> Setup:
    # Both are read; what is in this one wins.
    commented = folder / "opencode.jsonc"
    path = commented if commented.is_file() else folder / "opencode.json"
    model = gateway.model or "default"
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "chain429",
        "options": {"baseURL": f"{gateway.url}/v1", "apiKey": gateway.token},
        "models": {model: {"limit": {"context": 131072, "output": 8192}}},
    }
    values: tuple[tuple[Place, Any], ...] = (
        (("model",), f"chain429/{model}"),
        (("provider", "chain429"), provider),
    )
    return Setup((Settings(path, Kind.JSON, values),), "start opencode as ever")


def _continue(gateway: Gateway, folder: Path) -> Setup:
    path, old = folder / "config.yaml", folder / "config.json"
    if old.is_file() and not path.is_file():
        raise StartError(f"Continue would no longer read {old} once there is a {path.name}: convert it first")
    model = {
        "name": "chain429",
        "provider": "openai",
        "model": gateway.model or "default",
        "apiBase": f"{gateway.url}/v1",
        "apiKey": gateway.token,
        "capabilities": ["tool_use"],
    }
    first = "name: My settings\nversion: 0.0.1\nschema: v1\n"
    settings = Settings(path, Kind.YAML, ((("models", Item("name", "chain429")), model),), first)
    return Setup((settings,), "choose the model chain429 in Continue")


def _llm_folder(environ: Mapping[str, str], home: Path, platform: str) -> Path:
    if environ.get("LLM_USER_PATH"):
        return Path(environ["LLM_USER_PATH"])
    if platform == "darwin":
        return home / "Library" / "Application Support" / "io.datasette.llm"
    if platform == "win32" and environ.get("APPDATA"):
        return Path(environ["APPDATA"]) / "io.datasette.llm"
    return _config_home(environ, home) / "io.datasette.llm"


def _llm(gateway: Gateway, folder: Path) -> Setup:
    model = {
        "model_id": "chain429",
        "model_name": gateway.model or "default",
        "api_base": f"{gateway.url}/v1",
        "api_key_name": "chain429",
        "supports_tools": True,
    }
    models = Settings(folder / "extra-openai-models.yaml", Kind.YAML_LIST, (((Item("model_id", "chain429"),), model),))
    keys = Settings(folder / "keys.json", Kind.JSON, ((("chain429",), gateway.token),))
    return Setup((models, keys), "ask it: llm -m chain429 Hello")


def _openai(gateway: Gateway, environ: Mapping[str, str], home: Path) -> Setup:
    """The SDKs read the environment only, so it is set where the user's shell begins."""
    if gateway.model:
        raise StartError("OpenAI's SDKs are told the model with each request: leave --model out")
    shell = Path(environ.get("SHELL", "")).name
    base, token = shlex.quote(f"{gateway.url}/v1"), f"cat {shlex.quote(str(gateway.token_file))}"
    if shell == "fish":
        path = _config_home(environ, home) / "fish" / "conf.d" / "chain429.fish"
        lines = f"set -gx OPENAI_BASE_URL {base}\nset -gx OPENAI_API_KEY ({token})\n"
    else:
        path = Path(environ.get("ZDOTDIR") or home) / ".zshrc" if shell == "zsh" else home / ".bashrc"
        lines = f'export OPENAI_BASE_URL={base}\nexport OPENAI_API_KEY="$({token})"\n'
    return Setup((Settings(path, Kind.SHELL, ((("chain429",), lines),)),), f"open a new shell, or: source {path}")
