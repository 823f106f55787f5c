"""Keys out of text: used at every sink (log, database, pages, errors), so that no caller has to remember it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PREFIXES = ("sk", "pk", "gsk", "csk", "xai", "nvapi", "hf", "cpk", "rk", "key", "ak", "org", "proj", "user", "acct")
# What looks like a key, a token or an organisation's id of some provider, whether or not it is one of ours: providers
# quote the key that they refuse, and name the organisation whose limit was hit.
_SHAPES = (
    rf"\b(?:{'|'.join(_PREFIXES)})[-_](?=[A-Za-z0-9_-]*[0-9])[A-Za-z0-9_-]{{8,}}",
    r"\bAIza[0-9A-Za-z_-]{20,}",
    r"(?<=[Bb]earer )[^\s\"',;]{8,}",
    r"\bcashu[AB][A-Za-z0-9_=-]{16,}",
)
# A text in which neither of these is found has none of the shapes. That is nearly every text, and the shapes themselves
# are slow to look for: they may begin anywhere.
_JOINT = re.compile(rf"[-_](?<=(?:{'|'.join(sorted({prefix[-2:] for prefix in _PREFIXES}))}).)[A-Za-z0-9_-]{{8}}")
_MARKS = ("AIza", "earer ", "cashu")
_NOTHING = re.compile("(?!)")
MASK = "[redacted]"


class Redactor:
    """Replaces the known secrets, and whatever has the shape of one. ``know`` adds secrets; none is ever forgotten."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._literal = _NOTHING
        self._pattern = re.compile("|".join(_SHAPES))
        self.know(secrets)

    def know(self, secrets: Iterable[str]) -> None:
        # Shorter ones than this are no secrets, and would mangle ordinary words.
        self._known |= {secret for secret in secrets if len(secret) >= 6}
        literal = [re.escape(secret) for secret in sorted(self._known, key=len, reverse=True)]
        self._literal = re.compile("|".join(literal)) if literal else _NOTHING
        self._pattern = re.compile("|".join((*literal, *_SHAPES)))

    def __call__(self, text: str) -> str:
        if self._literal.search(text) or _JOINT.search(text) or any([mark in text for mark in _MARKS]):  # noqa: C419
            return self._pattern.sub(MASK, text)
        return text
