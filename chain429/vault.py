"""Secrets that were typed into the page: encrypted in one file, each under a name, and never shown again.

The configuration refers to them as ``secret:NAME``. They are encrypted with Fernet (AES-128-CBC with HMAC-SHA256; the
package is ``cryptography``). The master key comes from ``CHAIN429_MASTER_KEY``, else from a file beside that only its
owner can read: then the secrets are as safe as that folder, but copies of the configuration and of the secrets' file
alone tell nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from chain429.errors import StartError, StoreError

MASTER_KEY = "CHAIN429_MASTER_KEY"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# Long enough for any key or token, short enough that nobody keeps files here.
_LONGEST = 8192


class Vault:
    """The secrets in ``folder``. ``master`` is what the environment says the master key is, if it says so.

    Nothing is made before the first ``put``.
    """

    def __init__(self, folder: Path, master: str | None = None) -> None:
        self._path = folder / "secrets.json"
        self._key_path = folder / "master-key"
        self._master = master
        self._fernet: Fernet | None = None

    def names(self) -> tuple[str, ...]:
        """Raises StoreError where the file can't be read."""
        return tuple(self._read())

    def get(self, name: str) -> str | None:
        """The secret of that name; None where there is none. Raises StoreError where it can't be read or decrypted."""
        token = self._read().get(name)
        if token is None:
            return None
        try:
            return self._cipher().decrypt(token).decode()
        except (InvalidToken, UnicodeDecodeError):
            raise StoreError(
                f"the secret {name!r} was encrypted with another master key: set {MASTER_KEY} to that one, bring "
                f"{self._key_path} back, or type the secret in again"
            ) from None

    def put(self, name: str, value: str) -> None:
        """Keep ``value`` under ``name``, in place of what was there. Raises ValueError where either is no good, and
        StoreError where it can't be written."""
        if not _NAME.fullmatch(name):
            raise ValueError("a secret's name has up to 64 letters, digits, '_', '.' and '-'")
        if not value or len(value) > _LONGEST or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("a secret is one word that an HTTP header can carry")
        found = self._read()
        found[name] = self._cipher().encrypt(value.encode()).decode("ascii")
        self._write(found)

    def delete(self, name: str) -> None:
        """Forget it; nothing where it is not there."""
        found = self._read()
        if found.pop(name, None) is not None:
            self._write(found)

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StoreError(f"the secrets in {self._path} can't be read: {_why(error)}") from None
        if not isinstance(found, dict) or not all(isinstance(token, str) for token in found.values()):
            raise StoreError(f"the secrets in {self._path} can't be read: it is not what was written there")
        return found

    def _write(self, found: dict[str, str]) -> None:
        try:
            write_privately(self._path, json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise StoreError(f"the secrets can't be written to {self._path}: {_why(error)}") from None

    def _cipher(self) -> Fernet:
        if self._fernet is None:
            try:
                self._fernet = Fernet(_stretched(self._master) if self._master else self._kept_key())
            except ValueError:
                raise StartError(f"the master key in {self._key_path} can't be used: it is damaged") from None
        return self._fernet

    def _kept_key(self) -> bytes:
        try:
            try:
                return self._key_path.read_bytes().strip()
            except FileNotFoundError:
                self._key_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            key = Fernet.generate_key()
            write_privately(self._key_path, key.decode("ascii") + "\n")
            return key
        except OSError as error:
            raise StartError(f"the master key in {self._key_path} can't be used: {_why(error)}") from None


def _stretched(master: str) -> bytes:
    """A key of the form that Fernet wants, of any text. The salt need not be secret, and there is one text only."""
    made = hashlib.scrypt(master.encode("utf-8", "surrogatepass"), salt=b"chain429", n=2**14, r=8, p=1, dklen=32)
    return base64.urlsafe_b64encode(made)


def write_privately(path: Path, text: str) -> None:
    """Write a file that only its owner can read: whoever looks finds the old one or the new one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.new")
    # Made with its final mode: there is no moment at which others could read it.
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "it is damaged"
