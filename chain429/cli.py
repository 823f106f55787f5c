"""The command line: ``chain429 serve | simulate | check | quota | version``, and those of ``launch/commands``."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from chain429 import __version__, log
from chain429.app import App, Options, banner, data_folder, find_config, launch, running_pages
from chain429.clock import SystemClock
from chain429.config import Config, load
from chain429.errors import Chain429Error, ConnectFailed, UpstreamError
from chain429.inquiry import inquire
from chain429.launch.commands import COMMANDS
from chain429.redact import Redactor
from chain429.simulator import Simulator
from chain429.upstream import HttpUpstream
from chain429.vault import MASTER_KEY, Vault

_config = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file. Else $CHAIN429_CONFIG, ./chain429.yaml, then the user's configuration folder.",
)
_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where tokens and the request log are kept. Else $CHAIN429_DATA_DIR, or the user's data folder.",
)
_WIDTH = 100  # columns


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """An AI gateway that spends free tiers first.

    One OpenAI-compatible endpoint in front of an ordered chain of providers: when one is at its limit or fails, the
    next one answers. 'mitmdump -s addons/chain429.py' runs the same with an intercepting proxy.
    """


for _command in COMMANDS:
    main.add_command(_command)


@main.command()
@_config
@_data_dir
@click.option("--listen", metavar="HOST:PORT", help="Address of the API (default 127.0.0.1:4290).")
@click.option("--pages", metavar="HOST:PORT", help="Address of the pages (default 127.0.0.1:4291).")
@click.option("--debug", is_flag=True, help="Log each decision and why.")
def serve(config: Path | None, data_dir: Path | None, listen: str | None, pages: str | None, debug: bool) -> None:
    """Run the gateway without the proxy: the API and the pages."""
    options = Options(config=config, data_dir=data_dir, listen=listen, pages=pages, debug=debug)
    _run(lambda: _serve(options))


async def _serve(options: Options) -> None:
    redact = Redactor()
    handler = log.start(redact, debug=options.debug)
    stop = _stop_event()
    try:
        app = await launch(options, os.environ, SystemClock(), redact)
        _on_hangup(app)
        _calm_collector()
        click.echo(banner(app, None))
        await stop.wait()
        click.echo("stopping: requests under way may finish; once more stops at once", err=True)
        await app.stop()
    finally:
        log.stop(handler)


def _calm_collector() -> None:
    """What there is now will stay, so that the garbage collector need not look at it; and a request makes hundreds of
    objects that go by themselves, so that it need not come every 700 of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _stop_event() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; the second one ends the process as it would without us."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, asked, number)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt instead.
            break
    return stop


def _on_hangup(app: App) -> None:
    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.reload)


@main.command()
@click.option("--port", default=4299, show_default=True, help="Where to listen on 127.0.0.1; 0 takes a free port.")
@click.option(
    "--time-scale", default=1.0, show_default=True, help="How much faster windows pass: 60 makes a minute a second."
)
@click.option("--token-delay", default=0.02, show_default=True, help="Seconds between the words of a stream.")
def simulate(port: int, time_scale: float, token_delay: float) -> None:
    """Run local providers that speak and limit like the real ones."""
    _run(lambda: _simulate(port, time_scale, token_delay))


async def _simulate(port: int, time_scale: float, token_delay: float) -> None:
    stop = _stop_event()
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


@main.command()
@_config
def check(config: Path | None) -> None:
    """Check the configuration, then try each key with a call that costs nothing."""
    path = find_config(Options(config=config), os.environ)
    vault = Vault(data_folder(Options(), os.environ), os.environ.get(MASTER_KEY))
    found = _or_exit(lambda: load(path, os.environ, vault.get))
    if found is None:
        click.echo("No configuration file and no provider's key was found: chain429 would run on its simulator.")
        return
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{found.source}: {len(found.providers)} providers, {len(found.chains)} chains: no fault found")
    good = _run(lambda: _check(found))
    sys.exit(0 if good else 1)


async def _check(config: Config) -> bool:
    redact = Redactor(secret.reveal() for secret in config.secrets())
    clock = SystemClock()
    upstream = HttpUpstream(clock)
    await upstream.open()
    good = True
    try:
        for endpoint in config.endpoints.values():
            for credential in endpoint.secrets:
                provision = config.providers[endpoint.id].provision
                found = await inquire(upstream.get, endpoint, provision, credential, clock.now())
                good = good and found.works
                click.echo(f"  {'ok  ' if found.works else 'FAIL'} {credential}: {redact(found.words)}")
            if endpoint.passing:
                click.echo(f"  ok   {endpoint.passing}: not tried: each request brings its key")
    finally:
        await upstream.close()
    return good


