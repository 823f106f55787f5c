"""``chain429 run | env | ca | setup``: what the command line says of getting tools to the gateway."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chain429.cli import options
from chain429.errors import Chain429Error

_SHELLS = ("bash", "fish", "powershell")
_TOOLS = ("claude-code", "codex", "aider", "opencode", "continue", "llm", "openai")


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file, for a proxy that is started. Else as with 'chain429 serve'.",
)
@options.data_dir
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(config: Path | None, data_dir: Path | None, command: tuple[str, ...]) -> None:
    """Run a tool through the proxy: chain429 run -- COMMAND.

    The tool gets HTTPS_PROXY and what it needs to trust the proxy's certificates; nothing else on this machine is
    changed. Where no proxy runs, one is started in the background, for as long as there are tools that use it.
    """
    from chain429.launch.run import NoSuchCommand, become

    try:
        become(
            command,
            config,
            options.data_folder(data_dir),
            os.environ,
            lambda text: click.echo(f"chain429: {text}", err=True),
        )
    except NoSuchCommand as error:
        click.echo(f"chain429: {error}", err=True)
        sys.exit(error.status)
    except Chain429Error as error:
        click.echo(f"chain429: {error}", err=True)
        # As env and timeout end when they themselves have failed.
        sys.exit(125)


@click.command()
@options.data_dir
@click.option("--shell", type=click.Choice(_SHELLS), help="Else the one in $SHELL; bash stands for zsh and sh, too.")
@click.option("--unset", is_flag=True, help="Print what takes the variables out again.")
def env(data_dir: Path | None, shell: str | None, unset: bool) -> None:
    """Print the variables that send tools through the proxy.

    The proxy must be running. In bash or zsh: eval "$(chain429 env)"; in fish: chain429 env | source; in PowerShell:
    chain429 env --shell powershell | Out-String | Invoke-Expression.
    """
    from chain429.launch.run import found, surroundings
    from chain429.launch.variables import Shell, lines, shell_of, unset_lines, variables

    chosen = Shell(shell) if shell else shell_of(os.environ, sys.platform)
    if unset:
        click.echo(unset_lines(variables("", Path(), Path(), {}), chosen), nl=False)
        return
    data = options.data_folder(data_dir).resolve()
    click.echo(_or_exit(lambda: lines(surroundings(found(data), os.environ, data), chosen)), nl=False)


@click.command()
@options.data_dir
@click.option("--path", "only_path", is_flag=True, help="Print only where its certificate is.")
def ca(data_dir: Path | None, only_path: bool) -> None:
    """Show the proxy's certificate authority, and how to trust it.

    Nothing is installed. 'chain429 run' and 'chain429 env' make single tools trust it, and need none of this.
    """
    from chain429.launch.authority import read, steps, usual_certificate
    from chain429.launch.running import recorded

    running = recorded(options.data_folder(data_dir))
    authority = _or_exit(lambda: read(running.certificate if running else usual_certificate()))
    if only_path:
        click.echo(authority.path)
        return
    click.echo(
        f"certificate  {authority.path}\n"
        f"of           {authority.subject}, until {authority.ends:%Y-%m-%d}\n"
        f"SHA-256      {authority.sha256}\n"
        f"SHA-1        {authority.sha1}\n\n"
        "Tools that are started by 'chain429 run' trust it already. What follows makes every program of this user\n"
        "or of this machine trust it: whoever gets the private key, which stands beside it, could then pose as any\n"
        f"site. Take it out when you no longer need it.\n\n{steps(authority)}"
    )


@click.command()
@click.argument("tool", type=click.Choice(_TOOLS))
@options.config
@options.data_dir
@click.option("--url", help="The API's URL. Else that of the configuration, http://127.0.0.1:4290 if it names none.")
@click.option(
    "--model", help="The chain, alias or provider/model that the tool asks for (where it needs one: default)."
)
@click.option("--dry-run", is_flag=True, help="Print what would be changed, and change nothing.")
@click.option("--undo", is_flag=True, help="Put back what was there before.")
def setup(
    tool: str,
    config: Path | None,
    data_dir: Path | None,
    url: str | None,
    model: str | None,
    dry_run: bool,
    undo: bool,
) -> None:
    """Write a tool's settings so that it asks the gateway.

    Only what is about the gateway is changed, and a copy of each file is kept. Run it again after the address, the
    model or the token have changed.
    """
    from chain429.launch import setup as files
    from chain429.launch.tools import Gateway, Tool, setup_of
    from chain429.web.auth import kept_token

    chosen, data = Tool(tool), options.data_folder(data_dir).resolve()

    def plan() -> tuple[files.Plan, str, str]:
        done = files.load(data, chosen)
        token_file = data / "client-token"
        # Nothing is made for a look only.
        token = "c429_…" if dry_run and not token_file.exists() else kept_token(token_file, "c429_")[0]
        if undo:
            return files.plan_undo(done), token, f"{tool} is as it was"
        gateway = Gateway(url.rstrip("/").removesuffix("/v1") if url else _api_url(config), token, token_file, model)
        wanted = setup_of(chosen, gateway, os.environ, Path.home(), sys.platform)
        return files.plan_setup(wanted, done), token, wanted.then

    planned, token, then = _or_exit(plan)
    if dry_run:
        click.echo(planned.diff().replace(token, "c429_…"), nl=False)
    else:
        _or_exit(lambda: _carry_out(planned, token, data, chosen))
        for change in planned.changes:
            kept = f" (as it was: {change.backup})" if change.backup else ""
            click.echo(f"{'removed' if change.after is None else 'wrote'} {change.path}{kept}")
    for note in planned.notes:
        click.echo(f"note: {note}", err=True)
    if not planned.changes:
        click.echo("nothing to change")
    elif not dry_run:
        click.echo(then)


def _carry_out(planned: Any, token: str, data: Path, tool: Any) -> None:
    from chain429.launch import setup as files

    # Noted first: what was written and not noted could not be undone.
    if planned.kept:
        files.save(data, tool, planned.kept)
    files.carry_out(planned, token)
    files.save(data, tool, planned.kept)


def _api_url(config: Path | None) -> str:
    """Where the configuration has the API listen."""
    from chain429.config import load
    from chain429.folders import find_config
    from chain429.vault import MASTER_KEY, Vault

    path = find_config(config, os.environ)
    found = load(path, os.environ, Vault(options.data_folder(None), os.environ.get(MASTER_KEY)).get) if path else None
    host, port = found.listen if found else ("127.0.0.1", 4290)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  where one listens that listens everywhere
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _or_exit(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Chain429Error as error:
        click.echo(f"chain429: {error}", err=True)
        sys.exit(1)
