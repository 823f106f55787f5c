from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.catalog import presets
from chain429.config import Config, Timeouts, from_environment, is_loopback, load, parse, unused_keys
from chain429.errors import ConfigError, StoreError
from chain429.routing.chain import Cost, Limit, Strategy
from chain429.routing.fit import UNKNOWN, Capabilities
from chain429.routing.window import Window

ENVIRON = {"GROQ_API_KEY": "gsk_groq_key_of_the_test", "CEREBRAS_API_KEY": "csk-cerebras-key", "A1": "one", "A2": "two"}


def read(text: str, environ: Mapping[str, str] = ENVIRON) -> Config:
    return parse(textwrap.dedent(text), environ)


def faults(text: str, environ: Mapping[str, str] = ENVIRON) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, environ)
    return [str(fault).removeprefix("chain429.yaml:") for fault in caught.value.faults]


def providers(section: str) -> str:
    """A file that is right but for what is given of its provider ``x``."""
    return f"providers:\n  x: {section}\nchains: {{default: [x/m]}}\n"


PLAIN = "providers: {a: {base_url: http://a.test/v1}}\nchains: {default: [a/m]}\n"
SMALL = "providers: {groq: }\nchains: {default: [groq/m]}\n"


# What a file means.


def test_the_file_of_the_design() -> None:
    config = read("""
        providers:
          groq:   {keys: [env:GROQ_API_KEY]}
          cerebras:
          home:   {base_url: http://127.0.0.1:11434/v1/}
          claude:
            preset: anthropic
            keys: [{key: env:A1, account: mine, itpm: 40000, priority: 1}, env:A2]
            strategy: priority
        chains:
          default: [groq/openai/gpt-oss-120b, [cerebras/gpt-oss-120b, "groq/openai/gpt-oss-20b:free"], home/qwen3]
          fast:    cerebras/gpt-oss-120b
        aliases: {gpt-4o: default, claude-*: fast, claude-x: home/qwen3}
    """)
    names = [[entry.name for entry in tier] for tier in config.chains["default"].tiers]
    assert names == [
        ["groq/openai/gpt-oss-120b"],
        ["cerebras/gpt-oss-120b", "groq/openai/gpt-oss-20b:free"],
        ["home/qwen3"],
    ]
    first, second = config.providers["claude"].credentials
    assert config.providers["claude"].strategy is Strategy.PRIORITY
    assert (first.id, first.account, first.priority) == ("claude/A1", "claude:mine", 1)
    assert first.limits == (Limit("input_tokens", Window.MINUTE, 40000),)
    assert (second.id, second.account, second.priority) == ("claude/A2", "claude:claude/A2", 0)
    secrets = config.endpoints["claude"].secrets
    assert {name: secret and secret.reveal() for name, secret in secrets.items()} == {
        "claude/A1": "one",
        "claude/A2": "two",
    }
    assert config.endpoints["home"].base_url == "http://127.0.0.1:11434/v1"
    assert config.endpoints["home"].secrets == {"home/no-key": None}
    assert list(config.endpoints["cerebras"].secrets) == ["cerebras/CEREBRAS_API_KEY"]
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("file", "chain", "kept"),
    [
        ("", "[groq/m]", True),
        ("", "{targets: [groq/m]}", True),
        ("", "{targets: groq/m, affinity: }", True),
        ("", "{targets: groq/m, affinity: false}", False),
        ("affinity: false", "[groq/m]", False),
        ("affinity: false", "{targets: [groq/m]}", False),
        ("affinity: false", "{targets: [groq/m], affinity: true}", True),
    ],
)
def test_a_chain_is_a_list_or_a_mapping_that_goes_before_the_file(file: str, chain: str, kept: bool) -> None:
    config = read(f"providers: {{groq: }}\nchains: {{default: {chain}}}\n{file}")
    assert [entry.name for tier in config.chains["default"].tiers for entry in tier] == ["groq/m"]
    assert config.chains["default"].affinity is kept
    pinned = config.resolve("groq/x")
    assert pinned
    assert pinned.affinity is (file == "")


def test_what_a_target_costs_is_known_from_its_provider_and_its_model() -> None:
    config = read(
        "providers: {groq: , openrouter: , openai: , together: , home: {base_url: 'http://127.0.0.1:9/v1'}}\n"
        "chains: {default: [groq/m, 'openrouter/x:free', home/m, together/m, openai/m, openrouter/x]}",
        {name: name.lower() for name in ("GROQ_API_KEY", "OPENROUTER_API_KEY", "OPENAI_API_KEY", "TOGETHER_API_KEY")},
    )
    costs = [entry.cost for tier in config.chains["default"].tiers for entry in tier]
    assert costs == [Cost.FREE] * 3 + [Cost.TRIAL] + [Cost.PAID] * 2


