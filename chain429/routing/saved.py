"""Reading back what was saved of the last run, from a file that may be damaged or edited by hand.

Whatever is not as it should be is passed over, as if it had never been saved; nothing here raises. What is saved, and
which numbers make sense, is told by those whose state it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

# What JSON can hold; there is no infinity and no NaN among its numbers. Ids are the names of members, words that are
# meant for people are values.
Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | float | None"

# Of anything that is counted, and of Unix seconds.
_MOST = 1e12


def members(saved: object) -> Iterator[tuple[str, object]]:
    """The members of an object; of anything else none."""
    if isinstance(saved, dict):
        yield from saved.items()


def number(saved: object, most: float = _MOST) -> float | None:
    """A number from 0 to ``most``, or None."""
    # A bool is an int, and NaN is neither below nor above anything.
    if isinstance(saved, (int, float)) and not isinstance(saved, bool) and 0 <= saved <= most:
        return float(saved)
    return None


def pairs(saved: object) -> Iterator[tuple[float, float]]:
    """Pairs of numbers from a flat list of them."""
    if isinstance(saved, list):
        for one, other in zip(map(number, saved[::2]), map(number, saved[1::2]), strict=False):
            if one is not None and other is not None:
                yield one, other


def text(saved: object) -> str:
    """A text; an empty one of anything else."""
    return saved if isinstance(saved, str) else ""
