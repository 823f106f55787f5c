from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain429.config import parse
from chain429.errors import ConfigError, StoreError
from chain429.vault import Vault

KEY = "gsk_0123456789abcdef"


def test_what_was_put_is_there_and_after_a_restart_too(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "data")
    assert vault.names() == ()
    assert vault.get("groq") is None
    vault.put("groq", KEY)
    vault.put("other", "x")
    assert Vault(tmp_path / "data").get("groq") == KEY
    assert Vault(tmp_path / "data").names() == ("groq", "other")
    vault.put("groq", "new")
    vault.delete("other")
    vault.delete("other")
    assert (vault.get("groq"), vault.names()) == ("new", ("groq",))


def test_reading_makes_nothing(tmp_path: Path) -> None:
    Vault(tmp_path / "data").get("groq")
    assert not (tmp_path / "data").exists()


def test_no_file_has_the_secret_and_none_is_open_to_others(tmp_path: Path) -> None:
    Vault(tmp_path).put("groq", KEY)
    assert {path.name for path in tmp_path.iterdir()} == {"secrets.json", "master-key"}
    for path in tmp_path.iterdir():
        assert KEY not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_master_key_of_the_environment_needs_no_file_and_another_one_opens_nothing(tmp_path: Path) -> None:
    Vault(tmp_path, "correct horse").put("groq", KEY)
    assert not (tmp_path / "master-key").exists()
    assert Vault(tmp_path, "correct horse").get("groq") == KEY
    with pytest.raises(StoreError, match="another master key: set CHAIN429_MASTER_KEY"):
        Vault(tmp_path, "battery staple").get("groq")


@pytest.mark.parametrize("damaged", ["", "[]", '{"groq": 1}', "{", "\xe9"])
def test_a_damaged_file_is_said_and_not_written_over(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(damaged, encoding="latin-1")
    with pytest.raises(StoreError, match="can't be read"):
        Vault(tmp_path).put("groq", KEY)
    assert path.read_text(encoding="latin-1") == damaged


@pytest.mark.parametrize("name", ["", "a b", "../a", "-a", "a" * 65, "é"])
def test_a_name_is_a_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Vault(tmp_path).put(name, KEY)


@pytest.mark.parametrize("value", ["", "a b", "a\n", "é", "a" * 9000])
def test_a_secret_is_what_a_header_can_carry(tmp_path: Path, value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        Vault(tmp_path).put("groq", value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.from_regex(r"[a-z0-9]{1,5}", fullmatch=True), st.from_regex(r"[!-~]{1,40}", fullmatch=True)))
def test_every_secret_comes_back_as_it_was(tmp_path: Path, kept: dict[str, str]) -> None:
    vault = Vault(tmp_path)
    for name in vault.names():
        vault.delete(name)
    for name, value in kept.items():
        vault.put(name, value)
    assert {name: vault.get(name) for name in vault.names()} == kept
    written = json.loads((tmp_path / "secrets.json").read_text()) if kept else {}
    assert not any(value in written.values() for value in kept.values())


def test_a_master_key_that_is_damaged_is_a_fault_of_the_configuration_that_needs_it(tmp_path: Path) -> None:
    Vault(tmp_path).put("GROQ", "gsk_x")
    (tmp_path / "master-key").write_text("not a key\n")
    text = "providers: {groq: {keys: ['secret:GROQ']}}\nchains: {default: [groq/x]}"
    with pytest.raises(ConfigError, match=r"master key in .* can't be used: it is damaged"):
        parse(text, {}, file="chain429.yaml", secrets=Vault(tmp_path).get)
