"""The figures as a table, and against their bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scripts.benchmark.contestants import DIRECT, GATEWAY, LANE, PLAIN, RELAY

Figures = Mapping[str, Mapping[str, float]]

# key: what it is, its unit, and what a value in seconds is multiplied with to be told in that unit
ROWS = {
    "latency_p50": ("latency, p50", "ms", 1e3),
    "latency_p99": ("latency, p99", "ms", 1e3),
    "added_p50": ("added latency, p50", "ms", 1e3),
    "added_p99": ("added latency, p99", "ms", 1e3),
    "first_p50": ("first word of a stream, p50", "ms", 1e3),
    "added_first": ("added to the first word, p50", "ms", 1e3),
    "rate": ("requests a second, 32 clients", "", 1),
    "cpu_busy": ("CPU of 1000 requests, 32 clients", "s", 1),
    "cpu_serial": ("CPU of 1000 requests, one by one", "s", 1),
    "cpu_full": ("CPU of 10 000 chunks, full rate", "s", 1),
    "cpu_paced": ("CPU of 10 000 chunks, 50 a second", "s", 1),
    "memory_start": ("memory after the start", "MB", 1),
    "memory_warm": ("memory after the first round", "MB", 1),
    "memory_end": ("memory at the end", "MB", 1),
    "refusal": ("added by a first target's 429, p50", "ms", 1e3),
    "cpu_refusal": ("CPU of 1000 first targets' 429", "s", 1),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that must not be more than ``limit``; ``value`` is None where it was not measured."""

    title: str
    value: float | None
    limit: float
    unit: str

    @property
    def verdict(self) -> str:
        return "not measured" if self.value is None else "pass" if self.value <= self.limit else "FAIL"


def bars(figures: Figures) -> list[Bar]:
    """What the gateway's port has to live up to, beside the relay."""

    def ratio(key: str, name: str = GATEWAY, to: str = RELAY) -> float | None:
        yardstick = figures.get(to, {}).get(key)
        own = figures.get(name, {}).get(key)
        return own / yardstick if own is not None and yardstick is not None and yardstick > 0 else None

    own = figures.get(GATEWAY, {})
    relay = figures.get(RELAY, {})
    growth = own["memory_end"] / own["memory_warm"] if own else None
    # What a refused attempt may cost, besides one more way to the provider and back: as much as a relay.
    direct = figures.get(DIRECT, {}).get("latency_p50", 0.0)
    refusal = (own["refusal"] - direct) / relay["latency_p50"] if own and relay else None
    return [
        Bar("CPU of a request, 32 clients", ratio("cpu_busy"), 2.0, "x relay"),
        Bar("CPU of a request, one by one", ratio("cpu_serial"), 2.0, "x relay"),
        Bar("added latency, p50", ratio("added_p50"), 2.0, "x relay"),
        Bar("added to the first word, p50", ratio("added_first"), 2.0, "x relay"),
        Bar("CPU of a chunk, full rate", ratio("cpu_full"), 1.5, "x relay"),
        Bar("CPU of a chunk, 50 a second", ratio("cpu_paced"), 1.5, "x relay"),
        Bar("a first target's 429", refusal, 1.0, "x a request by the relay, besides the way there"),
        Bar("memory at the end", own.get("memory_end"), 120.0, "MB"),
        Bar("memory at the end", growth, 1.05, "x after the first round"),
        Bar("CPU of a request by the lane", ratio("cpu_serial", LANE, GATEWAY), 1.6, "x the API port"),
        Bar("CPU of a request by the lane", ratio("cpu_serial", LANE, PLAIN), 0.4, "x plain mitmproxy"),
        Bar("CPU of a chunk by the lane", ratio("cpu_full", LANE, GATEWAY), 2.0, "x the API port"),
    ]


def table(figures: Figures, skipped: Mapping[str, str]) -> str:
    """Figures side by side, those of others than the relay with their ratio to it; then the bars."""
    names = list(figures)
    relay = figures.get(RELAY, {})
    lines = [f"{'':44}" + "".join(f"{name:>18}" for name in names)]
    for key, (title, unit, scale) in ROWS.items():
        if any(key in figures[name] for name in names):
            cells = [_cell(figures[name].get(key), relay.get(key), scale, name) for name in names]
            lines.append(f"{title + (f' [{unit}]' if unit else ''):44}" + "".join(f"{cell:>18}" for cell in cells))
    lines += [f"{name} was skipped: {why}" for name, why in skipped.items()]
    return "\n".join([*lines, "", *verdicts(bars(figures))])


def verdicts(bars: Iterable[Bar]) -> list[str]:
    """A line for each of ``bars``: whether it was kept, and by how much."""
    lines: list[str] = []
    for bar in bars:
        value = "-" if bar.value is None else f"{bar.value:.2f}"
        lines.append(f"{bar.verdict:14}{bar.title:32}{value:>8} {bar.unit}, at most {bar.limit:g}")
    return lines


def _cell(value: float | None, relay: float | None, scale: float, name: str) -> str:
    if value is None:
        return ""
    told = f"{value * scale:.{0 if value * scale >= 1000 else 3}f}"
    ratio = f" ({value / relay:.2f}x)" if relay and name not in (DIRECT, RELAY) else ""
    return told + ratio
