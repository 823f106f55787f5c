"""``chain429 simulate``."""

from __future__ import annotations

import math
from typing import Any

import click

from chain429.cli.process import run, stop_event
from chain429.clock import SystemClock
from chain429.simulator import Simulator


class _Finite(click.FloatRange):
    """A range of numbers, among which click has NaN and the infinities."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=4299,
    show_default=True,
    help="Where to listen on 127.0.0.1; 0 takes a free port.",
)
@click.option(
    "--time-scale",
    type=_Finite(0, min_open=True),
    default=1.0,
    show_default=True,
    help="How much faster windows pass: 60 makes a minute a second.",
)
@click.option(
    "--token-delay", type=_Finite(0), default=0.02, show_default=True, help="Seconds between the words of a stream."
)
def simulate(port: int, time_scale: float, token_delay: float) -> None:
    """Run local providers that speak and limit like the real ones."""
    run(lambda: _simulate(port, time_scale, token_delay))


async def _simulate(port: int, time_scale: float, token_delay: float) -> None:
    stop = stop_event()
    simulator = Simulator(clock=SystemClock(), port=port, time_scale=time_scale, token_delay=token_delay)
    await simulator.start()
    try:
        click.echo("Simulated providers (any key that begins with 'sim-' is good):")
        for name in simulator.providers:
            click.echo(f"  {name:<16} {simulator.base_url(name)}")
        click.echo(f"  control          http://127.0.0.1:{simulator.port}/control")
        await stop.wait()
    finally:
        await simulator.stop()
