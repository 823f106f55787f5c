"""Settings: how to connect clients, their tokens, the log's retention, covered hosts, the file as a whole.

What the page does, it does over the admin API.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from chain429.config import OBSERVE
from chain429.web.admin import Gateway
from chain429.web.pages.frame import Frame, Page
from chain429.web.pages.written import Written

_MADE = "secret:"


@dataclass(frozen=True, slots=True)
class Field:
    """A setting in the form: its key in the file, what it is called and means, and its value. ``kind`` is ``number``,
    ``text`` or ``flag``."""

    key: str
    label: str
    hint: str
    kind: str
    value: object = None

    @classmethod
    def of(cls, field: Field, settings: Mapping[str, Any]) -> Field:
        found: Any = settings
        for name in field.key.split("."):
            found = found[name]
        return cls(field.key, field.label, field.hint, field.kind, _short(found))


FORMS: tuple[tuple[str, str, tuple[Field, ...]], ...] = (
    (
        "log",
        "The log",
        (
            Field("log.days", "Kept for", "days; sums by the hour stay", "number"),
            Field("log.megabytes", "Kept up to", "megabytes", "number"),
            Field("log.bodies", "Keep what was asked and answered", "without keys, as long as the request", "flag"),
            Field("compare", "Compare prices with", "such as openai/gpt-5.4-mini, where no other is asked for", "text"),
        ),
    ),
    (
        "requests",
        "Requests",
        (
            Field("patience", "Patience", "seconds that a request may wait for a limit to free", "number"),
            Field("timeouts.deadline", "Deadline", "seconds until an answer must have begun", "number"),
            Field("timeouts.connect", "To connect", "seconds", "number"),
            Field("timeouts.first_event", "First words of a stream", "seconds", "number"),
            Field("timeouts.idle", "Pause within a stream", "seconds", "number"),
            Field("timeouts.answer", "Whole answer", "seconds", "number"),
            Field("breaker.failures", "Breaker opens after", "failures in a row", "number"),
            Field("breaker.seconds", "and stays open for", "seconds", "number"),
            Field("strict", "Strict", "a model that is not known is refused, not served by default", "flag"),
            Field("affinity", "Conversations stay", "with the target that has them in its cache", "flag"),
            Field("trust_loopback", "Trust this machine", "its programs need no token", "flag"),
        ),
    ),
)


class Settings:
    """``api_url`` is the base URL that clients use, ``token_file`` where their first token is kept."""

    def __init__(self, frame: Frame, gateway: Gateway, api_url: str, token_file: str) -> None:
        self._frame = frame
        self._gateway = gateway
        self._api_url = api_url
        self._token_file = token_file

    def pages(self) -> tuple[Page, ...]:
        return (Page("/settings", "Settings", self.show),)

    async def show(self, request: web.Request) -> web.Response:
        values = {
            "origin": self._api_url.removesuffix("/v1"),
            "token_file": self._token_file,
            "token_shell": shlex.quote(self._token_file),
        }
        return await self._frame.page(
            request, "settings.html", lambda: {**Written.of(self._gateway).values(_values), **values}
        )


def _values(told: Mapping[str, Any]) -> Mapping[str, object]:
    settings = told["settings"]
    tokens = [
        (row["reference"] or f"{row['masked']}, in the file itself", _name(row["reference"]))
        for row in settings["tokens"]
    ]
    return {
        "forms": [(id, title, [Field.of(one, settings) for one in fields]) for id, title, fields in FORMS],
        "tokens": tokens,
        "hosts": settings["proxy"]["hosts"],
        "uses": [*(chain["name"] for chain in told["chains"]), OBSERVE],
        "observe": OBSERVE,
        "warnings": told["warnings"],
    }


def _name(reference: str | None) -> str:
    """The name of a token that was made here; empty for any other."""
    return reference.removeprefix(_MADE) if reference and reference.startswith(_MADE) else ""


def _short(value: object) -> object:
    """Without the ``.0`` of whole numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
