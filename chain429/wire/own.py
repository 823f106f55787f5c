"""The key that a caller brings for a provider, and how it is shown there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A shorter one is no secret, and would mangle ordinary words.
_SHORTEST = 6
_DEEPEST = 20
_MASK = "[redacted]"


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key as it came: ``bearer`` in ``Authorization``, ``api_key`` in ``x-api-key``, or both; empty where not there.

    ``identifying`` are the headers (lower case) that tell the provider which program calls. ``caller`` tells keys
    apart and says nothing of them. ``host`` is the only one that the key is meant for; None where that is not known.
    """

    bearer: str = field(repr=False)
    api_key: str = field(repr=False)
    identifying: Mapping[str, str] = field(repr=False)
    caller: str
    host: str | None = None

    def headers(self, auth: str, *, native: bool) -> dict[str, str]:
        """What goes to the provider, which has its keys shown as ``auth`` says.

        ``native``: it made the dialect in which the client asks, so it is shown what it would be without a gateway
        between; a subscription's token is good for nothing else.
        """
        if native:
            shown = dict(self.identifying)
            if self.bearer:
                shown["authorization"] = f"Bearer {self.bearer}"
            if self.api_key:
                shown["x-api-key"] = self.api_key
            return shown
        if auth == "x-api-key":
            return {"x-api-key": self.api_key or self.bearer}
        return {"authorization": f"Bearer {self.bearer or self.api_key}"}

    def hide(self, text: str) -> str:
        """The text without the key, which a provider may repeat."""
        for key in (self.bearer, self.api_key):
            if len(key) >= _SHORTEST:
                text = text.replace(key, _MASK)
        return text

    def hide_in(self, value: Any, depth: int = 0) -> Any:
        """The same for a value of JSON; what is nested deeper than any error is left out."""
        if isinstance(value, str):
            return self.hide(value)
        if not isinstance(value, dict | list):
            return value
        if depth > _DEEPEST:
            return None
        if isinstance(value, list):
            return [self.hide_in(item, depth + 1) for item in value]
        return {name: self.hide_in(item, depth + 1) for name, item in value.items()}
