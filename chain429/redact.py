"""Keys out of text: used at every sink (log, database, pages, errors), so that no caller has to remember it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PREFIXES = (
    *("sk", "pk", "gsk", "csk", "xai", "nvapi", "hf", "cpk", "rk", "fw", "tgp", "vck", "key", "ak"),
    *("org", "proj", "user", "acct"),
)
# What looks like a key, a token or an organisation's id of some provider, whether or not it is one of ours: providers
# quote the key that they refuse, and name the organisation whose limit was hit. No shape may look ahead without a
# bound: texts come from strangers, and the time must grow no faster than their length.
_SHAPES = re.compile(
    rf"(?P<named>(?<![A-Za-z0-9])(?:{'|'.join(_PREFIXES)})[-_](?:[A-Za-z0-9_*-]|\.(?=[A-Za-z0-9])){{8,}})"
    r"|(?P<bearer>(?:(?<=[Bb]earer )|(?<=BEARER ))[^\s\"',;]{8,})"
    r"|\bAIza[0-9A-Za-z_-]{20,}"
    r"|\bcashu[AB][A-Za-z0-9_=-]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{8,400}\.[A-Za-z0-9_.-]{8,}"
)
# A text in which none of these is found has none of the shapes. That is nearly every text, and the shapes themselves
# are slow to look for: they may begin anywhere.
_JOINT = re.compile(rf"[-_](?<=(?:{'|'.join(sorted({prefix[-2:] for prefix in _PREFIXES}))}).)[A-Za-z0-9_*.-]{{8}}")
_MARKS = ("AIza", "earer ", "EARER ", "cashu", "eyJ")
_NOTHING = re.compile("(?!)")
MASK = "[redacted]"


class Redactor:
    """Replaces the known secrets, and whatever has the shape of one. ``know`` adds secrets; none is ever forgotten."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._literal = _NOTHING
        self.know(secrets)

    def know(self, secrets: Iterable[str]) -> None:
        # Shorter ones than this are no secrets, and would mangle ordinary words.
        self._known |= {secret for secret in secrets if len(secret) >= 6}
        literal = [re.escape(secret) for secret in sorted(self._known, key=len, reverse=True)]
        self._literal = re.compile("|".join(literal)) if literal else _NOTHING

    def __call__(self, text: str) -> str:
        text = self._literal.sub(MASK, text)
        if _JOINT.search(text) or any([mark in text for mark in _MARKS]):  # noqa: C419
            return mask_shapes(text)
        return text


def mask_shapes(text: str) -> str:
    """The text without whatever looks like a key, an organisation or a user."""
    return _SHAPES.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    text = found[0]
    if found.lastgroup == "bearer":
        word = text.isalpha() and text.islower() and len(text) < 16  # "Bearer authentication is required"
    else:
        word = found.lastgroup == "named" and not any(map(_is_key, re.split(r"[^A-Za-z0-9*]+", text)))
    return text if word else MASK


def _is_key(piece: str) -> bool:
    """Whether a piece between dashes is no word, date or number, such as those of user_message_2 and key-20261121."""
    if len(piece) < 8:
        return False
    if piece.isdecimal():
        return len(piece) > 8
    return not piece.isalpha() or len(piece) >= 20 or sum(map(str.isupper, piece[1:])) >= 3
