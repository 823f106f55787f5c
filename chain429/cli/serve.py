"""``chain429 serve``."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from pathlib import Path

import click

from chain429 import log
from chain429.app import App, Options, banner, launch
from chain429.cli import options
from chain429.cli.process import run, stop_event
from chain429.clock import SystemClock
from chain429.redact import Redactor

_log = logging.getLogger("chain429.serve")


@click.command()
@options.config
@options.data_dir
@click.option("--listen", metavar="HOST:PORT", help="Address of the API (default 127.0.0.1:4290).")
@click.option("--pages", metavar="HOST:PORT", help="Address of the pages (default 127.0.0.1:4291).")
@click.option("--debug", is_flag=True, help="Log each decision and why.")
@click.option("--log-json", is_flag=True, help="Log JSON, one object a line.")
def serve(
    config: Path | None, data_dir: Path | None, listen: str | None, pages: str | None, debug: bool, log_json: bool
) -> None:
    """Run the gateway without the proxy: the API and the pages."""
    told = Options(config=config, data_dir=data_dir, listen=listen, pages=pages, debug=debug)
    run(lambda: _serve(told, log_json=log_json))


async def _serve(told: Options, *, log_json: bool) -> None:
    redact = Redactor()
    json = log_json or log.told(os.environ.get(log.LOG_FORMAT))
    handler = log.start(redact, debug=told.debug, json=json)
    stop = stop_event()
    try:
        app = await launch(told, os.environ, SystemClock(), redact)
        _on_hangup(app)
        _calm_collector()
        click.echo(banner(app, None))
        await stop.wait()
        _log.info("stopping: requests under way may finish; once more stops at once")
        await app.stop()
    finally:
        log.stop(handler)


def _calm_collector() -> None:
    """What there is now will stay, so that the garbage collector need not look at it; and a request makes hundreds of
    objects that go by themselves, so that it need not come every 700 of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _on_hangup(app: App) -> None:
    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.reload)