RESOLVING = """
    providers: {groq: }
    chains: {default: [groq/a], fast: [groq/b], "bracket[1m]": [groq/c]}
    aliases: {gpt-*: fast, gpt-4o: default, gpt-4*: default, pin: groq/x/y:free, "claude[1m]*": fast}
"""


@pytest.mark.parametrize(
    ("model", "chain"),
    [
        ("fast", "fast"),
        ("bracket[1m]", "bracket[1m]"),
        ("gpt-4o", "default"),  # an exact name beats a glob
        ("gpt-4.1", "fast"),  # of two globs, the first
        ("pin", "groq/x/y:free"),
        ("groq/openai/gpt-oss-20b:free", "groq/openai/gpt-oss-20b:free"),
        ("claude[1m]-x", "fast"),
        ("claude1-x", None),
        ("groq/", None),
        ("groq/x\n500 forged", None),
        ("groq/\ud800", None),
        ("other/model", None),
        ("", None),
        ("*", None),
    ],
)
def test_what_a_model_names(model: str, chain: str | None) -> None:
    found = read(RESOLVING).resolve(model)
    assert found
    assert found.name == (chain or "default")
    strict = read(RESOLVING + "    strict: true\n").resolve(model)
    assert (strict.name if strict else None) == chain


def test_limits_of_a_key_go_before_those_of_its_provider() -> None:
    keys = "[{key: env:A1, rpm: 9, rps: 0.5}, env:A2]"
    config = read(providers(f"{{preset: groq, keys: {keys}, limits: {{rpm: 5, concurrent: 2}}}}"))
    first, second = config.providers["x"].credentials
    assert set(first.limits) == {
        Limit("requests", Window.SECOND, 0.5),
        Limit("requests", Window.MINUTE, 9),
        Limit("requests", None, 2),
    }
    assert set(second.limits) == {Limit("requests", Window.MINUTE, 5), Limit("requests", None, 2)}


def test_what_a_model_can_do_is_told_by_its_name_or_by_a_glob_and_goes_before_the_catalog() -> None:
    config = read("""
        providers:
          groq:
            models:
              "openai/*": {tools: false, context: 4000}
              openai/gpt-oss-120b: {images: true}
              "qwen*":
          home:
            base_url: http://127.0.0.1:9/v1
            models: {qwen3: {tools: true, images: false, json_schema: false, reasoning: true, context: 8, output: 4}}
        chains: {default: [groq/openai/gpt-oss-120b, home/qwen3, home/other]}
    """)
    large, small, other = (tier[0] for tier in config.chains["default"].tiers)
    usual = presets()["groq"].capabilities({}).of("openai/gpt-oss-120b")
    assert large.capabilities == usual._replace(tools=False, images=True, context=4000)
    assert small.capabilities == (True, False, False, True, 8, 4)
    assert other.capabilities == UNKNOWN
    # A model that is only pinned is known as well.
    pinned = config.resolve("groq/openai/gpt-oss-20b")
    assert pinned
    assert pinned.tiers[0][0].capabilities.context == 4000


def test_what_a_provider_lists_is_known_everywhere_and_a_user_still_goes_before_it() -> None:
    config = read("""
        providers: {home: {base_url: http://127.0.0.1:9/v1, models: {m: {tools: true}}}, away: {base_url: http://a.test}}
        chains: {default: [home/m, away/m], fast: {targets: [home/n], affinity: false}}
        aliases: {pinned: home/n}
    """)
    lists = {"home": {"m": Capabilities(tools=False, context=10), "n": Capabilities(images=False)}}
    listed = config.listing(lists)
    default, fast = listed.chains.values()
    assert [tier[0].capabilities for tier in default.tiers] == [Capabilities(tools=True, context=10), UNKNOWN]
    assert fast.tiers[0][0].capabilities == Capabilities(images=False)
    assert not fast.affinity
    for name in ("pinned", "home/n"):
        chain = listed.resolve(name)
        assert chain
        assert chain.tiers[0][0].capabilities == Capabilities(images=False)
    # Nothing else is changed by it, and nothing of it is left when it is gone.
    assert config.chains["fast"].tiers[0][0].capabilities == UNKNOWN
    assert listed.listing({}) == config
    assert [target for chain in listed.chains.values() for target in chain.targets] == [
        target for chain in config.chains.values() for target in chain.targets
    ]


def test_time_outs_that_a_provider_does_not_name_are_those_of_the_file() -> None:
    config = read("""
        providers: {groq: {timeouts: {first_event: 5}}, cerebras: }
        chains: {default: [groq/m]}
        timeouts: {connect: 3, deadline: 90}
    """)
    assert config.endpoints["groq"].timeouts == Timeouts(connect=3, first_event=5)
    assert config.endpoints["cerebras"].timeouts == Timeouts(connect=3)
    assert config.deadline == 90


