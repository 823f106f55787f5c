"""Where each tool's settings are, and that what is put there is what the documentation says."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from chain429.errors import StartError
from chain429.launch.formats import FORMATS, Kind, changed
from chain429.launch.tools import Gateway, Tool, setup_of

DOCS = (Path(__file__).resolve().parent.parent.parent / "docs" / "clients.md").read_text(encoding="utf-8")
GATEWAY = Gateway("http://127.0.0.1:4290", "c429_…", Path("/data/client-token"))
HOME = Path("/home/me")


def files(
    tool: Tool, home: Path = HOME, platform: str = "linux", environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What a tool's files say where there were none."""
    written = {}
    for settings in setup_of(tool, GATEWAY, environ or {}, home, platform).files:
        text = settings.first
        for place, value in settings.values:
            text = changed(FORMATS[settings.kind], text, place, value)
        written[str(settings.path)] = text
    return written


def documented(heading: str, language: str) -> str:
    section = DOCS.split(f"## {heading}\n")[1].split("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, heading
    return found[1]


@pytest.mark.parametrize(
    ("tool", "environ", "paths"),
    [
        (Tool.CLAUDE_CODE, {}, ["/home/me/.claude/settings.json"]),
        (Tool.CLAUDE_CODE, {"CLAUDE_CONFIG_DIR": "/c"}, ["/c/settings.json"]),
        (Tool.CODEX, {}, ["/home/me/.codex/config.toml"]),
        (Tool.CODEX, {"CODEX_HOME": "/c"}, ["/c/config.toml"]),
        (Tool.AIDER, {}, ["/home/me/.aider.conf.yml"]),
        (Tool.OPENCODE, {}, ["/home/me/.config/opencode/opencode.json"]),
        (Tool.OPENCODE, {"XDG_CONFIG_HOME": "/x"}, ["/x/opencode/opencode.json"]),
        (Tool.CONTINUE, {}, ["/home/me/.continue/config.yaml"]),
        (Tool.LLM, {"LLM_USER_PATH": "/l"}, ["/l/extra-openai-models.yaml", "/l/keys.json"]),
        (Tool.OPENAI, {"SHELL": "/bin/bash"}, ["/home/me/.bashrc"]),
        (Tool.OPENAI, {"SHELL": "/bin/zsh", "ZDOTDIR": "/z"}, ["/z/.zshrc"]),
        (Tool.OPENAI, {"SHELL": "/usr/bin/fish"}, ["/home/me/.config/fish/conf.d/chain429.fish"]),
    ],
)
def test_each_tools_files_are_where_it_looks_for_them(tool: Tool, environ: dict[str, str], paths: list[str]) -> None:
    assert list(files(tool, environ=environ)) == paths


@pytest.mark.parametrize(("platform", "folder"), [("linux", ".config"), ("darwin", "Library/Application Support")])
def test_llm_has_a_folder_of_each_systems_own(platform: str, folder: str) -> None:
    assert next(iter(files(Tool.LLM, platform=platform))).startswith(f"/home/me/{folder}/io.datasette.llm/")


def test_codex_is_told_what_is_documented_but_for_the_token() -> None:
    (text,) = files(Tool.CODEX).values()
    told, page = tomllib.loads(text), tomllib.loads(documented("Codex", "toml"))
    provider = told["model_providers"]["chain429"]
    assert provider.pop("http_headers") == {"x-chain429-token": GATEWAY.token}
    # That is how the page has it: in the environment.
    del page["model_providers"]["chain429"]["env_key"]
    assert told == page


def test_opencode_is_told_what_is_documented() -> None:
    (text,) = files(Tool.OPENCODE).values()
    page = documented("opencode", "json").replace("{env:CHAIN429_TOKEN}", GATEWAY.token)
    assert json.loads(text) == json.loads(page)


def test_continue_and_llm_are_told_what_is_documented() -> None:
    (text,) = files(Tool.CONTINUE).values()
    assert yaml.safe_load(text)["models"] == yaml.safe_load(documented("Continue", "yaml"))["models"]
    models, keys = files(Tool.LLM).values()
    assert yaml.safe_load(models) == yaml.safe_load(documented("llm", "yaml"))
    assert json.loads(keys) == {"chain429": GATEWAY.token}


def test_claude_code_and_aider_are_told_where_the_gateway_is() -> None:
    (text,) = files(Tool.CLAUDE_CODE).values()
    assert json.loads(text) == {
        "env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:4290", "ANTHROPIC_AUTH_TOKEN": GATEWAY.token}
    }
    (text,) = files(Tool.AIDER).values()
    assert yaml.safe_load(text) == {
        "openai-api-base": "http://127.0.0.1:4290/v1",
        "openai-api-key": GATEWAY.token,
        "model": "openai/default",
        "show-model-warnings": False,
    }


def test_shells_read_the_token_from_its_file() -> None:
    (bash,) = files(Tool.OPENAI, environ={"SHELL": "/bin/bash"}).values()
    assert 'export OPENAI_API_KEY="$(cat /data/client-token)"\n' in bash
    (fish,) = files(Tool.OPENAI, environ={"SHELL": "/usr/bin/fish"}).values()
    assert "set -gx OPENAI_API_KEY (cat /data/client-token)\n" in fish


def test_settings_that_would_hide_others_are_not_made(tmp_path: Path) -> None:
    (tmp_path / ".continue").mkdir()
    (tmp_path / ".continue" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StartError, match=r"would no longer read .*config\.json"):
        files(Tool.CONTINUE, tmp_path)


def test_the_file_that_wins_is_changed(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "opencode"
    folder.mkdir(parents=True)
    (folder / "opencode.jsonc").write_text("{}", encoding="utf-8")
    assert list(files(Tool.OPENCODE, tmp_path)) == [str(folder / "opencode.jsonc")]
    assert setup_of(Tool.OPENCODE, GATEWAY, {}, tmp_path, "linux").files[0].kind is Kind.JSON
