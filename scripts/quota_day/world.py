"""The world of one day: providers, accounts, their true limits, and what happens to them.

All limits are in the fashion of the catalog's free ones, scaled so that a day's traffic comes near to them at times.
Every moment is in Unix seconds.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

from chain429.simulator import SimulatedProvider
from chain429.simulator.cerebras import Cerebras
from chain429.simulator.dialect import Dialect
from chain429.simulator.gemini import Gemini
from chain429.simulator.groq import Groq
from chain429.simulator.limits import Limits, Pace, Quota
from chain429.simulator.mistral import Mistral
from chain429.simulator.openrouter import OpenRouter

# Seven in the morning at the Pacific, where the traffic comes from: OpenRouter's midnight falls into the ninth hour,
# Gemini's into the seventeenth, and nothing begins with a minute of the wall clock.
START = datetime.datetime(2027, 1, 19, 15, 7, 13, tzinfo=datetime.UTC).timestamp()
LIE_SECONDS = 18 * 86400


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One provider as this world has it: one model, and so many accounts with these limits each."""

    name: str
    dialect: Dialect
    model: str
    accounts: int
    tier: int
    limits: Limits


SITES: Mapping[str, Site] = MappingProxyType(
    {
        site.name: site
        for site in (
            Site("groq", Groq(), "openai/gpt-oss-120b", 2, 0, Limits(rpm=30, rpd=1000, tpm=8000, tpd=500_000)),
            Site(
                "cerebras",
                Cerebras(),
                "gpt-oss-120b",
                2,
                1,
                Limits(rpm=5, rph=60, rpd=600, tpm=30_000, tph=200_000, tpd=800_000),
            ),
            Site("gemini", Gemini(), "gemini-2.5-flash", 1, 1, Limits(rpm=5, rpd=500, tpm=250_000)),
            Site("openrouter", OpenRouter(), "openai/gpt-oss-20b:free", 1, 2, Limits(rpm=20, rpd=500)),
            Site("mistral", Mistral(), "mistral-small-2603", 1, 3, Limits(rpm=15, tpm=40_000)),
        )
    }
)

# What a provider's limits become when it lowers them.
_LOWERED: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {"groq": {"tpm": 6000}, "cerebras": {"rpm": 3, "rph": 40}, "mistral": {"rpm": 10}}
)


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """One account, with one key; there is one object of each. ``credential`` is what the engine calls it."""

    site: Site
    key: str
    variable: str

    @property
    def credential(self) -> str:
        return f"{self.site.name}/{self.variable}"


def _accounts() -> Iterator[Account]:
    for site in sorted(SITES.values(), key=lambda site: site.tier):
        for number in range(1, site.accounts + 1):
            yield Account(site, f"sim-{site.name}-{number}", f"{site.name}_{number}".upper())


# In the order of the chain.
ACCOUNTS: Sequence[Account] = tuple(_accounts())
BY_KEY: Mapping[str, Account] = MappingProxyType({account.key: account for account in ACCOUNTS})
ENVIRON: Mapping[str, str] = MappingProxyType({account.variable: account.key for account in ACCOUNTS})


@dataclass(frozen=True, slots=True)
class Day:
    """One day: from ``start`` to ``end``; who is down, who lies once, who lowers its limits, and when."""

    seed: int
    start: float
    end: float
    down: str
    down_from: float
    down_until: float
    liar: str
    lies_at: float
    lowers: str
    lowers_at: float

    @classmethod
    def of(cls, seed: int, hours: float = 24.0) -> Day:
        dice = random.Random(f"{seed}/day")
        length = hours * 3600.0
        down, liar, lowers = dice.sample(sorted(_LOWERED), 3)
        down_from = START + length * dice.uniform(0.42, 0.55)
        return cls(
            seed,
            START,
            START + length,
            down,
            down_from,
            down_from + min(3600.0, length / 10),
            liar,
            START + length * dice.uniform(0.15, 0.35),
            lowers,
            START + length * dice.uniform(0.25, 0.4),
        )

    def is_down(self, site: Site, now: float) -> bool:
        return site.name == self.down and self.down_from <= now < self.down_until

    @property
    def lowered(self) -> Mapping[str, int]:
        return _LOWERED[self.lowers]


class _Lowerable(Quota):
    """A quota whose limits can be lowered while what was used of them stays used."""

    def lower(self, limits: Limits) -> None:
        for (metric, period), window in self._windows.items():
            limit = limits.of(metric, period)
            assert limit is not None
            window.limit = limit


class Provider(SimulatedProvider):
    """The simulated provider of a site, with the site's limits."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._now = site.limits
        self._of_keys: dict[str, _Lowerable] = {}
        super().__init__(site.dialect, Pace())

    def lower(self, changes: Mapping[str, int]) -> None:
        self._now = self._now.changed(changes)
        for quota in self._of_keys.values():
            quota.lower(self._now)

    def _quota(self, key: str, model: str) -> Quota:
        assert model == self._site.model, f"{self.name} was asked for {model}"
        quota = self._of_keys.get(key)
        if quota is None:
            quota = self._of_keys[key] = _Lowerable(self._now, self.dialect.window, Pace())
        return quota


def configuration(*, configured: bool) -> str:
    """What a user would write down for this world: keys and the chain only, or the true limits as well."""
    lines = ["providers:"]
    for site in SITES.values():
        lines.append(f"  {site.name}:")
        lines.append("    keys:")
        for account in ACCOUNTS:
            if account.site is site:
                limits = _written(site) if configured else ""
                lines.append(f"      - {{key: env:{account.variable}{limits}}}")
    tiers: dict[int, list[str]] = {}
    for site in SITES.values():
        tiers.setdefault(site.tier, []).append(f'"{site.name}/{site.model}"')
    lines.append("chains:")
    lines.append("  default:")
    lines += [f"    - [{', '.join(tiers[tier])}]" for tier in sorted(tiers)]
    return "\n".join(lines) + "\n"


def _written(site: Site) -> str:
    """A provider's limits as members of a key. Gemini counts the tokens of prompts only."""
    limits = {field.name: getattr(site.limits, field.name) for field in fields(Limits)}
    if site.name == "gemini":
        limits["itpm"] = limits.pop("tpm")
    return "".join(f", {name}: {limit}" for name, limit in limits.items() if limit is not None)
