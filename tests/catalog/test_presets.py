from __future__ import annotations

import datetime
import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from chain429.catalog import Abilities, ErrorRule, Preset, presets
from chain429.routing.fit import UNKNOWN, Capabilities
from chain429.routing.headers import FAMILIES
from chain429.routing.outcome import CONSEQUENCES, Kind, Scope

PRESETS = presets()
each_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)


def test_free_tiers_come_first_and_local_servers_last() -> None:
    order = ["free", "trial", "paid", "local"]
    tiers = [order.index(preset.tier) for preset in PRESETS.values()]
    assert tiers == sorted(tiers)
    assert list(PRESETS)[:4] == ["groq", "cerebras", "gemini", "openrouter"]


def test_ids_are_plain() -> None:
    assert [name for name in PRESETS if not re.fullmatch("[a-z0-9-]+", name)] == []


def test_no_environment_variable_means_two_things() -> None:
    names = [name for preset in PRESETS.values() for name in (*preset.env, *preset.variables.values())]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert [name for name in names if not re.fullmatch("[A-Z][A-Z0-9_]+", name)] == []


@each_preset
def test_urls_are_whole_and_safe(preset: Preset) -> None:
    models = preset.models.path or ""
    for url in [preset.base_url, preset.site, *([models] if models.startswith("http") else [])]:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.scheme == ("http" if parts.hostname == "127.0.0.1" else "https")
        assert not url.endswith("/")
        assert set(re.findall(r"\{(\w+)\}", url)) <= set(preset.variables)
    assert set(re.findall(r"\{(\w+)\}", preset.base_url)) == set(preset.variables)
    assert models.startswith(("/", "https://"))


@each_preset
def test_a_key_is_known_by_name_wherever_one_is_needed(preset: Preset) -> None:
    assert bool(preset.env) == (preset.auth != "none")
    assert (preset.tier == "local") == (preset.auth == "none")


@each_preset
def test_models_are_named_once_and_as_a_url_of_the_provider_takes_them(preset: Preset) -> None:
    for names in (preset.defaults, preset.free_models):
        assert len(set(names)) == len(names)
        assert [name for name in names if not name or name != name.strip() or " " in name] == []
    assert not any(character in name for name in preset.defaults for character in "*?[")


@each_preset
def test_a_free_tier_starts_with_models_that_are_free(preset: Preset) -> None:
    if preset.tier == "free" and preset.free_models:
        costly = [name for name in preset.defaults if not any(fnmatchcase(name, glob) for glob in preset.free_models)]
        assert costly == []


@each_preset
def test_what_is_free_is_told_with_its_date(preset: Preset) -> None:
    assert (preset.tier == "free") <= (preset.free is not None)
    if preset.free:
        assert datetime.date(2026, 1, 1) <= preset.free.checked <= datetime.date(2026, 12, 31)
        told = [preset.free.any, *preset.free.limits.values()]
        assert preset.free.note or any(limits.model_dump(exclude_none=True) for limits in told)


def test_whoever_forbids_something_has_it_told() -> None:
    restricted = {name for name, preset in PRESETS.items() if preset.terms}
    assert restricted == {"gemini", "nvidia", "cohere", "llm7"}
    # Nobody gets there by having a key: the terms must be read first.
    assert PRESETS["llm7"].defaults == ()


@each_preset
def test_only_openai_knows_developers(preset: Preset) -> None:
    roles = {role for rule in preset.cleanup if rule.models == "*" for role in rule.roles}
    # In Messages there are no roles of instructions at all.
    assert ("developer" in roles) == (preset.name != "OpenAI" and preset.dialect == "chat")


@pytest.mark.parametrize(
    ("model", "form"),
    [
        ("claude-opus-4-8", "adaptive"),
        ("claude-sonnet-5", "adaptive"),
        ("claude-haiku-4-5-20251001", "budget"),
        ("claude-opus-4-20250514", "budget"),
        ("claude-3-7-sonnet-20250219", "budget"),
    ],
)
def test_claude_is_told_to_think_as_its_generation_wants_it(model: str, form: str) -> None:
    rules = [rule for rule in PRESETS["anthropic"].cleanup if fnmatchcase(model, rule.models) and rule.thinking]
    assert rules[-1].thinking == form


@each_preset
def test_what_a_provider_accepts_includes_what_is_renamed_for_it(preset: Preset) -> None:
    for rule in preset.cleanup:
        if rule.accept:
            assert {"model", "messages", "stream", "tools", *rule.rename.values()} <= set(rule.accept)
            assert not set(rule.rename) & set(rule.accept)
        assert not set(rule.drop) & set(rule.accept)