def test_a_url_takes_its_variables_from_the_environment_or_from_the_file() -> None:
    text = "providers: {cloudflare: %s}\nchains: {default: [cloudflare/@cf/openai/gpt-oss-120b]}"
    environ = {"CLOUDFLARE_API_TOKEN": "token-1", "CLOUDFLARE_ACCOUNT_ID": "abc", "OTHER": "def"}
    for section, account in (("", "abc"), ("{variables: {account_id: env:OTHER}}", "def")):
        endpoint = read(text % section, environ).endpoints["cloudflare"]
        assert endpoint.base_url == f"https://api.cloudflare.com/client/v4/accounts/{account}/ai/v1"
        assert endpoint.models_url == f"https://api.cloudflare.com/client/v4/accounts/{account}/ai/models/search"
    assert "CLOUDFLARE_ACCOUNT_ID" in faults(text % "", {"CLOUDFLARE_API_TOKEN": "token-1"})[0]
    (fault,) = faults(text % "{variables: {account_id: ../evil}}", environ)
    assert "becomes a part of the URL" in fault
    assert "evil" not in fault


def test_a_disabled_provider_is_left_out_and_its_key_is_not_looked_for() -> None:
    config = read("providers: {groq: , mistral: {enabled: false}}\nchains: {default: [[mistral/a, groq/m], mistral/b]}")
    assert list(config.endpoints) == ["groq"]
    assert [entry.name for tier in config.chains["default"].tiers for entry in tier] == ["groq/m"]
    assert faults("providers: {groq: {enabled: false}}\nchains: {default: [groq/m]}") == [
        "2: chains.default: every provider in it is disabled"
    ]


def test_anchors_and_merge_keys_keep_their_lines() -> None:
    text = """\
        providers:
          groq: &same
            keys: [env:A1]
            limits: {rpm: 3}
          cerebras:
            <<: *same
            limits: {rpm: 4}
            kesy: 1
        chains: {default: [groq/m]}
    """
    assert faults(text) == ["8: providers.cerebras.kesy: is not a known key: did you mean 'keys'?"]
    config = read(text.replace("            kesy: 1\n", ""))
    assert config.providers["cerebras"].credentials[0].limits == (Limit("requests", Window.MINUTE, 4),)
    assert list(config.endpoints["cerebras"].secrets) == ["cerebras/A1"]


# Secrets.


