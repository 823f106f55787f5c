"""The lines of docs/clients.md, so that what is tried is what people are told to paste."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "clients.md"
# Where the page says that the gateway listens.
USUAL = "http://127.0.0.1:4290"


def lines(heading: str, language: str, url: str, page: str | None = None) -> str:
    """The first block of that language under that heading, with the gateway at ``url``. Raises LookupError."""
    text = PAGE.read_text(encoding="utf-8") if page is None else page
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    block = section and re.search(rf"^```{re.escape(language)}$\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
    if not block:
        raise LookupError(f"docs/clients.md has no block {language!r} under {heading!r}")
    if USUAL not in block[1]:
        raise LookupError(f"docs/clients.md does not name {USUAL} in the block {language!r} under {heading!r}")
    return block[1].replace(USUAL, url)
