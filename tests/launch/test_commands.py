"""The commands, where they need no proxy."""

from __future__ import annotations

import re
from pathlib import Path

import certifi
import pytest
from click.testing import CliRunner

from chain429.cli import main
from chain429.launch.authority import read
from chain429.launch.running import Running, record
from chain429.launch.tools import Tool
from chain429.launch.variables import Shell


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "CHAIN429_CONFIG", "CHAIN429_DATA_DIR", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


def test_setup_and_its_undoing(home: Path) -> None:
    file = home / ".codex" / "config.toml"
    (home / "chain429.yaml").write_text(
        "providers: {home: {base_url: http://127.0.0.1:9/v1}}\nchains: {default: [home/x]}\nlisten: 0.0.0.0:5000\n"
        "tokens: [c429_0123456789abcdef]\n"
    )
    code, shown = run("setup", "codex", "--dry-run")
    assert code == 0
    assert '+base_url = "http://127.0.0.1:5000/v1"\n' in shown
    assert not file.exists()
    assert not (home / ".local").exists()
    assert run("setup", "codex") == (0, f"wrote {file}\nstart codex as ever\n")
    token = (home / ".local" / "share" / "chain429" / "client-token").read_text().strip()
    assert token in file.read_text()
    assert run("setup", "codex") == (0, "nothing to change\n")
    code, shown = run("setup", "codex", "--url", "http://127.0.0.1:6000/v1/", "--dry-run")
    assert '+base_url = "http://127.0.0.1:6000/v1"\n' in shown
    assert token not in run("setup", "codex", "--undo", "--dry-run")[1]
    assert run("setup", "codex", "--undo") == (0, f"removed {file}\ncodex is as it was\n")
    assert not file.exists()
    assert run("setup", "codex", "--undo") == (0, "nothing to change\n")


def test_every_tool_and_every_shell_may_be_named() -> None:
    assert f"{{{'|'.join(Tool)}}}" in run("setup", "--help")[1].replace("\n", "").replace(" ", "")
    assert f"[{'|'.join(Shell)}]" in run("env", "--help")[1]


def test_setup_says_why_it_can_not(home: Path) -> None:
    file = home / ".codex" / "config.toml"
    file.parent.mkdir()
    file.write_text("[[[")
    code, said = run("setup", "codex")
    assert (code, said.splitlines()[0].partition(":")[0]) == (1, "chain429")
    assert f"{file} is left as it is: it is not valid TOML" in said


def test_env_without_a_proxy_sets_nothing(home: Path) -> None:
    result = CliRunner().invoke(main, ["env"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"no proxy runs with its data in {home}/.local/share/chain429" in result.stderr


def test_env_takes_out_what_it_sets_with_no_proxy_too(home: Path) -> None:
    code, said = run("env", "--unset", "--shell", "bash")
    assert code == 0
    assert "unset HTTPS_PROXY\n" in said
    assert "unset SSL_CERT_FILE\n" in said


def test_ca_says_how_one_comes_about(home: Path) -> None:
    code, said = run("ca")
    assert code == 1
    assert f"there is no authority yet at {home}/.mitmproxy/mitmproxy-ca-cert.pem" in said


def test_ca_is_that_of_the_proxy_that_was_recorded_last(home: Path) -> None:
    file = home / "elsewhere" / "mitmproxy-ca-cert.pem"
    file.parent.mkdir()
    file.write_text(re.findall("-----BEGIN.*?END CERTIFICATE-----", Path(certifi.where()).read_text(), re.DOTALL)[0])
    record(home, Running("http://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1", file))
    assert run("ca", "--path", "--data-dir", str(home)) == (0, f"{file}\n")
    code, shown = run("ca", "--data-dir", str(home))
    assert code == 0
    assert f"certificate  {file}\n" in shown
    assert f"SHA-256      {read(file).sha256}\n" in shown


def test_a_tool_that_is_not_there_is_said_before_anything_is_started(home: Path) -> None:
    missing = "chain429: no-such-tool-at-all: there is no such command\n"
    assert run("run", "--", "no-such-tool-at-all", "--its-option") == (127, missing)
    (home / "text").touch()
    assert run("run", "./text") == (126, "chain429: ./text: it can't be run\n")
    assert not (home / ".local").exists()
