"""The command line: ``chain429 COMMAND``, a module for each command, or for those that belong together.

Only what ``chain429 --help`` shows is here. A command's module is imported when it is used, so that nobody waits for
what only others need; that is also why this one imports nothing but click.
"""

from __future__ import annotations

import click

from chain429.cli.listed import Listed, Listing

_LISTED = {
    "serve": Listing("chain429.cli.serve:serve", "Run the gateway without the proxy: the API and the pages."),
    "run": Listing("chain429.cli.launch:run", "Run a tool through the proxy: chain429 run -- COMMAND."),
    "env": Listing("chain429.cli.launch:env", "Print the variables that send tools through the proxy."),
    "ca": Listing("chain429.cli.launch:ca", "Show the proxy's certificate authority, and how to trust it."),
    "setup": Listing("chain429.cli.launch:setup", "Write a tool's settings so that it asks the gateway."),
    "status": Listing("chain429.cli.status:status", "Show whether all is well, and what the last day was like."),
    "requests": Listing("chain429.cli.requests:requests", "List what was asked, and who answered."),
    "usage": Listing("chain429.cli.usage:usage", "Sum up what was used, and what that saved."),
    "quota": Listing("chain429.cli.quota:quota", "Show what is left of each target's limits."),
    "check": Listing(
        "chain429.cli.check:check", "Check the configuration, then try each key with a call that costs nothing."
    ),
    "simulate": Listing(
        "chain429.cli.simulate:simulate", "Run local providers that speak and limit like the real ones."
    ),
    "version": Listing("chain429.cli.version:version", "Print the version."),
}


@click.group(
    cls=Listed,
    listed=_LISTED,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
def main() -> None:
    """An AI gateway that spends free tiers first.

    One OpenAI-compatible endpoint in front of an ordered chain of providers: when one is at its limit or fails, the
    next one answers. 'mitmdump -s addons/chain429.py' runs the same with an intercepting proxy.
    """
