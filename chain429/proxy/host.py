"""mitmproxy's own things that it leaves untyped, typed."""

from __future__ import annotations

from typing import Any

from mitmproxy import ctx, exceptions


def addon(name: str) -> Any:
    """mitmproxy's addon of that name; None where this program of its family has none."""
    return ctx.master.addons.get(name)  # type: ignore[no-untyped-call]


def set_options(**values: str) -> None:
    ctx.options.update(**values)  # type: ignore[no-untyped-call]


def options_error(message: str) -> exceptions.OptionsError:
    """What ``configure`` raises for a value that can't be used."""
    return exceptions.OptionsError(message)  # type: ignore[no-untyped-call]
