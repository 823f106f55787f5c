"""mitmproxy's own things that it leaves untyped, typed."""

from __future__ import annotations

from typing import Any

from mitmproxy import ctx, exceptions


def addon(name: str) -> Any:
    """mitmproxy's addon of that name; None where this program of its family has none."""
    return ctx.master.addons.get(name)  # type: ignore[no-untyped-call]


def set_options(**values: str | bool) -> None:
    ctx.options.update(**values)  # type: ignore[no-untyped-call]


def take_deferred(prefix: str) -> str | None:
    """Take over what options with this prefix were set to before they existed; what is wrong, if something is.

    mitmproxy does so after ``load``; but a value that can't be used then ends the loading of the script without a word,
    and one for an option that never comes is kept for ever.
    """
    try:
        ctx.options.process_deferred()
    except exceptions.OptionsError as error:
        wrong: str | None = str(error)
    else:
        wrong = None
    for name in [name for name in ctx.options.deferred if name.startswith(prefix)]:
        del ctx.options.deferred[name]
        if name not in ctx.options:
            options: set[str] = ctx.options.keys()  # type: ignore[no-untyped-call]
            known = ", ".join(sorted(option for option in options if option.startswith(prefix)))
            wrong = wrong or f"there is no option {name}; there are: {known}"
    return wrong


def options_error(message: str) -> exceptions.OptionsError:
    """What ``configure`` raises for a value that can't be used."""
    return exceptions.OptionsError(message)  # type: ignore[no-untyped-call]
