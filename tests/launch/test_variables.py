"""What a tool is told, in the words of each shell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from chain429.launch.variables import Shell, lines, shell_of, unset_lines, variables

OURS, BUNDLE = Path("/home/me/.mitmproxy/ca.pem"), Path("/home/me/data/ca-bundle.pem")


def made(**environ: str) -> dict[str, str]:
    return variables("http://127.0.0.1:8080", OURS, BUNDLE, environ)


def test_every_client_finds_the_proxy_and_the_authority() -> None:
    assert made() == {
        "HTTPS_PROXY": "http://127.0.0.1:8080",
        "https_proxy": "http://127.0.0.1:8080",
        "NO_PROXY": "localhost,127.0.0.1,::1",
        "no_proxy": "localhost,127.0.0.1,::1",
        "SSL_CERT_FILE": str(BUNDLE),
        "NODE_EXTRA_CA_CERTS": str(OURS),
        "REQUESTS_CA_BUNDLE": str(BUNDLE),
        "CURL_CA_BUNDLE": str(BUNDLE),
        "CODEX_CA_CERTIFICATE": str(BUNDLE),
        "NODE_USE_ENV_PROXY": "1",
    }


@pytest.mark.parametrize(
    ("environ", "direct"),
    [
        ({"NO_PROXY": "intra.example, 127.0.0.1"}, "intra.example,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "one.example", "no_proxy": "two.example"}, "two.example,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "*"}, "localhost,127.0.0.1,::1"),
    ],
)
def test_what_goes_past_proxies_already_still_does_but_not_everything(environ: dict[str, str], direct: str) -> None:
    assert made(**environ)["NO_PROXY"] == made(**environ)["no_proxy"] == direct


def test_certificates_that_node_was_given_already_are_kept() -> None:
    assert made(NODE_EXTRA_CA_CERTS="/corporate.pem")["NODE_EXTRA_CA_CERTS"] == str(BUNDLE)


ODD = {"A": "it's $HOME \\ `x`", "b": "2"}


def test_bash_reads_what_was_meant() -> None:
    script = f'b=0; {lines(ODD, Shell.BASH)} printf %s "$A$b"; {unset_lines(ODD, Shell.BASH)} printf %s "${{A-gone}}"'
    done = subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": os.defpath}, check=True, capture_output=True, text=True
    )
    assert done.stdout == ODD["A"] + "2gone"


def test_fish_and_powershell_have_words_of_their_own() -> None:
    assert lines(ODD, Shell.FISH) == "set -gx A 'it\\'s $HOME \\\\ `x`'\nset -gx b '2'\n"
    assert unset_lines(ODD, Shell.FISH) == "set -e A\nset -e b\n"
    # There, HTTPS_PROXY and https_proxy are the same one.
    assert lines(ODD, Shell.POWERSHELL) == "$Env:A = 'it''s $HOME \\ `x`'\n"
    assert unset_lines(ODD, Shell.POWERSHELL) == "Remove-Item Env:A -ErrorAction Ignore\n"


@pytest.mark.parametrize(
    ("shell", "platform", "found"),
    [
        ("/usr/bin/fish", "linux", Shell.FISH),
        ("/bin/zsh", "darwin", Shell.BASH),
        ("/usr/bin/pwsh", "linux", Shell.POWERSHELL),
        ("", "win32", Shell.POWERSHELL),
        ("", "linux", Shell.BASH),
    ],
)
def test_the_shell_is_guessed(shell: str, platform: str, found: Shell) -> None:
    assert shell_of({"SHELL": shell} if shell else {}, platform) is found
