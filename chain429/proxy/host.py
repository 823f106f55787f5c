"""mitmproxy's own things that it leaves untyped, typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from mitmproxy import command as commands
from mitmproxy import ctx, exceptions, flow
from mitmproxy.hooks import UpdateHook, all_hooks

_Function = TypeVar("_Function", bound=Callable[..., Any])


def addon(name: str) -> Any:
    """mitmproxy's addon of that name; None where this program of its family has none."""
    return ctx.master.addons.get(name)  # type: ignore[no-untyped-call]


def set_options(**values: str | bool | list[str]) -> None:
    ctx.options.update(**values)  # type: ignore[no-untyped-call]


def show_comments() -> None:
    """Have mitmweb's list of flows show their comments, unless the user said which columns it has."""
    columns: list[str] = getattr(ctx.options, "web_columns", [])
    if columns and columns == ctx.options.default("web_columns") and "comment" not in columns:
        set_options(web_columns=[*columns, "comment"])


async def fire(hook: str, shown: flow.Flow) -> None:
    """Call the hook of that name, which takes a flow, of every addon. Their errors are in mitmproxy's log."""
    await ctx.master.addons.trigger_event(all_hooks[hook](shown))


async def fire_update(shown: flow.Flow) -> None:
    """Tell every addon that a flow has changed."""
    await ctx.master.addons.trigger_event(UpdateHook([shown]))


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


def command(name: str) -> Callable[[_Function], _Function]:
    """Make a method of an addon a command of mitmproxy. What it raises for people is a ``command_error``."""
    decorator: Callable[[_Function], _Function] = commands.command(name)
    return decorator


def serve_commands(prefix: str) -> None:
    """Let mitmweb's command bar call the commands with this prefix: by itself it calls those whose names are of letters
    alone, whatever others there are."""
    if addon("webaddon") is None:
        return
    from mitmproxy.tools.web.app import ExecuteCommand  # there already, and only there

    name = rf"/commands/(?P<cmd>{re.escape(prefix)}[a-z]+)"
    ctx.master.app.add_handlers(".*", [(name, ExecuteCommand)])  # type: ignore[attr-defined]


def command_error(message: str) -> exceptions.CommandError:
    """What a command raises that can't be carried out."""
    return exceptions.CommandError(message)


def options_error(message: str) -> exceptions.OptionsError:
    """What ``configure`` raises for a value that can't be used."""
    return exceptions.OptionsError(message)  # type: ignore[no-untyped-call]