@main.command()
@_data_dir
@click.option("--chain", "only", metavar="NAME", help="Only this chain.")
@click.option("--json", "as_json", is_flag=True, help="As GET /admin/api/limits gives it.")
def quota(data_dir: Path | None, only: str | None, as_json: bool) -> None:
    """Show what is left of each target's limits.

    Asks the gateway that runs here and keeps its data in the same folder.
    """
    found = _run(lambda: _limits(data_folder(Options(data_dir=data_dir), os.environ)))
    if only is not None:
        names = [chain["name"] for chain in found["chains"]]
        found["chains"] = [chain for chain in found["chains"] if chain["name"] == only]
        if not found["chains"]:
            _fail(f"there is no chain {only!r}; there are: {', '.join(names)}")
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(_quota_lines(found)))


async def _limits(data: Path) -> Any:
    """What the gateway that keeps its data there says of its limits."""
    url = running_pages(data)
    if url is None:
        _fail(f"no gateway runs with its data in {data}; 'chain429 serve' starts one")
    try:
        token = (data / "admin-token").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        _fail(f"the admin token can't be read from {data / 'admin-token'}")
    upstream = HttpUpstream(SystemClock())
    await upstream.open()
    try:
        status, body = await upstream.get(f"{url}/admin/api/limits", {"authorization": f"Bearer {token}"}, 10)
    except ConnectFailed:
        _fail(f"no gateway answers at {url} any more; 'chain429 serve' starts one")
    except UpstreamError as error:
        _fail(f"what answers at {url} is no gateway: {error}")
    finally:
        await upstream.close()
    if status == 401:
        _fail(f"the gateway at {url} does not take the admin token in {data / 'admin-token'}")
    if status != 200:
        _fail(f"what answers at {url} is no gateway of this version: HTTP {status}")
    return json.loads(body)


def _quota_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The answer of ``GET /admin/api/limits`` as a table for people, at most ``_WIDTH`` wide but for long names."""
    now = found["now"]
    for chain in found["chains"]:
        yield from ([""] if chain is not found["chains"][0] else [])
        yield f"{'chain ' + chain['name']:<32}{'LIMIT':>14}{'USED':>14}{'LEFT':>14}{'ALL BACK IN':>14}  KNOWN"
        for rank, tier in enumerate(chain["tiers"], 1):
            for target in tier:
                yield f"{rank}. {target['provider']}/{target['model']}  ({target['credential']})"
                words = target["state"] + (f": {target['reason']}" if target["reason"] else "")
                if target["until"] is not None:
                    words += f"; back in {_span(target['until'] - now)}"
                yield from textwrap.wrap(words, _WIDTH, initial_indent="   ", subsequent_indent="   ")
                yield from (_quota_line(limit, now) for limit in target["limits"])


def _quota_line(limit: Mapping[str, Any], now: float) -> str:
    name = limit["metric"].replace("_", " ") + (f" per {limit['window']}" if limit["window"] else " at a time")
    size = "?" if limit["limit"] is None else f"{limit['limit']:,g}" if limit["limit"] < 1 else f"{limit['limit']:,.0f}"
    left = "?" if limit["left"] is None else f"{limit['left']:,}"
    back = "-" if limit["resets_at"] is None else _span(limit["resets_at"] - now)
    return f"     {name:<27}{size:>14}{limit['used']:>14,}{left:>14}{back:>14}  {limit['layer']}"


def _span(seconds: float) -> str:
    """How long it is from now, in at most two units: ``41 s``, ``3 h 12 min``."""
    whole = max(round(seconds), 0)
    if whole < 100:
        return f"{whole} s"
    minutes = -(-whole // 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes // 1440} days"


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"chain429 {__version__}")


def _fail(message: str) -> NoReturn:
    click.echo(f"chain429: {message}", err=True)
    sys.exit(1)


def _or_exit(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Chain429Error as error:
        click.echo(f"chain429: {error}", err=True)
        sys.exit(2)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: it needs a tenth less CPU for a request. None for Python's own."""
    try:
        import uvloop
    except ImportError:  # as on Windows
        return None
    return uvloop.new_event_loop


def _run(make: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await make()

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return _or_exit(lambda: runner.run(run()))
    except KeyboardInterrupt:
        sys.exit(130)
