"""``scripts/tables``: what the documentation says of providers and outcomes, rendered from the code that acts on it.

A table stands between two markers, ``<!-- providers -->`` and ``<!-- /providers -->``; a page without them is left
alone.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from chain429.catalog import Limits, Preset, presets
from chain429.routing.outcome import CONSEQUENCES

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "configuration.md")


def providers() -> str:
    """One row for each preset, in the order of the default chain."""
    rows = [
        (
            f"`{name}`",
            f"[{preset.name}]({preset.site})" if preset.site else preset.name,
            _environment(preset),
            preset.tier,
            _free(preset),
            preset.free.checked.isoformat() if preset.free else "",
            preset.terms.strip(),
        )
        for name, preset in presets().items()
    ]
    return _table(("preset", "provider", "environment", "tier", "known to be free", "checked", "terms"), rows)


def outcomes() -> str:
    """One row for each kind of outcome."""
    rows = [
        (f"`{kind}`", consequence.examples, consequence.benches, consequence.next)
        for kind, consequence in CONSEQUENCES.items()
    ]
    return _table(("outcome", "examples", "what it benches", "what follows"), rows)


TABLES: Mapping[str, Callable[[], str]] = {"providers": providers, "outcomes": outcomes}
_MARKED = re.compile(rf"(<!-- ({'|'.join(TABLES)}) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def render(page: str) -> str:
    """The page with every table that it has markers for, as the code has it now."""
    return _MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", page)


def _environment(preset: Preset) -> str:
    keys = " or ".join(f"`{name}`" for name in preset.env)
    return ", ".join([*([keys] if keys else []), *(f"`{name}`" for name in preset.variables.values())])


def _free(preset: Preset) -> str:
    free = preset.free
    if free is None:
        return ""
    by_amount: dict[str, list[str]] = {}
    for model, limits in free.limits.items():
        by_amount.setdefault(_amounts(limits), []).append(f"`{model}`")
    parts = [f"{', '.join(models)}: {amounts}" for amounts, models in by_amount.items()]
    others = _amounts(free.any)
    if others:
        parts.append(f"{'any other' if parts else 'any model'}: {others}")
    if free.note:
        parts.append(free.note.strip())
    return "<br>".join(parts)


def _amounts(limits: Limits) -> str:
    return ", ".join(
        f"{name} {amount:g}" if amount < 1e6 else f"{name} {amount:.0f}" for name, amount in limits if amount
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/tables", description="Renders the tables of the documentation anew.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is out of date")
    told = parser.parse_args(arguments)
    old = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if render(text) != text:
            old.append(path.relative_to(ROOT))
            if not told.check:
                path.write_text(render(text), encoding="utf-8")
    for page in old:
        print(f"{page} {'is out of date: run scripts/tables' if told.check else 'is up to date again'}")
    return 1 if told.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
