"""Settings are changed and changed back, in a home of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chain429.errors import StartError
from chain429.launch.setup import Plan, carry_out, load, plan_setup, plan_undo, save
from chain429.launch.tools import Gateway, Tool, setup_of

TOKEN = "c429_0123456789"
EXISTING = {
    Tool.CLAUDE_CODE: (".claude/settings.json", '{"theme": "dark", "env": {"ANTHROPIC_BASE_URL": "http://mine"}}'),
    Tool.CODEX: (".codex/config.toml", '# mine\nmodel = "gpt-5"  # good\n\n[projects."/x"]\ntrust_level = "trusted"\n'),
    Tool.AIDER: (".aider.conf.yml", "dark-mode: true  # at night\nmodel: mine\n"),
    Tool.OPENCODE: (".config/opencode/opencode.json", '{"model": "mine/x", "provider": {"mine": {}}}\n'),
    Tool.CONTINUE: (".continue/config.yaml", "name: me\nversion: 1.0.0\nschema: v1\nmodels:\n- name: mine # x\n"),
    Tool.LLM: (".config/io.datasette.llm/keys.json", '{"openai": "sk-mine"}'),
    Tool.OPENAI: (".bashrc", "alias ll='ls -l'"),
}


class Home:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"

    def set_up(self, tool: Tool, url: str = "http://127.0.0.1:4290", model: str | None = None) -> Plan:
        gateway = Gateway(url, TOKEN, self.data / "client-token", model)
        wanted = setup_of(tool, gateway, {"SHELL": "/bin/bash"}, self.folder, "linux")
        return self._do(tool, plan_setup(wanted, load(self.data, tool)))

    def undo(self, tool: Tool) -> Plan:
        return self._do(tool, plan_undo(load(self.data, tool)))

    def _do(self, tool: Tool, plan: Plan) -> Plan:
        carry_out(plan, TOKEN)
        save(self.data, tool, plan.kept)
        return plan

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def texts(self) -> dict[str, str]:
        found = (path for path in self.folder.rglob("*") if path.is_file() and self.data not in path.parents)
        return {str(path.relative_to(self.folder)): path.read_text(encoding="utf-8") for path in found}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize("tool", Tool)
def test_where_there_was_nothing_nothing_is_left(home: Home, tool: Tool) -> None:
    home.set_up(tool)
    assert home.texts()
    assert not home.set_up(tool).changes
    assert not home.undo(tool).notes
    assert home.texts() == {}


@pytest.mark.parametrize("tool", Tool)
def test_what_was_there_comes_back_to_the_byte(home: Home, tool: Tool) -> None:
    home.write(*EXISTING[tool])
    before = home.texts()
    home.set_up(tool)
    path, text = EXISTING[tool]
    assert home.texts()[f"{path}.chain429-backup"] == text
    assert not home.set_up(tool).changes
    # The gateway has another address now.
    assert home.set_up(tool, "http://127.0.0.1:5000", None if tool is Tool.OPENAI else "fast").changes
    home.undo(tool)
    assert home.texts() == before
    assert not home.undo(tool).changes


@pytest.mark.parametrize("tool", [Tool.CLAUDE_CODE, Tool.CODEX, Tool.AIDER, Tool.OPENAI])
def test_what_the_user_changed_since_stays(home: Home, tool: Tool) -> None:
    path, text = EXISTING[tool]
    file = home.write(path, text)
    home.set_up(tool)
    added = {
        Tool.CLAUDE_CODE: ('"theme"', '"later": 1,\n  "theme"'),
        Tool.CODEX: ("# mine\n", "# mine\nlater = 1\n"),
        Tool.AIDER: ("dark-mode", "later: 1\ndark-mode"),
        Tool.OPENAI: ("alias", "later=1\nalias"),
    }[tool]
    file.write_text(file.read_text().replace(*added))
    (note,) = home.undo(tool).notes
    assert note == f"{file} as it was before is in {file}.chain429-backup"
    rest = file.read_text()
    assert "later" in rest
    assert "127.0.0.1:4290" not in rest
    assert TOKEN not in rest
    assert {Tool.CLAUDE_CODE: "http://mine", Tool.CODEX: 'model = "gpt-5"', Tool.AIDER: "model: mine"}.get(
        tool, ""
    ) in rest
    # The copy of then is not overwritten.
    home.set_up(tool)
    assert home.texts()[f"{path}.chain429-backup"] == text
    assert "later" in home.texts()[f"{path}.chain429-backup-2"]


def test_a_value_that_was_changed_since_is_left_and_named(home: Home) -> None:
    home.set_up(Tool.CLAUDE_CODE)
    file = home.folder / ".claude" / "settings.json"
    file.write_text(file.read_text().replace("http://127.0.0.1:4290", "http://elsewhere"))
    assert home.undo(Tool.CLAUDE_CODE).notes == [
        f"env.ANTHROPIC_BASE_URL in {file} was changed since, and is left as it is"
    ]
    assert json.loads(file.read_text()) == {"env": {"ANTHROPIC_BASE_URL": "http://elsewhere"}}


def test_a_choice_that_is_not_repeated_is_still_undone(home: Home) -> None:
    home.set_up(Tool.CLAUDE_CODE, model="fast")
    home.set_up(Tool.CLAUDE_CODE)
    home.undo(Tool.CLAUDE_CODE)
    assert home.texts() == {}


def test_a_file_that_is_gone_is_no_trouble(home: Home) -> None:
    home.set_up(Tool.CODEX)
    file = home.folder / ".codex" / "config.toml"
    file.unlink()
    assert home.undo(Tool.CODEX).notes == [f"{file} is gone"]


def test_what_can_not_be_read_is_left_alone_and_so_is_the_rest(home: Home) -> None:
    file = home.write(".config/io.datasette.llm/keys.json", "{no json}")
    with pytest.raises(StartError, match=r"keys\.json is left as it is: .*docs/clients\.md"):
        home.set_up(Tool.LLM)
    assert home.texts() == {str(file.relative_to(home.folder)): "{no json}"}
    file.write_bytes(b"\xff")
    with pytest.raises(StartError, match="not UTF-8"):
        home.set_up(Tool.LLM)


def test_links_are_followed_and_a_token_is_for_its_owner_only(home: Home) -> None:
    real = home.write("dotfiles/aider.yml", "dark-mode: true\n")
    real.chmod(0o644)
    (home.folder / ".aider.conf.yml").symlink_to(real)
    home.set_up(Tool.AIDER)
    assert (home.folder / ".aider.conf.yml").is_symlink()
    assert TOKEN in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o600
    shell = home.write(".bashrc", "")
    shell.chmod(0o644)
    home.set_up(Tool.OPENAI)
    assert shell.stat().st_mode & 0o777 == 0o644


def test_a_note_that_is_damaged_is_said(home: Home) -> None:
    home.set_up(Tool.CODEX)
    (home.data / "setup.json").write_text("[]")
    with pytest.raises(StartError, match="what was set up before can't be read"):
        home.undo(Tool.CODEX)
