"""mitmproxy's certificate authority on this machine: shown, and joined with the system's. It is never installed.

Its private key stands beside the certificate: whoever has that can impersonate every site to those who trust it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from chain429.errors import StartError
from chain429.vault import write_privately

# Where systems keep what they trust, in one file: Debian, Arch, Alpine; Fedora; openSUSE; macOS and BSD.
_SYSTEMS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# Where users name certificates, for all programs or for some: what takes the place of these must have them too.
_NAMING = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CODEX_CA_CERTIFICATE")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


def usual_certificate() -> Path:
    """Where mitmproxy keeps it unless told otherwise."""
    return Path.home() / ".mitmproxy" / "mitmproxy-ca-cert.pem"


@dataclass(frozen=True, slots=True)
class Authority:
    """Fingerprints are upper-case hexadecimal, with a colon after each byte."""

    path: Path
    subject: str
    ends: datetime
    sha256: str
    sha1: str


def read(path: Path) -> Authority:
    """Raises StartError where there is no certificate at ``path``."""
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        raise StartError(
            f"there is no authority yet at {path}: mitmproxy makes it at its first start (scripts/start, or 'chain429 "
            "run -- COMMAND')"
        ) from None
    except (OSError, ValueError):
        raise StartError(f"the certificate at {path} can't be read") from None
    subject = found.subject.rfc4514_string()
    return Authority(path, subject, found.not_valid_after_utc, _print(found, SHA256()), _print(found, SHA1()))  # noqa: S303  as systems name it


def _print(certificate: x509.Certificate, algorithm: HashAlgorithm) -> str:
    return certificate.fingerprint(algorithm).hex(":").upper()


def steps(authority: Authority) -> str:
    """How each platform is made to trust it, and to trust it no longer."""
    path, thumb = shlex.quote(str(authority.path)), authority.sha1.replace(":", "")
    debian, fedora = "/usr/local/share/ca-certificates/mitmproxy.crt", "/etc/pki/ca-trust/source/anchors/mitmproxy.pem"
    keychain = "~/Library/Keychains/login.keychain-db"
    platforms = {
        "Debian, Ubuntu, Alpine": (
            f"sudo cp {path} {debian} && sudo update-ca-certificates",
            f"sudo rm {debian} && sudo update-ca-certificates --fresh",
        ),
        "Fedora, RHEL": (
            f"sudo cp {path} {fedora} && sudo update-ca-trust",
            f"sudo rm {fedora} && sudo update-ca-trust",
        ),
        "Arch": (f"sudo trust anchor --store {path}", f"sudo trust anchor --remove {path}"),
        "macOS": (
            f"security add-trusted-cert -r trustRoot -k {keychain} {path}",
            f"security remove-trusted-cert {path} && security delete-certificate -Z {thumb} {keychain}",
        ),
        "Windows": (f'certutil -user -addstore Root "{authority.path}"', f"certutil -user -delstore Root {thumb}"),
    }
    told = "\n".join(
        f"  {name}\n    trust    {trust}\n    untrust  {untrust}" for name, (trust, untrust) in platforms.items()
    )
    return (
        f"{told}\n  Firefox, which has a list of its own\n"
        "    Settings, Privacy & Security, View Certificates, Authorities: Import, and Delete or Distrust"
    )


def write_bundle(certificate: Path, environ: Mapping[str, str], data: Path) -> Path:
    """A file with the system's certificates and this one, for what can be given one file only.

    What ``environ`` names in place of the system's, or beside them, is in it too. Raises StartError.
    """
    ours = list(_certificates(certificate))
    if not ours:
        raise StartError(f"there is no certificate at {certificate}, which the proxy names as its authority")
    named = [environ[name] for name in _NAMING if environ.get(name)]
    sources = [*named, *([] if environ.get("SSL_CERT_FILE") else [_system()])]
    found = dict.fromkeys([pem for source in sources for pem in _certificates(Path(source))] + ours)
    text = "\n".join(found) + "\n"
    # Tools with other certificates of their own, at the same time, have each a file of their own.
    path = data / (f"ca-bundle-{hashlib.sha256(text.encode()).hexdigest()[:12]}.pem" if named else "ca-bundle.pem")
    try:
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            mine = data / f"{path.name}.{os.getpid()}"
            write_privately(mine, text)
            mine.replace(path)
    except OSError as error:
        raise StartError(f"the certificates can't be written to {path}: {error.strerror or error}") from None
    return path


def _system() -> str:
    usual = ssl.get_default_verify_paths().openssl_cafile
    return next((path for path in (usual, *_SYSTEMS) if path and Path(path).is_file()), certifi.where())


def _certificates(path: Path) -> Iterator[str]:
    with suppress(OSError):
        yield from _PEM.findall(path.read_text(encoding="utf-8", errors="replace"))
