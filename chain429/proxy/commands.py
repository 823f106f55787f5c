"""What can be typed into mitmproxy's console and into the command bar of mitmweb."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable
from typing import cast

from mitmproxy import types

from chain429.app import App
from chain429.clock import Clock
from chain429.errors import RequestError
from chain429.proxy.host import command, command_error, serve_commands
from chain429.routing.status import ChainStatus, TargetStatus
from chain429.web.view import TargetView

_TITLES = ["target", "key", "state", "back in", "left"]
# In place of a chain's name: whatever is configured.
_AS_CONFIGURED = "-"


class Commands:
    """``app`` gives the running gateway, None while there is none."""

    name = "chain429-commands"

    def __init__(self, app: Callable[[], App | None], clock: Clock) -> None:
        self._app = app
        self._clock = clock

    def running(self) -> None:
        serve_commands("chain429.")

    @command("chain429.limits")
    def limits(self) -> types.Data:
        """List every target: its state, when it is back, and what is left of its limits."""
        now = self._clock.now()
        return cast(types.Data, table(self._running().status(now).chains, now))

    @command("chain429.clear")
    def clear(self, target: str) -> str:
        """Forget what speaks against a target such as groq/openai/gpt-oss-120b: cooldowns, spent quotas and more."""
        app = self._running()
        try:
            return f"{target} is cleared, with {', '.join(app.clear(target))}"
        except RequestError as error:
            raise command_error(error.message) from None

    @command("chain429.chain")
    def chain(self, name: str, host: str = "") -> str:
        """Send requests for a covered host, or for all of them, down this chain until the configuration is loaded
        anew; "-" in place of the name: as configured. A request that names a chain itself goes down that one."""
        app = self._running()
        try:
            hosts = app.switch("" if name == _AS_CONFIGURED else name, host or None)
        except RequestError as error:
            raise command_error(error.message) from None
        return f"{', '.join(hosts)}: {'as configured' if name == _AS_CONFIGURED else f'chain {name}'}"

    def _running(self) -> App:
        app = self._app()
        if app is None:
            raise command_error("chain429 is not running; the event log says why.")
        return app


def table(chains: Iterable[ChainStatus], now: float) -> list[list[str]]:
    """A row of titles, and one for each target; one that is in several chains is there once."""
    targets = {
        (target.provider, target.model, target.credential): target
        for chain in chains
        for tier in chain.tiers
        for target in tier
    }
    return [_TITLES, *(_row(target, now) for target in targets.values())]


def _row(target: TargetStatus, now: float) -> list[str]:
    view = TargetView.of(target)
    left = [f"{limit.left:,} of {limit.size:,} {limit.name}" for limit in view.limits]
    back = "" if target.until is None else str(datetime.timedelta(seconds=max(math.ceil(target.until - now), 0)))
    state = f"{target.state}: {target.reason}" if target.reason else target.state
    counted = [f"used: {view.counted}"] if view.counted else []
    return [f"{target.provider}/{target.model}", target.credential, state, back, "; ".join([*left, *counted])]
