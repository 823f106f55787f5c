"""What requests cost, and what they would have cost elsewhere: from a dated table of list prices, and what a user sets.

A price that is not known is unknown, never guessed: then the cost is None. Pure but for reading the table once.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from importlib import resources
from typing import NamedTuple

import yaml

from chain429 import catalog
from chain429.config import Config
from chain429.routing.chain import Cost, Entry
from chain429.store.records import Costs, RequestRecord

USD = "usd"
_MILLION = 1_000_000


class Price(NamedTuple):
    """What a million tokens cost; ``cached`` those that were read from a cache, None for as much as others."""

    input: float
    output: float
    cached: float | None = None
    currency: str = USD

    def of(self, tokens_in: int, tokens_out: int, cached: int) -> float:
        cached = min(cached, tokens_in)
        dear = tokens_in - cached
        read = self.input if self.cached is None else self.cached
        return (dear * self.input + cached * read + tokens_out * self.output) / _MILLION


class PriceTable(NamedTuple):
    """Prices by preset and model, or a glob of models; the first that fits counts. ``checked`` is a date."""

    checked: str
    prices: Mapping[str, Mapping[str, Price]]

    def of(self, preset: str, model: str) -> Price | None:
        return _first(self.prices.get(preset, {}), model)


@functools.cache
def list_prices() -> PriceTable:
    """The table that comes with the program."""
    text = resources.files(catalog).joinpath("prices.yaml").read_text(encoding="utf-8")
    table = yaml.safe_load(text)
    return PriceTable(
        table["checked"].isoformat(),
        {
            preset: {model: _price(price) for model, price in models.items()}
            for preset, models in table["prices"].items()
        },
    )


def _price(numbers: Sequence[float]) -> Price:
    dear, made, *cached = map(float, numbers)
    return Price(dear, made, cached[0] if cached else None)


class Pricer:
    """Prices of the requests that a configuration serves."""

    def __init__(self, config: Config, table: PriceTable | None = None) -> None:
        self._config = config
        self._table = table or list_prices()
        self._own = {name: Price(*price) for name, price in config.prices.items()}
        # Nearly all requests are like one before, and finding prices takes longer than all the rest of a record.
        self._found = functools.lru_cache(maxsize=1000)(self._prices)

    def __call__(self, record: RequestRecord) -> Costs:
        """What ``record`` cost, and what the model that it would otherwise have gone to lists."""
        if record.provider is None or record.model is None or record.tokens_in is None or record.tokens_out is None:
            return Costs()
        tokens = (record.tokens_in, record.tokens_out, record.tokens_cached or 0)
        paid, compared, other = self._found(record.provider, record.model, record.model_asked)
        return Costs(
            None if paid is None else paid.of(*tokens),
            paid.currency if paid else USD,
            None if other is None else other.of(*tokens),
            compared if other else "",
            other.currency if other else USD,
            self._table.checked,
        )

    def _prices(self, provider: str, model: str, asked: str) -> tuple[Price | None, str, Price | None]:
        """What is paid, the model to compare with, and its list price."""
        compared = self._compared(provider, model, asked)
        return self._paid(provider, model), compared, self.listed(compared)

    def listed(self, name: str) -> Price | None:
        """The list price of ``provider/model``, whatever is free there."""
        provider, _, model = name.partition("/")
        own = _first(self._own, name)
        if own is not None:
            return own
        endpoint = self._config.endpoints.get(provider)
        return self._table.of(endpoint.preset if endpoint else provider, model)

    def _paid(self, provider: str, model: str) -> Price | None:
        """What is really paid: nothing at a free tier, or at a server of one's own."""
        known = self._config.providers.get(provider)
        free = known is not None and Entry.of(known, model).cost is Cost.FREE
        own = _first(self._own, f"{provider}/{model}")
        if own is not None:
            return own
        return Price(0.0, 0.0) if free else self.listed(f"{provider}/{model}")

    def _compared(self, provider: str, model: str, asked: str) -> str:
        """The model whose list price stands for what the request would have cost: the one that was asked for, where
        that is a vendor's; else the one that the user names; else the one that served, as if it were paid."""
        for vendor in ("openai", "anthropic"):
            if self._table.of(vendor, asked) is not None:
                return f"{vendor}/{asked}"
        if self._config.compare:
            return self._config.compare
        return f"{provider}/{model}"


def _first(prices: Mapping[str, Price], name: str) -> Price | None:
    exact = prices.get(name)
    if exact is not None:
        return exact
    return next((price for glob, price in prices.items() if fnmatchcase(name, glob)), None)