def test_keys_in_files_are_looked_for_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text("\ufeff  key-in-file\n", encoding="utf-8")
    path = tmp_path / "chain429.yaml"
    path.write_text("\ufeff" + SMALL.replace("groq: ", "groq: {keys: file:key.txt}"), encoding="utf-8")
    config = load(path, {})
    assert config
    (identifier, secret), *_ = config.endpoints["groq"].secrets.items()
    assert identifier == "groq/key.txt"
    assert secret
    assert secret.reveal() == "key-in-file"
    path.write_text(SMALL.replace("groq: ", "groq: {keys: [file:gone.txt]}"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"chain429\.yaml:1: providers\.groq\.keys\.0: the file 'gone\.txt' can't be"):
        load(path, {})


def test_a_key_in_the_file_works_with_a_warning_that_does_not_tell_it() -> None:
    config = read(providers("{preset: groq, keys: [gsk_0123456789]}"))
    assert config.warnings == (
        "chain429.yaml:2: providers.x.keys.0: a key stands in the file itself: 'env:NAME' or 'file:PATH' is safer",
    )
    assert list(config.endpoints["x"].secrets) == ["x/key1"]
    assert [secret.reveal() for secret in config.secrets()] == ["gsk_0123456789"]
    assert "gsk_0123456789" not in repr(config)


TELLTALE = "tell-tale-0123456789"


@pytest.mark.parametrize(
    "section",
    [
        f"{{preset: groq, keys: [[{TELLTALE}]]}}",
        f"{{preset: groq, keys: {{{TELLTALE}: 1}}}}",
        f"{{preset: groq, keys: [{{key: {TELLTALE}, rpm: no}}]}}",
        f"{{preset: groq, keys: [{{key: [{TELLTALE}]}}]}}",
        f'{{preset: groq, keys: ["{TELLTALE} with spaces"]}}',
        f"{{preset: groq, keys: ['env:{TELLTALE}']}}",
        f"{{preset: groq, keys: ['secret:{TELLTALE}']}}",
        f"{{preset: groq, keys: [env:{TELLTALE.upper().replace('-', '')}]}}",
        f"{{preset: groq, keys: [env:A1], headers: {{x-key: [{TELLTALE}]}}}}",
        f"{{preset: groq, keys: [env:A1], headers: {{Authorization: Bearer {TELLTALE}}}}}",
        f"{{preset: groq, keys: [env:A1], variables: {{unknown: {TELLTALE}}}}}",
        f"{{preset: groq, key: {TELLTALE}}}",
        TELLTALE,
        f"{{base_url: 'https://me:{TELLTALE}@example.com/v1'}}",
        f"{{base_url: 'https://example.com/v1?key={TELLTALE}'}}",
    ],
)
def test_no_fault_tells_a_key(section: str) -> None:
    found = faults(providers(section))
    assert found
    assert "0123456789" not in "\n".join(found)


def test_space_around_a_key_is_taken_away_and_space_alone_is_no_key() -> None:
    text = providers("{preset: groq, keys: env:A1}")
    assert [secret.reveal() for secret in read(text, {"A1": " one\r\n"}).secrets()] == ["one"]
    assert faults(text, {"A1": " \n"}) == ["2: providers.x.keys.0: the environment variable A1 is not set"]


def test_headers_may_be_references_which_are_secrets_then() -> None:
    headers = "{X-Title: my tools, Api-Key: env:A2}"
    config = read(providers(f"{{base_url: 'https://example.com/v1', headers: {headers}}}"))
    assert config.endpoints["x"].headers == {"x-title": "my tools", "api-key": "two"}
    assert [secret.reveal() for secret in config.secrets()] == ["two"]
    assert "two" not in repr(config)


def test_keys_are_told_apart_by_where_they_come_from(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "key").write_text(f"key-in-{folder}", encoding="utf-8")
    path = tmp_path / "chain429.yaml"
    path.write_text(SMALL.replace("groq: ", "groq: {keys: [file:a/key, file:b/key, env:A1]}"), encoding="utf-8")
    config = load(path, ENVIRON)
    assert config
    secrets = config.endpoints["groq"].secrets
    assert {name: secret and secret.reveal() for name, secret in secrets.items()} == {
        "groq/key": "key-in-a",
        "groq/key-2": "key-in-b",
        "groq/A1": "one",
    }


def test_what_works_but_is_unwise_is_told() -> None:
    twice = {"A1": "the-same", "A2": "the-same"}
    assert read(providers("{preset: groq, keys: [env:A1, env:A2]}"), twice).warnings == (
        "chain429.yaml:2: providers.x.keys.1: is the same key as another one of the list, so it adds nothing",
    )
    (warning,) = read(providers("{base_url: 'http://example.com/v1', keys: env:A1}")).warnings
    assert warning == "chain429.yaml:2: providers.x.base_url: its key is sent unencrypted: 'https://' is safer"
    assert read(providers("{base_url: 'http://127.0.0.1:9/v1', keys: env:A1}")).warnings == ()
    assert read(providers("{base_url: 'http://example.com/v1'}")).warnings == ()


def test_a_secret_that_was_typed_into_a_page_is_found_by_its_name() -> None:
    text = providers("{preset: groq, keys: [secret:mine]}")
    config = parse(text, {}, secrets={"mine": "gsk_typed"}.get)
    assert [secret.reveal() for secret in config.secrets()] == ["gsk_typed"]
    assert config.warnings == ()
    assert faults(text) == [
        "2: providers.x.keys.0: no secret of that name is kept here: type it in on the page of providers, or use "
        "'env:NAME' or 'file:PATH'"
    ]


def test_a_secret_that_can_t_be_read_is_a_fault() -> None:
    def locked(name: str) -> str | None:
        raise StoreError("the secrets can't be read")

    with pytest.raises(ConfigError, match=r"providers\.x\.keys\.0: the secrets can't be read"):
        parse(providers("{preset: groq, keys: [secret:mine]}"), {}, secrets=locked)


# Faults.


def test_every_fault_is_told_at_once() -> None:
    assert faults("""\
        listen: nowhere
        providers:
          groq:
            kesy: [env:GROQ_API_KEY]
          home: {base_url: ftp://example.com}
          mine: {preset: grok}
          mistral: {keys: [env:NOT_SET]}
        chains:
          default: [groq/m, cerebas/m, "groq"]
          more: []
        aliases: {gpt-4o: defautl}
        timeouts: {connect: 0}
        strickt: true
    """) == [
        "1: listen: an address such as 127.0.0.1:4290 was expected (it is 'nowhere')",
        "4: providers.groq.kesy: is not a known key: did you mean 'keys'?",
        "5: providers.home.base_url: a URL such as https://api.example.com/v1 was expected (it is 'ftp://example.com')",
        "6: providers.mine.preset: no preset is named 'grok': did you mean 'groq'?",
        "7: providers.mistral.keys.0: the environment variable NOT_SET is not set",
        "9: chains.default.1: 'cerebas/m': no provider is named 'cerebas'; there are: groq, home, mine, mistral",
        "9: chains.default.2: 'groq' is not of the form provider/model, such as 'groq/openai/gpt-oss-120b'",
        "10: chains.more: has no targets",
        "11: aliases.gpt-4o: no chain is named 'defautl': did you mean 'default'?",
        "12: timeouts.connect: must be more than 0 (it is 0)",
        "13: strickt: is not a known key: did you mean 'strict'?",
    ]


def test_what_lacks_a_member_and_a_wrong_item_hide_no_other_fault() -> None:
    assert faults("""\
        providers:
          groq: {keys: [env:NOT_SET, 5, {key: env:A1, rpm: x}, {rpm: 1}, env:NEITHER]}
          x: {preset: groq, keys: {rpm: 1}}
        chains: {default: [cerebas/x, 5, grok/x, [groq/m, 6]]}
        aliases: {gpt-4o: nowhere}
        prices: {"groq/*": {input: 1}}
        tokens: [5, env:NOPE]
    """) == [
        "2: providers.groq.keys.1: a reference such as env:NAME was expected, or {key: env:NAME, ...}",
        "2: providers.groq.keys.2.rpm: must be a whole number (it is 'x')",
        "2: providers.groq.keys.3.key: is needed",
        "2: providers.groq.keys.0: the environment variable NOT_SET is not set",
        "2: providers.groq.keys.4: the environment variable NEITHER is not set",
        "3: providers.x.keys.0.key: is needed",
        "4: chains.default.1: 'provider/model' was expected, or a list of these for targets of equal rank (it is 5)",
        "4: chains.default.3: 'provider/model' was expected, or a list of these for targets of equal rank",
        "4: chains.default.0: 'cerebas/x': no provider is named 'cerebas'; there are: groq, x",
        "4: chains.default.2: 'grok/x': no provider is named 'grok': did you mean 'groq'?",
        "5: aliases.gpt-4o: no chain is named 'nowhere'; there are: default",
        "6: prices.groq/*.output: is needed",
        "7: tokens.0: must be text; put it in quotes",
        "7: tokens.1: the environment variable NOPE is not set",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", " is empty: 'providers' and 'chains' are needed"),
        ("just words", "1: names with values were expected here, such as 'name: value'"),
        ("a: [1\nb: 2", "2: is not valid YAML"),
        ("providers:\n\tgroq: 1", "2: is not valid YAML"),
        ("a: *nothing", "1: is not valid YAML"),
        ("a: \x00", "1: is not valid YAML: the character U+0000 is in it"),
        ("--- 1\n--- 2", "2: is not valid YAML"),
        ("a: &a [*a]", "1: contains itself, or is nested too deeply"),
        ("providers: {groq: }\nproviders: {groq: }", "2: providers: is there twice; the first is on line 1"),
        (SMALL + "aliases: {[a]: default}", "3: aliases: a key must be text"),
        (SMALL + "aliases: {on: default}", "3: aliases.on: this key is read as true or false: put it in quotes"),
        (SMALL + "aliases: {4: default}", "3: aliases.4: this key is read as a number: put it in quotes"),
        (SMALL + "aliases: {a: on}", "3: aliases.a: must be text; put it in quotes (it is true)"),
        (SMALL + "strict: maybe", "3: strict: must be true or false (it is 'maybe')"),
        (SMALL + "max_body: 1", "3: max_body: must be at least 1024 (it is 1)"),
        (SMALL + "patience: 301", "3: patience: must be at most 300 (it is 301)"),
        (SMALL + "log: {body_limit: 1048577}", "3: log.body_limit: must be at most 1048576 (it is 1048577)"),
        (SMALL + "log: {format: xml}", "3: log.format: must be 'text' or 'json' (it is 'xml')"),
        (SMALL + "breaker: {failures: 1.5}", "3: breaker.failures: must be a whole number"),
        (SMALL + "timeouts: {idle: .nan}", "3: timeouts.idle: must be"),
        (SMALL + "tokens: [env:NOPE]", "3: tokens.0: the environment variable NOPE is not set"),
        (SMALL + "tokens: [env:CHAIN429_TOKEN]", "3: tokens.0: the environment variable CHAIN429_TOKEN is not set"),
        (SMALL + "tokens: [$A1]", "3: tokens.0: names an environment variable: write it as 'env:NAME'"),
        (SMALL + "tokens: [A1]", "3: tokens.0: names an environment variable: write it as 'env:NAME'"),
        (SMALL + "aliases: {a: groq/}", "3: aliases.a: 'groq/' is not of the form provider/model"),
        (SMALL + "aliases: {default: groq/m}", "3: aliases.default: is the name of a chain already"),
        (SMALL + "aliases: {*: default}", "3: is not valid YAML: expected alphabetic or numeric character"),
        (SMALL + "pages: 127.0.0.1:4290", "3: pages: is also the address of 'listen': each needs its own"),
        (SMALL + 'listen: "127.0.0.1:\u00b2"', "3: listen: an address such as 127.0.0.1:4290 was expected"),
        (SMALL + f"max_body: -0x{'f' * 9999}", "3: max_body: must be at least 1024 (it is a huge number)"),
        (SMALL + "aliases: {a: !!python/name:os.system x}", "3: aliases.a: the tag"),
        (SMALL + "proxy: {hosts: [https://api.openai.com]}", "3: proxy.hosts.0: a host such as api.openai.com"),
        (SMALL + "proxy: {hosts: {a.b/c: }}", "3: proxy.hosts.a.b/c: a host such as api.openai.com was expected"),
        (
            SMALL + "proxy:\n  hosts:\n    a.test: observ",
            "5: proxy.hosts.a.test: no chain is named 'observ', and it is not 'observe': did you mean 'observe'?",
        ),
        (SMALL + "proxy: {hosts: 5}", "3: proxy.hosts: names with values were expected here"),
        ("providers: {groq: }\nchains: {default: [1]}", "2: chains.default.0: 'provider/model' was expected"),
        ("providers: {groq: }\nchains: {fast: [groq/m]}", "2: chains: a chain named 'default' is needed"),
        ("providers: {groq: }\nchains: {default: [groq/m, groq/m]}", "2: chains.default.1: 'groq/m' is there twice"),
        ("providers: {groq: }\nchains: {default: 5}", "2: chains.default: a list was expected here, such as"),
        ("providers: {groq: }\nchains: {default: {targets: 5}}", "2: chains.default.targets: a list was expected here"),
        ("providers: {groq: }\nchains:\n  default:\n    targets: [groq/m,\n      1]", "5: chains.default.targets.1: '"),
        ("providers: {groq: }\nchains:\n  default: {targets: [a/m]}", "3: chains.default.targets.0: 'a/m': no"),
        ("providers: {groq: }\nchains: {default: {targets: []}}", "2: chains.default: has no targets"),
        ("providers: {groq: }\nchains: {default: {affinity: no}}", "2: chains.default: has no targets"),
        (
            "providers: {groq: }\nchains: {default: {target: [groq/m]}}",
            "2: chains.default.target: is not a known key: did you mean 'targets'?",
        ),
        (
            "providers: {groq: }\nchains: {default: {targets: [groq/m], affinity: 1}}",
            "2: chains.default.affinity: must be true or false (it is 1)",
        ),
        (
            providers("{timeouts: {deadline: 5}, preset: groq, keys: env:A1}"),
            "2: providers.x.timeouts.deadline: is",
        ),
        (providers("{strategy: fastest, preset: groq, keys: env:A1}"), "2: providers.x.strategy: must be"),
        (providers("{base_url: http://a.b, models: {m: {tools: 1}}}"), "2: providers.x.models.m.tools: must be true"),
        (providers("{base_url: http://a.b, models: {m: {context: 0}}}"), "2: providers.x.models.m.context: must be"),
        (providers("{base_url: http://a.b, models: {m: {vision: no}}}"), "2: providers.x.models.m.vision: is not a"),
        (providers("{base_url: http://a.b, models: [m]}"), "2: providers.x.models: "),
        (providers("{preset: groq, keys: [env:A1, env:A1]}"), "2: providers.x.keys.1: is there twice"),
        (providers("{preset: groq, keys: [env: A1]}"), "2: providers.x.keys.0: a reference has no space after"),
        (providers("{base_url: 'https://a.b/v1/chat/completions'}"), "2: providers.x.base_url: leave '/chat/compl"),
        (providers("{base_url: 'http://a.b:x'}"), "2: providers.x.base_url: a URL such as"),
        (providers("{base_url: 'http://[::1'}"), "2: providers.x.base_url: a URL such as"),
        (providers("{base_url: 'https://{name}.b/v1'}"), "2: providers.x.variables.name: is needed for its URL"),
        (
            "providers: {groq: , mistral: {enabled: false}}\nchains: {default: [groq/m]}\naliases: {a: mistral/m}",
            "3: aliases.a: 'mistral/m': its provider is disabled",
        ),
        (providers("{preset: groq}").replace("x", "a b"), "2: providers.a b: a provider's name has only letters"),
        (SMALL.replace("groq", "mistral"), "1: providers.mistral: a key is needed: set MISTRAL_API_KEY"),
    ],
)
def test_a_fault_says_where_and_what(text: str, fault: str) -> None:
    found = faults(text)
    assert [one for one in found if one.startswith(fault)], found


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "chain429.yaml"
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        load(path, {})
    path.write_bytes(b"providers:\n  gr\xc3\xb6q: \xff")
    with pytest.raises(ConfigError, match=r"chain429\.yaml:2: can't be read: it is not UTF-8"):
        load(path, {})


