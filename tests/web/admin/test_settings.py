"""Chains, aliases, settings, tokens, and the file as a whole, through the admin API."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from chain429.config_file import ConfigFile
from chain429.web.admin.routes import MAX_BODY
from tests.web.admin.conftest import Script

KEY = "sk-telltale-0123456789abcdef"


async def test_the_configuration_as_it_is_shown(ask: Script) -> None:
    status, told = await ask("GET", "config")
    assert status == 200
    assert told["chains"] == [
        {"name": "default", "tiers": [["groq/openai/gpt-oss-120b"], ["home/qwen3"]], "affinity": None}
    ]
    assert told["aliases"] == [{"name": "gpt-4o", "to": "default"}]
    assert (told["simulated"], told["warnings"], told["source"]) == (False, [], str(ask.gateway.path))
    assert told["settings"]["patience"] == 30
    assert told["settings"]["timeouts"]["deadline"] == 600
    groq, home = told["providers"]
    assert (groq["name"], groq["preset"], groq["lists_models"]) == ("Groq", "groq", True)
    assert [(key["id"], key["reference"], key["masked"], key["written"]) for key in groq["keys"]] == [
        ("groq/GROQ_API_KEY", "env:GROQ_API_KEY", "…groq", False)
    ]
    assert (home["name"], home["preset"], home["tier"]) == ("home", None, "local")
    assert home["keys"][0]["masked"] == "…6789"
    assert "telltale" not in ask.said


async def test_a_file_that_was_spoilt_by_hand_is_told_as_it_is(ask: Script) -> None:
    ask.gateway.path.write_text("providers: 5\nnothing: 1\n", encoding="utf-8")
    for path in ("config", "config/export"):
        status, told = await ask("GET", path)
        assert status == 422
        assert [fault["key"] for fault in told["error"]["faults"]] == ["providers", "nothing"]
    status, _ = await ask("PUT", "aliases/x", {"to": "default"})
    assert status == 422
    ask.gateway.path.write_text("providers: [\n", encoding="utf-8")
    assert (await ask("GET", "config"))[0] == 422


async def test_a_chain_is_put_into_another_order_and_remarks_stay_where_they_belong(ask: Script) -> None:
    tiers = [["home/qwen3"], ["groq/openai/gpt-oss-120b"], ["groq/openai/gpt-oss-20b", "home/on"]]
    assert (await ask("PUT", "chains/default", {"tiers": tiers}))[0] == 200
    assert (
        "  default:\n"
        "    - home/qwen3\n"
        "    - groq/openai/gpt-oss-120b   # first\n"
        "    - [groq/openai/gpt-oss-20b, home/on]\n"
        "aliases:"
    ) in ask.file
    assert [list(tier) for tier in ask.gateway.file.read().data["chains"]["default"][2:]] == [tiers[2]]


async def test_a_chain_with_more_to_say(ask: Script) -> None:
    assert (await ask("PUT", "chains/batch", {"tiers": ["home/qwen3"], "affinity": False}))[0] == 200
    assert ask.gateway.config.chains["batch"].affinity is False
    assert (await ask("PUT", "chains/batch", {"tiers": ["groq/x"]}))[0] == 200
    chain = ask.gateway.config.chains["batch"]
    assert (chain.affinity, [target.model for target in chain.targets]) == (False, ["x"])
    assert (await ask("PUT", "chains/batch", {"tiers": ["groq/x"], "affinity": None}))[0] == 200
    assert ask.gateway.config.chains["batch"].affinity is True


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tiers": "home/x"},
        {"tiers": []},
        {"tiers": [[]]},
        {"tiers": [5]},
        {"tiers": ["nowhere/x"]},
        {"tiers": ["home/x", "home/x"]},
        {"tiers": ["home/x"], "affinity": "yes"},
        {"targets": ["home/x"]},
        {"tiers": ["home/\ud800"]},
    ],
    ids=str,
)
async def test_a_chain_that_is_none(ask: Script, body: object) -> None:
    before = ask.file
    status, told = await ask("PUT", "chains/default", json.dumps(body).encode())
    assert status == 422
    assert told["error"]["faults"]
    assert ask.file == before


async def test_chains_and_aliases_are_deleted_unless_in_use(ask: Script) -> None:
    await ask("PUT", "chains/a%2Fb", {"tiers": ["home/x"]})
    await ask("PUT", "aliases/claude-*", {"to": "a/b"})
    status, told = await ask("DELETE", "chains/a%2Fb")
    assert (status, told["error"]["used_by"]) == (409, {"chains": [], "aliases": ["claude-*"]})
    assert (await ask("DELETE", "chains/a%2Fb?force=1"))[0] == 200
    assert ask.gateway.config.aliases == {"gpt-4o": "default"}
    assert (await ask("DELETE", "aliases/gpt-4o"))[0] == 200
    assert ask.gateway.config.aliases == {}
    assert (await ask("DELETE", "aliases/gpt-4o"))[0] == 404
    assert (await ask("DELETE", "chains/nothing"))[0] == 404
    assert (await ask("DELETE", "chains/default"))[0] == 422


async def test_names_that_yaml_has_its_own_ideas_of(ask: Script) -> None:
    for name in ("on", "12:30", "1e3", "%3D", "%3C%3C", "~", "2001-01-01", "a%3A%20b", "%23x", "no"):
        assert (await ask("PUT", f"aliases/{name}", {"to": "default"}))[0] == 200, name
    assert list(ask.gateway.config.aliases) == [
        *("gpt-4o", "on", "12:30", "1e3", "=", "<<", "~", "2001-01-01", "a: b", "#x", "no")
    ]


async def test_settings_are_changed_one_by_one(ask: Script) -> None:
    assert (await ask("PUT", "settings", {"patience": 5.5, "timeouts": {"answer": 60, "idle": 5}}))[0] == 200
    assert (await ask("PUT", "settings", {"timeouts": {"idle": None}, "strict": True}))[0] == 200
    assert ask.file.endswith("patience: 5.5\ntimeouts:\n  answer: 60\nstrict: true\n")
    assert (ask.gateway.config.patience, ask.gateway.config.strict) == (5.5, True)
    wrong: list[dict[str, object]] = [{"providers": {}}, {"chains": {}}, {"nothing": 1}, {"patience": "long"}]
    for body in (*wrong, {"tokens": [KEY]}, {"tokens": 5}):
        assert (await ask("PUT", "settings", body))[0] == 422, body
    assert KEY not in ask.said


async def test_a_client_token_is_made_shown_once_and_deleted(ask: Script) -> None:
    status, made = await ask("POST", "tokens")
    assert (status, made["name"]) == (201, "token-1")
    assert [token.reveal() for token in ask.gateway.config.tokens] == [made["token"]]
    assert (await ask("POST", "tokens"))[1]["name"] == "token-2"
    assert "tokens: [secret:token-1, secret:token-2]" in ask.file
    _, told = await ask("GET", "config")
    assert [token["reference"] for token in told["settings"]["tokens"]] == ["secret:token-1", "secret:token-2"]
    for name in ("token-1", "token-2"):
        assert (await ask("DELETE", f"tokens/{name}"))[0] == 200
    assert (await ask("DELETE", "tokens/token-1"))[0] == 404
    assert ("tokens" in ask.file, ask.gateway.vault.names()) == (False, ())
    assert ask.said.count(made["token"]) == 1


async def test_the_file_is_taken_out_without_secrets_and_put_back(ask: Script) -> None:
    text = ask.file.replace(
        "keys: [env:HOME_KEY]",
        f"keys: [env:HOME_KEY, {KEY}, {{key: short-key, rpm: 5}}]\n    headers: {{x-title: me, x-api-token: {KEY}}}",
    )
    text += f"tokens: [{KEY}, plain]  # not {KEY}\n"
    assert (await ask("POST", "config/import", {"text": text}))[0] == 200
    status, out = await ask("GET", "config/export")
    assert status == 200
    assert "keys: [env:HOME_KEY, secret:removed, {key: secret:removed, rpm: 5}]" in out
    assert "headers: {x-title: me, x-api-token: secret:removed}" in out
    assert "tokens: [secret:removed, secret:removed]" in out
    assert "# Mine." in out
    for secret in (KEY, "short-key", "plain"):
        assert secret not in ask.said
    # Whoever takes it over is told what to put right.
    status, told = await ask("POST", "config/import", {"text": out})
    assert status == 422
    assert "providers.home.headers.x-api-token" in [fault["key"] for fault in told["error"]["faults"]]
    assert ask.file == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "providers: 5",
        "a: &a [*a]",
        "[" * 1000,
        "{" * 1000,
        "aliases: {a: 2001-99-99}",
        "? [a]\n: b",
        "a: !!python/object:os.system x",
        "\x00",
        "a: 1\na: 2",
        "providers: {groq: {}}\nchains: {default: [groq/x]}\naliases: {2001-99-99: default}\n",
    ],
    ids=range(11),
)
async def test_what_is_no_configuration_is_refused(ask: Script, text: str) -> None:
    before = ask.file
    assert (await ask("POST", "config/import", {"text": text}))[0] == 422
    assert ask.file == before


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"5", b"null", b"[" * 100_000, b'{"patience": NaN}', b'{"patience": 1e999}', b'{"a": "\\ud800"}',
     b'{"timeouts": ' * 50 + b"1" + b"}" * 50, b'{"patience": ' + b"9" * 5000 + b"}", b"\xff"],
    ids=range(12),
)  # fmt: skip
async def test_a_body_that_is_none_changes_nothing(ask: Script, body: bytes) -> None:
    before = ask.gateway.file.read().data
    status, _ = await ask("PUT", "settings", body)
    assert status == (200 if body == b"" else 422)
    assert ask.gateway.file.read().data == before


async def test_a_body_that_is_too_large(ask: Script) -> None:
    status, told = await ask("POST", "config/import", io.BytesIO(b"x" * (MAX_BODY + 1)))
    assert (status, told["error"]["message"]) == (413, f"The body is larger than {MAX_BODY} bytes.")


async def test_a_disk_that_can_not_be_written(ask: Script, tmp_path: Path) -> None:
    gateway = ask.gateway
    (tmp_path / "file").touch()
    gateway.file = ConfigFile(tmp_path / "file" / "chain429.yaml", gateway._checked, lambda: ask.file)
    assert (await ask("PUT", "settings", {"patience": 1}))[0] in (422, 507)


async def test_what_leads_nowhere_is_answered_in_json(ask: Script) -> None:
    status, told = await ask("GET", "nothing")
    assert (status, list(told["error"])) == (404, ["message"])
    status, told = await ask("DELETE", "config")
    assert (status, told["error"]["message"]) == (405, "DELETE is not allowed on /admin/api/config.")


async def test_the_presets(ask: Script) -> None:
    status, told = await ask("GET", "presets")
    assert status == 200
    groq = told["presets"][0]
    assert (groq["id"], groq["env"], groq["wants_key"]) == ("groq", ["GROQ_API_KEY"], True)
    assert groq["default_models"][0] == "openai/gpt-oss-120b"
    assert next(row for row in told["presets"] if row["id"] == "ollama")["wants_key"] is False