@each_preset
def test_rules_bench_only_what_their_outcome_can_bench(preset: Preset) -> None:
    for rule in preset.errors:
        assert rule.outcome not in (Kind.SERVED, Kind.BROKEN, Kind.CANCELLED)
        if CONSEQUENCES[rule.outcome].scope is None:
            assert (rule.scope, rule.window, rule.seconds, rule.limit) == (None, None, None, "")
        assert all(name == name.lower() for name in rule.headers)


@each_preset
def test_provision_carries_everything(preset: Preset) -> None:
    provision = preset.provision()
    assert len(provision.rules) == len(preset.errors)
    assert provision.scope is preset.scope
    assert (provision.day.zone is None) == (preset.day == "rolling")


def test_a_rule_carries_everything() -> None:
    fields: dict[str, Any] = {
        "outcome": "busy",
        "status": [429],
        "code": ["c"],
        "says": "S",
        "scope": "account",
        "window": "day",
        "seconds": 2,
        "headers": {"h": "0"},
        "upstream": True,
        "page": True,
        "param": "p",
        "limit": "l",
    }
    data = ErrorRule.model_validate(fields)
    rule = data.rule()
    assert set(fields) == set(ErrorRule.model_fields)
    assert (rule.kind, set(rule.status), set(rule.code), rule.scope) == (Kind.BUSY, {429}, {"c"}, Scope.ACCOUNT)
    assert (rule.window, rule.seconds, rule.headers) == ("day", 2, (("h", "0"),))
    assert (rule.upstream, rule.page, rule.param, rule.limit) == (True, True, "p", "l")
    assert rule.says is not None
    assert rule.says.search("it says so")


@each_preset
def test_what_is_known_of_models_says_something_and_stays_in_bounds(preset: Preset) -> None:
    if preset.known is None:
        return
    assert datetime.date(2026, 1, 1) <= preset.known.checked <= datetime.date(2026, 12, 31)
    assert preset.known.models
    for model, abilities in preset.known.models.items():
        known = abilities.capabilities()
        assert any(part is not None for part in known), model
        if known.output is not None and known.context is not None:
            assert known.output <= known.context, model


@each_preset
def test_a_default_model_is_known_to_serve_what_agents_ask_for(preset: Preset) -> None:
    models = preset.capabilities({})
    assert [model for model in preset.defaults if models.of(model).tools is False] == []


@pytest.mark.parametrize(
    ("provider", "model", "known"),
    [
        ("groq", "openai/gpt-oss-120b", Capabilities(True, False, True, True, 131072, 65536)),
        ("groq", "made-up", UNKNOWN),
        ("cloudflare", "@cf/openai/gpt-oss-20b", Capabilities(images=False, reasoning=True)),
    ],
)
def test_what_is_known_of_a_model(provider: str, model: str, known: Capabilities) -> None:
    assert PRESETS[provider].capabilities({}).of(model) == known


def test_what_a_user_tells_goes_before_the_catalog() -> None:
    told = {"openai/*": Abilities(json_schema=False, output=5)}
    known = PRESETS["groq"].capabilities(told).of("openai/gpt-oss-20b")
    assert known == Capabilities(True, False, False, True, 131072, 5)


MINIMAL: dict[str, Any] = {"name": "X", "base_url": "https://x.test/v1", "tier": "free"}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"family": "nonsense"}, "no header family named 'nonsense'"),
        ({"day": "Mars/Olympus"}, "no time zone"),
        ({"errors": [{"outcome": "busy", "status": [429], "says": "("}]}, "no regular expression"),
        ({"errors": [{"outcome": "busy", "says": "busy"}]}, "wording alone proves nothing"),
        ({"errors": [{"outcome": "tired", "status": [429]}]}, "Input should be"),
        ({"quirks": 1}, "Extra inputs are not permitted"),
    ],
)
def test_bad_data_is_refused(fields: dict[str, Any], complaint: str) -> None:
    Preset.model_validate(MINIMAL)
    with pytest.raises(ValidationError, match=re.escape(complaint)):
        Preset.model_validate(MINIMAL | fields)


def test_every_family_that_is_named_exists_and_is_known_to_someone() -> None:
    # "ietf" is for servers that users add; a subscription's headers come with keys that no preset takes.
    used = {preset.family for preset in PRESETS.values()}
    assert set(FAMILIES) - used == {"ietf", "anthropic_unified"}