# What may stand in a file, in any disorder, with all that YAML gives a meaning.
KEYS = "providers chains aliases tokens default groq keys timeouts limits headers listen proxy hosts << 1 ? on"
VALUES = (
    *("", "groq/m", "[groq/m, [a/b]]", "env:A1", "{key: env:A1, rpm: 1}", "{default: [groq/m]}", "{groq: {}}", "[[]]"),
    *("{", "*a", "'", "|", "~", "0x", "1e400", "2026-01-01", "!!int x", "!!set {a}", "!!binary x", "é", "9" * 5000),
)
LINES = st.tuples(
    st.sampled_from(["", "  ", "    ", "- ", "  - "]),
    st.sampled_from(KEYS.split(" ")),
    st.sampled_from([": ", ":", ": &a ", " "]),
    st.sampled_from(VALUES),
).map("".join)


def parsed(text: str) -> Config | ConfigError:
    try:
        return parse(text, ENVIRON)
    except ConfigError as error:
        return error


@given(st.lists(LINES, max_size=8).map("\n".join) | st.text(max_size=60))
def test_whatever_a_file_says_is_taken_or_a_fault(text: str) -> None:
    for result in (parsed(text), parsed(f"{SMALL}{text}")):
        if isinstance(result, ConfigError):
            assert len(str(result).splitlines()) == len(result.faults) > 0
        else:
            assert result.resolve("default")


