"""The figures as a table, the causes of what was lost, and the bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.quota_day.day import Figures, percentile

_SHARE = 99.0
_WASTED = {True: 1.0, False: 5.0}  # by whether limits are configured
_BEYOND = 60.0
_CAUSES = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """What has to hold. ``value`` is that of the day that comes off worst, or of all days where the title says so."""

    title: str
    value: float
    holds: bool

    @property
    def verdict(self) -> str:
        return "pass" if self.holds else "MISSED"


def bars(days: Sequence[Figures], *, configured: bool) -> list[Bar]:
    lost = max(day.avoidable for day in days)
    share = min(day.share for day in days)
    wasted = total(days).wasted
    beyond = max(day.beyond for day in days)
    most = _WASTED[configured]
    return [
        Bar("requests failed with a free slot within their patience, on the worst day: none", lost, lost == 0),
        Bar(f"served, in % of the oracle, on the worst day: at least {_SHARE:g}", share, share >= _SHARE),
        Bar(f"refused calls per 100 served, over all days: at most {most:g}", wasted, wasted <= most),
        Bar(
            f"unused after a recovery, beyond the window, on the worst day: at most {_BEYOND:g} s",
            beyond,
            beyond <= _BEYOND,
        ),
    ]


def total(days: Sequence[Figures]) -> Figures:
    """All days together."""
    found = Figures()
    for day in days:
        found.add(day)
    return found


def table(days: Sequence[Figures], *, configured: bool) -> str:
    """Each day and all of them, then providers, causes and bars of all."""
    everything = total(days)
    columns = [*days, everything] if len(days) > 1 else list(days)
    heads = [f"seed {day.seeds[0]}" for day in days] + (["all"] if len(days) > 1 else [])
    lines = [_row("true limits configured" if configured else "cold start", heads)]
    lines += [_row(title, [value(day) for day in columns]) for title, value in _ROWS]
    lines += ["", *_providers(everything), "", *_recoveries(everything)]
    for title, causes in everything.causes.items():
        lines += ["", *_causes(title, causes)]
    lines.append("")
    lines += [f"{bar.verdict:8}{bar.title} ({bar.value:.2f})" for bar in bars(days, configured=configured)]
    return "\n".join(lines)


def as_json(figures: Figures) -> dict[str, Any]:
    """What is worth keeping of a day, or of several."""
    return {
        "seeds": figures.seeds,
        **{name: getattr(figures, name) for name in _COUNTS},
        "waits": _spread(figures.waits),
        "oracle_waits": _spread(figures.placed_waits),
        "providers": {
            name: {
                "calls": tally.calls,
                "served": tally.served,
                "refused": dict(tally.refused),
                "failed": dict(tally.failed),
                "recovered_late": _spread([late.seconds for late in figures.late if late.provider == name]),
            }
            for name, tally in figures.tallies.items()
        },
        "causes": {title: dict(causes.most_common()) for title, causes in figures.causes.items()},
    }


_COUNTS = (
    *("requests", "served", "placed", "share", "failed", "avoidable", "free_now", "free_soon", "contested"),
    *("outrun", "hopeless"),
    *("refused", "wasted", "wasted_first", "wasted_after", "beyond"),
)
_ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("requests", lambda day: f"{day.requests}"),
    ("served", lambda day: f"{day.served}"),
    ("served by the oracle", lambda day: f"{day.placed}"),
    ("served, in % of the oracle", lambda day: f"{day.share:.2f}"),
    ("failed", lambda day: f"{day.failed}"),
    ("  with a free slot at that moment", lambda day: f"{day.free_now}"),
    ("  with a free slot within its patience", lambda day: f"{day.free_soon}"),
    ("  at the end of its patience, another took the slot", lambda day: f"{day.contested}"),
    ("  without one, though the oracle served it", lambda day: f"{day.outrun}"),
    ("  as with the oracle", lambda day: f"{day.hopeless}"),
    ("refused calls per 100 served", lambda day: f"{day.wasted:.2f}"),
    ("  in the first hour", lambda day: f"{day.wasted_first:.2f}"),
    ("  after it", lambda day: f"{day.wasted_after:.2f}"),
    ("waits over 1 s", lambda day: f"{len(day.waits)}"),
    ("  median, p95 [s]", lambda day: _middle(day.waits)),
    ("waits over 1 s, oracle", lambda day: f"{len(day.placed_waits)}"),
    ("  median, p95 [s]", lambda day: _middle(day.placed_waits)),
    ("recovered and unused beyond its window [s]", lambda day: f"{day.beyond:.0f}"),
)


def _row(title: str, cells: Sequence[str]) -> str:
    return f"{title:52}" + "".join(f"{cell:>14}" for cell in cells)


def _middle(seconds: Sequence[float]) -> str:
    return f"{percentile(seconds, 0.5):.1f}, {percentile(seconds, 0.95):.1f}" if seconds else "-"


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "count": len(seconds),
        "median": round(percentile(seconds, 0.5), 3),
        "p95": round(percentile(seconds, 0.95), 3),
        "most": round(max(seconds, default=0.0), 3),
    }


def _providers(figures: Figures) -> list[str]:
    lines = [f"{'provider':12}{'calls':>8}{'served':>8}  refused by limit; failed otherwise"]
    for name, tally in figures.tallies.items():
        refused = ", ".join(f"{count} {kind}" for kind, count in tally.refused.most_common()) or "-"
        failed = ", ".join(f"{count} {kind}" for kind, count in tally.failed.most_common()) or "-"
        lines.append(f"{name:12}{tally.calls:8}{tally.served:8}  {refused}; {failed}")
    return lines


def _recoveries(figures: Figures) -> list[str]:
    """How long accounts that had refused were left unused after they had room again, by what had refused."""
    lines = [f"{'recovered, unused while in demand':44}{'count':>8}{'median':>10}{'p95':>10}{'longest':>10}  [s]"]
    kinds = sorted({(late.provider, late.kind) for late in figures.late})
    for provider, kind in kinds:
        seconds = [late.seconds for late in figures.late if (late.provider, late.kind) == (provider, kind)]
        spread = _spread(seconds)
        title = f"  {provider}, {kind}"
        lines.append(f"{title:44}{len(seconds):8}{spread['median']:10.1f}{spread['p95']:10.1f}{spread['most']:10.1f}")
    return lines


def _causes(title: str, causes: Counter[str]) -> list[str]:
    lines = [f"{title}: {causes.total()}"]
    lines += [f"{count:8}  {cause}" for cause, count in causes.most_common(_CAUSES)]
    return lines
