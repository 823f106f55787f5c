"""``chain429 check``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from chain429.cli import options
from chain429.cli.process import run
from chain429.clock import SystemClock
from chain429.config import Config, load
from chain429.folders import find_config
from chain429.inquiry import inquire
from chain429.redact import Redactor
from chain429.upstream import HttpUpstream
from chain429.vault import MASTER_KEY, Vault


@click.command()
@options.config
def check(config: Path | None) -> None:
    """Check the configuration, then try each key with a call that costs nothing."""
    path = find_config(config, os.environ)
    vault = Vault(options.data_folder(None), os.environ.get(MASTER_KEY))
    found = load(path, os.environ, vault.get)
    if found is None:
        click.echo("No configuration file and no provider's key was found: chain429 would run on its simulator.")
        return
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    size = f"{_counted(len(found.providers), 'provider')}, {_counted(len(found.chains), 'chain')}"
    click.echo(f"{found.source}: {size}: no fault found")
    good = run(lambda: _check(found))
    sys.exit(0 if good else 1)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