# Without a file.


def test_keys_in_the_environment_make_a_chain_with_free_tiers_first() -> None:
    config = load(None, {"OPENAI_API_KEY": "k-openai", "TOGETHER_API_KEY": "k-together", "GROQ_API_KEY": "k-groq"})
    assert config
    names = [tier[0].name for tier in config.chains["default"].tiers]
    order = [name.partition("/")[0] for name in names]
    assert list(dict.fromkeys(order)) == ["groq", "together", "openai"]
    assert order == sorted(order, key=["groq", "together", "openai"].index)


def test_either_name_of_a_key_will_do_and_the_usual_one_goes_first() -> None:
    def found(environ: Mapping[str, str]) -> list[str]:
        config = from_environment(environ)
        return [name for one in config.endpoints.values() for name in one.secrets] if config else []

    assert found({"GOOGLE_API_KEY": "two"}) == ["gemini/GOOGLE_API_KEY"]
    assert found({"GOOGLE_API_KEY": "two", "GEMINI_API_KEY": "one"}) == ["gemini/GEMINI_API_KEY"]
    assert found({"GOOGLE_API_KEY": "two", "GEMINI_API_KEY": " \n"}) == ["gemini/GOOGLE_API_KEY"]
    # A client's settings, by which it finds the gateway.
    assert found({"OPENAI_API_KEY": "c429_token", "GROQ_API_KEY": "one"}) == ["groq/GROQ_API_KEY"]
    assert found({"CLOUDFLARE_API_TOKEN": "one"}) == []
    assert found({"CLOUDFLARE_API_TOKEN": "one", "CLOUDFLARE_ACCOUNT_ID": "a"}) == ["cloudflare/CLOUDFLARE_API_TOKEN"]
    assert found({"GROQ_API_KEY": "  "}) == []
    assert found({}) == []


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, []),
        ({"CLOUDFLARE_ACCOUNT_ID": "a", "LLM7_API_KEY": " ", "CHUTES_API_KEY": "c429_token"}, []),
        ({"CLOUDFLARE_API_TOKEN": "one", "CLOUDFLARE_ACCOUNT_ID": "a"}, []),
        (
            {"CLOUDFLARE_API_TOKEN": "one", "CLOUDFLARE_ACCOUNT_ID": " ", "LLM7_API_KEY": "two"},
            [
                "CLOUDFLARE_API_TOKEN is not used: set CLOUDFLARE_ACCOUNT_ID too",
                "LLM7_API_KEY is not used: LLM7 has no models by default, name some in chain429.yaml",
            ],
        ),
    ],
)
def test_keys_that_make_no_chain_are_named_with_what_is_missing(environ: Mapping[str, str], words: list[str]) -> None:
    assert list(unused_keys(environ)) == words
    config = from_environment({**environ, "GROQ_API_KEY": "k-groq"})
    assert config
    assert list(config.warnings) == words


