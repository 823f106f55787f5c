from __future__ import annotations

from typing import Any

import pytest

from chain429.catalog import presets
from chain429.config import parse
from chain429.pricing import Price, Pricer, PriceTable, list_prices
from chain429.store.records import Costs, RequestRecord

TABLE = PriceTable(
    "2026-01-01",
    {
        "openai": {"gpt-4o-mini": Price(0.15, 0.6)},
        "groq": {"m": Price(1, 2)},
        "deepseek": {"deep*": Price(1, 2, 0.1)},
    },
)
CONFIG = """
providers:
  groq: {keys: [env:K1]}
  mine: {preset: deepseek, keys: [env:K2]}
  home: {base_url: "http://127.0.0.1:1/v1"}
chains: {default: [groq/m, mine/deep, home/x]}
"""


def pricer(more: str = "") -> Pricer:
    return Pricer(parse(CONFIG + more, {"K1": "a" * 20, "K2": "b" * 20}), TABLE)


def record(provider: str | None, model: str, asked: str = "default", **changes: Any) -> RequestRecord:
    fields: dict[str, Any] = {
        "id": "r", "at": 0.0, "dialect": "chat", "chain": "default", "model_asked": asked, "provider": provider,
        "model": model, "credential": "k", "status": 200, "outcome": "served", "streamed": False,
        "tokens_in": 1_000_000, "tokens_out": 500_000, "latency": 1.0, "first_token": None, "client": "sdk",
        "error": "", "attempts": (),
    }  # fmt: skip
    return RequestRecord(**{**fields, **changes})


def test_a_free_tier_costs_nothing_and_is_compared_with_its_own_list_price() -> None:
    assert pricer()(record("groq", "m")) == Costs(0.0, "usd", 2.0, "groq/m", "usd", "2026-01-01")


def test_it_is_compared_with_the_vendor_s_model_that_was_asked_for() -> None:
    assert pricer()(record("groq", "m", "gpt-4o-mini")).list_model == "openai/gpt-4o-mini"
    assert pricer()(record("groq", "m", "gpt-4o-mini")).list_cost == pytest.approx(0.45)


def test_a_user_names_what_to_compare_with() -> None:
    costs = pricer("compare: openai/gpt-4o-mini\n")(record("groq", "m"))
    assert costs.list_model == "openai/gpt-4o-mini"
    assert costs.list_cost == pytest.approx(0.45)


def test_what_is_paid_is_paid_and_what_came_from_a_cache_is_cheaper() -> None:
    assert pricer()(record("mine", "deep-1")).cost == 2.0
    assert pricer()(record("mine", "deep-1", tokens_cached=500_000)).cost == pytest.approx(1.55)
    assert pricer()(record("mine", "deep-1", tokens_cached=9_000_000)).cost == pytest.approx(1.1)


def test_what_is_unknown_is_none() -> None:
    assert pricer()(record("mine", "other")) == Costs(None, "usd", None, "", "usd", "2026-01-01")
    assert pricer()(record(None, "m")) == Costs()
    assert pricer()(record("groq", "m", tokens_out=None)) == Costs()


def test_a_user_s_price_goes_first_and_may_be_in_sats() -> None:
    more = 'prices: {"mine/*": {input: 10, output: 20, currency: sats}, groq/m: {input: 3, output: 0}}\n'
    assert pricer(more)(record("mine", "x")) == Costs(20.0, "sats", 20.0, "mine/x", "sats", "2026-01-01")
    assert pricer(more)(record("groq", "m")).cost == 3.0


def test_a_server_of_one_s_own_costs_nothing() -> None:
    assert pricer()(record("home", "x")).cost == 0.0


def test_the_table_is_of_known_providers_and_has_a_date() -> None:
    table = list_prices()
    assert table.checked.startswith("2026-")
    assert set(table.prices) <= set(presets())
    assert all(price.input >= 0 and price.output >= 0 for models in table.prices.values() for price in models.values())
    assert table.of("anthropic", "claude-haiku-4-5-20260101") == Price(1, 5)
