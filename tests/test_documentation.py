"""What users are told: every key is explained, every table is what the code does, and the examples work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from chain429.catalog import Limits, presets
from chain429.config import (
    BreakerFile,
    ChainFile,
    ConfigFile,
    KeyFile,
    LogFile,
    MetricsFile,
    ModelFile,
    PriceFile,
    ProviderFile,
    ProxyFile,
    TimeoutsFile,
    from_environment,
    parse,
)
from chain429.errors import ConfigError
from chain429.routing.outcome import Kind
from scripts import tables

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "chain429.example.yaml").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in tables.PAGES}
# Where each part of the file is described; a key's mapping shares the heading of its provider.
SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "The whole file": (ConfigFile,),
    "Providers": (ProviderFile, KeyFile),
    "Limits": (Limits,),
    "Models": (ModelFile,),
    "Chains": (ChainFile,),
    "Time-outs": (TimeoutsFile,),
    "Circuit breaker": (BreakerFile,),
    "Proxy": (ProxyFile,),
    "Log": (LogFile,),
    "Metrics": (MetricsFile,),
    "Prices": (PriceFile,),
}


def section(heading: str) -> str:
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", REFERENCE, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_reference_has_a_row_for_each_key_and_none_besides(heading: str) -> None:
    # A key's mapping takes all limits, which have a table of their own.
    inherited = set() if heading == "Limits" else set(Limits.model_fields)
    keys = {name for model in SECTIONS[heading] for name in model.model_fields} - inherited
    assert set(re.findall(r"^\| `(\w+)` \|", section(heading), re.MULTILINE)) == keys


@pytest.mark.parametrize("model", [TimeoutsFile, BreakerFile, ConfigFile, KeyFile], ids=lambda model: model.__name__)
def test_defaults_are_told_as_they_are(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        if name in Limits.model_fields or not isinstance(field.default, bool | int | float | str):
            continue
        told = f"{field.default:g}" if isinstance(field.default, float) else str(field.default).lower()
        row = re.search(rf"^\| `{name}` \|.*\| `?{re.escape(told)}`?(?: \([^|]*\))? \|$", REFERENCE, re.MULTILINE)
        assert row, f"{name}: {told}"


@pytest.mark.parametrize("text", PAGES.values(), ids=PAGES)
def test_tables_are_what_the_code_does(text: str) -> None:
    assert tables.render(text) == text, "run scripts/tables"


def test_each_outcome_is_explained_where_it_is_looked_for() -> None:
    table = README.partition("<!-- outcomes -->")[2].partition("<!-- /outcomes -->")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [str(kind) for kind in Kind]


@pytest.mark.parametrize("name", presets())
def test_each_provider_is_listed_with_all_that_a_user_must_know(name: str) -> None:
    preset = presets()[name]
    row = next(line for line in section("Providers that are known").splitlines() if line.startswith(f"| `{name}` |"))
    for variable in (*preset.env, *preset.variables.values()):
        assert f"`{variable}`" in row
    assert preset.terms.strip() in row
    if preset.free:
        assert str(preset.free.checked) in row
        assert preset.free.note.strip() in row


def test_a_page_without_markers_stays_as_it_is_and_a_bar_in_a_cell_opens_no_column() -> None:
    assert tables.render("# Nothing here\n") == "# Nothing here\n"
    assert tables.render("<!-- outcomes -->\nold\n<!-- /outcomes -->\n") == (
        f"<!-- outcomes -->\n{tables.outcomes()}<!-- /outcomes -->\n"
    )
    for table in (tables.providers(), tables.outcomes()):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


ENVIRON = {
    name: f"value-of-{name.lower()}"
    for name in (
        *re.findall(r"env:(\w+)", EXAMPLE),
        "GROQ_API_KEY",
        "CEREBRAS_API_KEY",
        "OPENROUTER_API_KEY",
        "SIM_KEY",
    )
}


def test_the_example_is_valid() -> None:
    config = parse(EXAMPLE, ENVIRON, file="chain429.example.yaml")
    assert config.warnings == ()
    assert list(config.providers) == ["groq", "cerebras", "openrouter", "cloudflare", "anthropic", "home"]
    assert len(config.chains["default"].tiers) == 3
    assert len(config.chains["default"].targets) == 5


def test_the_example_shows_every_section() -> None:
    assert {key for key in ConfigFile.model_fields if not re.search(rf"^{key}:", EXAMPLE, re.MULTILINE)} == set()
    for key in ProviderFile.model_fields:
        assert re.search(rf"\b{key}:", EXAMPLE), key


def test_what_the_example_sets_for_the_whole_file_is_the_default() -> None:
    config = parse(EXAMPLE, ENVIRON)
    plain = from_environment({"GROQ_API_KEY": "any-key"})
    assert plain
    for name in ("listen", "pages", "strict", "max_body", "deadline", "breaker", "proxy_hosts"):
        assert getattr(config, name) == getattr(plain, name), name
    assert config.endpoints["groq"].timeouts == plain.endpoints["groq"].timeouts


@pytest.mark.parametrize(
    "block", [block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "providers:" in block]
)
def test_examples_in_the_readme_are_valid(block: str) -> None:
    assert parse(block, ENVIRON).warnings == ()


def test_faults_read_as_the_reference_shows_them() -> None:
    shown = re.search(r"```\n(chain429\.yaml:.*?)\n```", REFERENCE, re.DOTALL)
    wrong = """providers:
  groq: {kesy: env:GROQ_API_KEY}
  cerebras:
chains:
  default: [groq/openai/gpt-oss-120b, cerebas/gpt-oss-120b]
"""
    with pytest.raises(ConfigError) as caught:
        parse(wrong, ENVIRON)
    assert shown
    assert str(caught.value) == shown[1]