def test_what_is_wrong_with_a_key_in_the_environment_is_told_by_its_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment({"GOOGLE_API_KEY": "a b", "CLOUDFLARE_API_TOKEN": "one", "CLOUDFLARE_ACCOUNT_ID": "a/b"})
    assert sorted(map(str, caught.value.faults)) == [
        "keys in the environment: CLOUDFLARE_ACCOUNT_ID: becomes a part of the URL: letters, digits, '.', '_' and '-' "
        "only",
        "keys in the environment: GOOGLE_API_KEY: the key has spaces or characters that no HTTP header can carry",
    ]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.2", False), ("example.com", False), ("", False)],
)  # fmt: skip
def test_only_loopback_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


# The callers' own keys.


def test_a_provider_may_be_called_with_the_callers_own_key() -> None:
    config = read("""
        providers:
          groq:
          anthropic: {keys: [passthrough], limits: {rpm: 9}}
          mixed: {preset: openai, keys: [env:A1, {key: passthrough, priority: 2, rpm: 5}], strategy: priority}
        chains:
          default: [groq/m, anthropic/claude, anthropic/other]
          mixed: [mixed/gpt, groq/m]
          fast: [groq/m]
        aliases: {pin: anthropic/x}
    """)
    [own] = config.providers["anthropic"].credentials
    assert (own.id, own.account) == ("anthropic/passthrough", "~anthropic")
    assert own.limits == (Limit("requests", Window.MINUTE, 9),)
    stored, own = config.providers["mixed"].credentials
    assert (stored.account, own.account, own.priority) == ("mixed:mixed/A1", "~mixed", 2)
    assert own.limits == (Limit("requests", Window.MINUTE, 5),)
    assert config.endpoints["anthropic"].passing == "anthropic/passthrough"
    assert config.endpoints["anthropic"].secrets == {}
    assert list(config.endpoints["mixed"].secrets) == ["mixed/A1"]
    assert config.endpoints["groq"].passing is None
    assert config.passing == {"api.anthropic.com", "api.openai.com"}
    chains = ("default", "mixed", "fast", "pin", "groq/x", "mixed/x")
    passing = [found.passing for name in chains if (found := config.resolve(name))]
    assert passing == ["anthropic", "mixed", "", "anthropic", "", "mixed"]
    assert config.warnings == ()
    assert read(SMALL).passing == frozenset()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "providers: {anthropic: {keys: passthrough}, openai: {keys: passthrough}}\n"
            "chains:\n  default: [anthropic/a, anthropic/b]\n  both: [anthropic/a, openai/b]\n",
            "4: chains.both.1: 'openai/b': a caller's key is for one provider only, in this chain for 'anthropic'",
        ),
        (
            "providers: {anthropic: {keys: [{key: passthrough, account: mine}]}}\nchains: {default: [anthropic/a]}\n",
            "1: providers.anthropic.keys.0.account: each caller's key has an account of its own",
        ),
        (
            "providers: {anthropic: {keys: [passthrough, passthrough]}}\nchains: {default: [anthropic/a]}\n",
            "1: providers.anthropic.keys.1: is there twice: the same as number 1 of the list",
        ),
    ],
)
def test_what_a_callers_own_key_can_not_be(text: str, fault: str) -> None:
    assert faults(text) == [fault]


