"""Providers and keys through the admin API: what gets into the file, what is refused, what providers are asked."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from chain429.config import parse
from tests.web.admin.conftest import Script
from tests.web.conftest import TOKEN, Site

SECRET = "csk-telltale-0123456789abcdefWXYZ"
GROQ = "https://api.groq.com/openai/v1/models"


def everything(folder: Path) -> str:
    """All that was written, the vault's key apart."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "master-key"]
    return "\n".join(path.read_bytes().decode("latin-1") for path in files)


async def test_a_provider_is_added_with_its_key_which_nobody_sees_again(
    ask: Script, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    status, told = await ask("PUT", "providers/cerebras", {"keys": [{"secret": f" {SECRET}\n", "rpm": 5}]})
    assert (status, told["id"]) == (200, "cerebras")
    assert "  cerebras:\n    keys: [{key: secret:cerebras-1, rpm: 5}]\n" in ask.file
    assert "    base_url: http://127.0.0.1:9/v1\n" in ask.file
    assert "home:   # in the cellar" in ask.file
    secret = ask.gateway.config.endpoints["cerebras"].secrets["cerebras/cerebras-1"]
    assert secret
    assert secret.reveal() == SECRET

    _, config = await ask("GET", "config")
    (row,) = [row for row in config["providers"] if row["id"] == "cerebras"]
    assert row["keys"] == [
        {
            "id": "cerebras/cerebras-1",
            "reference": "secret:cerebras-1",
            "masked": "…WXYZ",
            "account": None,
            "priority": 0,
            "weight": 1.0,
            "limits": {"rpm": 5},
            "written": True,
        }
    ]
    # Neither what works nor what does not shows it.
    await ask("PUT", "providers/cerebras", {"keys": [{"secret": SECRET}]})
    await ask("POST", "providers/nobody/keys", {"secret": SECRET})
    await ask("POST", "providers/groq/keys", {"key": SECRET})
    await ask("POST", "providers/groq/keys", {"secret": SECRET, "rpm": SECRET})
    await ask("POST", "providers/groq/keys", {"secret": SECRET, "account": 5})
    await ask("PUT", "providers/new", {"base_url": "nothing", "keys": [{"secret": SECRET}]})
    await ask("GET", "config/export")
    for text in (ask.said, everything(tmp_path), caplog.text):
        assert SECRET not in text
    assert ask.gateway.vault.names() == ("cerebras-1",)


async def test_a_key_belongs_under_secret_and_nowhere_else(ask: Script) -> None:
    before = ask.file
    for body in ({"key": SECRET}, SECRET, {"key": f"x {SECRET}"}):
        status, told = await ask("POST", "providers/groq/keys", body)
        assert status == 422, body
        assert SECRET not in str(told)
    status, told = await ask("PUT", "providers/cerebras", {"keys": [SECRET]})
    assert status == 422
    words = "a reference was expected: env:NAME, file:PATH or secret:NAME; a key itself goes in 'secret'"
    assert told["error"]["faults"] == [{"key": "keys.0.key", "message": words, "line": None}]
    assert ask.file == before


async def test_keys_are_added_changed_and_deleted_and_what_nobody_refers_to_is_forgotten(ask: Script) -> None:
    # The key of the environment stays when another one joins it.
    assert (await ask("POST", "providers/groq/keys", {"secret": SECRET, "priority": 2}))[1]["id"] == "groq/groq-1"
    assert "  groq:\n    keys: [env:GROQ_API_KEY, {key: secret:groq-1, priority: 2}]\n" in ask.file
    assert (await ask("PUT", "providers/groq/keys/groq-1", {"priority": None, "rpm": 3}))[0] == 200
    assert "{key: secret:groq-1, rpm: 3}" in ask.file
    status, told = await ask("PUT", "providers/groq/keys/groq%2Fgroq-1", {"secret": f"{SECRET}2", "rpm": None})
    assert (status, told["id"]) == (200, "groq/groq-2")
    assert "    keys: [env:GROQ_API_KEY, secret:groq-2]\n" in ask.file
    assert ask.gateway.vault.names() == ("groq-2",)
    assert (await ask("DELETE", "providers/groq/keys/GROQ_API_KEY"))[1]["id"] == "groq/GROQ_API_KEY"
    assert (await ask("DELETE", "providers/groq/keys/groq-2"))[0] == 200
    assert ask.gateway.vault.names() == ()
    assert "groq: {}" in ask.file


async def test_what_is_not_there_is_said_with_what_is(ask: Script) -> None:
    for method, path, words in (
        ("DELETE", "providers/gorq", "There is nothing named 'gorq' among the providers. There are: groq, home."),
        ("POST", "providers/gorq/keys", "There is nothing named 'gorq' among the providers. There are: groq, home."),
        ("PUT", "providers/home/keys/x", "'home' has no credential 'x'. There are: home/HOME_KEY."),
        ("DELETE", "providers/home/keys/x", "'home' has no credential 'x'. There are: home/HOME_KEY."),
        ("POST", "providers/home/keys/x/test", "'home' has no credential 'x'. There are: home/HOME_KEY."),
        ("GET", "providers/gorq/models", "No provider named 'gorq' is at work. There are: groq, home."),
        ("POST", "breakers/gorq/reset", "No provider named 'gorq' is at work. There are: groq, home."),
    ):
        body = {"key": "env:GROQ_API_KEY"} if path.endswith("keys") else {"rpm": 1} if method == "PUT" else None
        assert await ask(method, path, body) == (404, {"error": {"message": words}})


async def test_a_provider_is_changed_member_by_member(ask: Script) -> None:
    body = {"strategy": "priority", "limits": {"rpm": 5, "rpd": 100}, "models": {"qwen*": {"tools": False}}}
    assert (await ask("PUT", "providers/home", body))[0] == 200
    assert (await ask("PUT", "providers/home", {"limits": {"rpd": None}, "strategy": None}))[0] == 200
    _, config = await ask("GET", "config")
    home = config["providers"][1]
    assert (home["strategy"], home["limits"], home["models"]) == (
        "least_loaded",
        {"rpm": 5},
        {"qwen*": {"tools": False}},
    )
    assert home["base_url"] == "http://127.0.0.1:9/v1"


async def test_a_provider_is_switched_off_and_on(ask: Script) -> None:
    assert (await ask("PUT", "providers/home", {"enabled": False}))[0] == 200
    assert "home" not in ask.gateway.config.providers
    _, config = await ask("GET", "config")
    assert [(row["id"], row["enabled"]) for row in config["providers"]] == [("groq", True), ("home", False)]
    assert config["providers"][1]["keys"][0]["masked"] is None
    assert (await ask("PUT", "providers/home", {"enabled": None}))[0] == 200
    assert "home" in ask.gateway.config.providers


async def test_faults_are_told_with_their_place(ask: Script) -> None:
    before = ask.file
    status, told = await ask("PUT", "providers/home", {"base_url": "ftp://x", "strategy": "best"})
    assert status == 422
    assert [(fault["key"], fault["line"]) for fault in told["error"]["faults"]] == [
        ("providers.home.base_url", 5),
        ("providers.home.strategy", 7),
    ]
    assert (await ask("PUT", "providers/home", {"kesy": 1}))[1]["error"]["faults"][0]["key"] == "kesy"
    assert (await ask("PUT", "providers/a%20b", {"preset": "groq"}))[0] == 422
    assert ask.file == before


async def test_a_provider_that_is_in_use_is_not_deleted_but_by_force(ask: Script) -> None:
    await ask("PUT", "chains/cellar", {"tiers": ["home/small"]})
    await ask("PUT", "aliases/cheap", {"to": "cellar"})
    await ask("PUT", "aliases/own", {"to": "home/qwen3"})
    status, told = await ask("DELETE", "providers/home")
    assert status == 409
    assert told["error"]["used_by"] == {"chains": ["default", "cellar"], "aliases": ["own"]}
    assert "home" in ask.gateway.config.providers
    assert (await ask("DELETE", "providers/home?force=1"))[0] == 200
    assert ask.file == (
        "# Mine.\n"
        "providers:\n"
        "  groq: {}\n"
        "chains:\n"
        "  default:\n"
        "    - groq/openai/gpt-oss-120b   # first\n"
        "aliases: {gpt-4o: default}\n"
    )
    # The last one can't go: without any, nothing could be served.
    assert (await ask("DELETE", "providers/groq?force=1"))[0] == 422


@pytest.mark.parametrize(
    ("name", "body", "targets"),
    [
        ("groq", {}, ["groq/openai/gpt-oss-120b"]),
        ("mine", {"preset": "groq", "keys": ["env:GROQ_API_KEY"]}, ["mine/openai/gpt-oss-120b"]),
        ("123", {"base_url": "http://127.0.0.1:9", "default_models": ["on", "b"]}, ["123/on", "123/b"]),
    ],
)
async def test_the_first_provider_brings_a_first_chain(
    ask: Script, name: str, body: dict[str, object], targets: list[str]
) -> None:
    ask.gateway.path.unlink()
    assert (await ask("PUT", f"providers/{name}", body))[0] == 200
    chain = ask.gateway.config.chains["default"]
    assert [f"{target.provider}/{target.model}" for target in chain.targets][: len(targets)] == targets


async def test_names_are_names_to_every_reader(ask: Script) -> None:
    for name in ("on", "1", "0x1", "null"):
        assert (await ask("PUT", f"providers/{name}", {"base_url": "http://127.0.0.1:9"}))[0] == 200
        assert name in ask.gateway.config.providers
        assert (await ask("PUT", f"providers/{name}", {"limits": {"rpm": 1}}))[0] == 200
    assert parse(ask.file, {"GROQ_API_KEY": "a", "HOME_KEY": "b"}).providers.keys() >= {"on", "1", "0x1", "null"}


async def test_what_somebody_else_changed_is_not_overwritten(ask: Script) -> None:
    _, config = await ask("GET", "config")
    seen = f'"{config["version"]}"'
    ask.gateway.path.write_text(ask.file + "patience: 5\n", encoding="utf-8")
    status, told = await ask("PUT", "providers/home", {"enabled": False}, **{"If-Match": seen})
    assert status == 409
    assert told["error"]["message"].startswith("The configuration was changed meanwhile")
    assert ask.file.endswith("patience: 5\n")
    _, config = await ask("GET", "config")
    seen = f'"{config["version"]}"'
    answer = await ask.site.client.put(
        "/admin/api/providers/home",
        json={"enabled": False},
        headers={"Authorization": f"Bearer {TOKEN}", "If-Match": seen},
    )
    assert answer.headers["ETag"] == f'"{(await answer.json())["version"]}"' != seen


async def test_a_secret_whose_provider_is_refused_is_forgotten(ask: Script) -> None:
    body = {"base_url": "nonsense", "keys": [{"secret": SECRET}, {"secret": f"{SECRET}2"}]}
    assert (await ask("PUT", "providers/new", body))[0] == 422
    assert ask.gateway.vault.names() == ()
    status, told = await ask("PUT", "providers/new", {"keys": [{"secret": SECRET}, {"secret": "two words"}]})
    assert (status, told["error"]["faults"][0]["key"]) == (422, "secret")
    assert ask.gateway.vault.names() == ()


async def test_the_models_of_a_provider(ask: Script) -> None:
    ask.gateway.answers[GROQ] = (200, b'{"data": [{"id": "a", "context_window": 8192}, {"id": "b"}, {}]}')
    none = dict.fromkeys(("tools", "images", "json_schema", "reasoning", "context", "output"))
    assert await ask("GET", "providers/groq/models") == (
        200,
        {
            "provider": "groq",
            "listed": True,
            "models": [{"id": "a", **none, "context": 8192}, {"id": "b", **none}],
        },
    )
    (url, headers) = ask.gateway.asked[0]
    assert (url, headers["authorization"]) == (GROQ, "Bearer gsk_telltale0123456789groq")


async def test_a_list_of_models_that_can_not_be_had(ask: Script) -> None:
    for status, body in ((401, b'{"error": {"message": "no key gsk_telltale0123456789groq"}}'), (200, b"<html>")):
        ask.gateway.answers[GROQ] = (status, body)
        assert (await ask("GET", "providers/groq/models"))[0] == 502
    assert "telltale" not in ask.said


@pytest.mark.parametrize(
    ("status", "body", "works"),
    [(200, b'{"data": [{"id": "a"}]}', True), (401, b"{}", False), (429, b"{}", True), (500, b"", False)],
)
async def test_a_key_is_tried(ask: Script, status: int, body: bytes, works: bool) -> None:
    ask.gateway.answers[GROQ] = (status, body)
    code, told = await ask("POST", "providers/groq/keys/GROQ_API_KEY/test")
    assert (code, told["credential"], told["works"], told["tried"]) == (200, "groq/GROQ_API_KEY", works, True)


async def test_a_callers_key_can_not_be_tried(ask: Script) -> None:
    await ask("PUT", "providers/anthropic", {"keys": ["passthrough"]})
    assert (await ask("POST", "providers/anthropic/keys/passthrough/test"))[0] == 409
    assert (await ask("GET", "providers/anthropic/models"))[0] == 409
    assert ask.gateway.asked == []


async def test_a_breaker_is_reset(ask: Script) -> None:
    assert await ask("POST", "breakers/groq/reset") == (200, {"provider": "groq", "breaker": "closed"})
    assert ask.gateway.reset == ["groq"]


async def test_without_the_token_nothing_is_changed(site: Site) -> None:
    before = site.gateway.path.read_text(encoding="utf-8")
    for method, path in (
        ("PUT", "providers/home"),
        ("DELETE", "providers/home?force=1"),
        ("POST", "providers/home/keys"),
        ("PUT", "settings"),
        ("POST", "config/import"),
        ("POST", "tokens"),
        ("GET", "config"),
        ("GET", "config/export"),
    ):
        answer = await site.client.request(method, f"/admin/api/{path}", json={"text": "x"})
        assert answer.status == 401
    assert site.gateway.path.read_text(encoding="utf-8") == before