def test_a_callers_own_key_that_is_sent_unencrypted_is_warned_of() -> None:
    [warning] = read(providers("{base_url: 'http://x.test/v1', keys: passthrough}")).warnings
    assert "sent unencrypted" in warning


def test_trust_in_this_machine_is_off_and_told_where_it_is_on() -> None:
    assert read(SMALL).trust_loopback is False
    config = read(SMALL + "trust_loopback: true\n")
    assert config.trust_loopback is True
    assert config.warnings == (
        "chain429.yaml:3: trust_loopback: every program on this machine may use the API without a token",
    )


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("[A.test., b.test]", {"a.test": "", "b.test": ""}),
        ("a.test", {"a.test": ""}),
        ("{A.test: default, b.test: observe, c.test: }", {"a.test": "default", "b.test": "observe", "c.test": ""}),
    ],
)
def test_covered_hosts_stand_alone_or_with_what_becomes_of_them(hosts: str, expected: dict[str, str]) -> None:
    config = parse(f"{PLAIN}proxy: {{hosts: {hosts}}}", {})
    assert config.proxy_hosts == expected
    assert config.directs is any(expected.values())
    assert replace(config, proxy_hosts={"a.test": "default"}).directs


def test_a_hosts_chain_goes_before_aliases_but_not_before_what_is_named() -> None:
    config = parse(
        """
providers: {a: {base_url: http://a.test/v1}}
chains: {default: [a/big], fast: [a/small]}
aliases: {gpt-4o: default}
strict: true
proxy: {hosts: {api.openai.com: fast, b.test: observe, c.test: }}
""",
        {},
    )

    def chain(model: str, host: str, *, named: bool = False) -> str | None:
        found = config.resolve(model, host=host, named=named)
        return found.name if found else None

    for model in ("gpt-4o", "anything", "fast"):
        assert chain(model, "api.openai.com") == "fast"
    assert chain("default", "api.openai.com") == "default"
    assert chain("a/other", "api.openai.com") == "a/other"
    # Whatever is good for no other model than the one that was asked for.
    assert chain("anything", "api.openai.com", named=True) is None
    for host in ("", "b.test", "c.test", "d.test"):
        assert chain("gpt-4o", host) == "default"
        assert chain("anything", host) is None
