"""What the admin API knows of the gateway, and how it changes the configuration.

Changes are made one after the other. A secret that was typed in goes to the vault first and its reference to the file
after that: if the file is refused, the secret is forgotten again, so that neither is ever without the other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from chain429.config import Config
from chain429.config_file import ConfigFile, Document, Edit
from chain429.engine import Call, Reply
from chain429.redact import Redactor
from chain429.vault import Vault
from chain429.web.admin.routes import fault, version_seen

Tree = MutableMapping[str, Any]
# Changes the tree of the file; gets the references of the secrets that were typed in for it, in their order.
Change = Callable[[Tree, Sequence[str]], object]

_KIND = "secret:"


class Gateway(Protocol):
    """The running gateway, as ``App`` is."""

    @property
    def config(self) -> Config: ...
    @property
    def file(self) -> ConfigFile: ...
    @property
    def vault(self) -> Vault: ...
    @property
    def redact(self) -> Redactor: ...

    async def edit(self, change: Edit, version: str | None = None) -> Document:
        """Change the file and take the result over. Raises EditConflict, ConfigError, StoreError; then nothing was."""

    async def replace_config(self, text: str, version: str | None = None) -> Document:
        """Put another text in its place, likewise."""

    async def get(self, url: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109
        """See ``HttpUpstream.get``."""

    async def ask(self, call: Call) -> Reply:
        """See ``Engine.run``."""

    def reset_breaker(self, provider: str) -> None:
        """Close a provider's circuit breaker; whoever waits may try it at once."""


class Edits:
    """Makes changes of the configuration; ``finish`` waits for those under way."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[Document]] = set()

    async def make(
        self, request: web.Request, change: Change, *, owner: str = "", secrets: Iterable[str] = ()
    ) -> Document:
        """Carry out ``change``. ``secrets`` were typed in and are kept under names that begin with ``owner``; a secret
        that the file no longer refers to is forgotten.

        Raises what ``Gateway.edit`` does. A client that leaves in the middle does not leave half of it behind."""
        typed = tuple(secrets)
        self._gateway.redact.know(typed)
        return await self._whole(self._make(change, version_seen(request), owner, typed))

    async def replace(self, request: web.Request, text: str) -> Document:
        """Put another text in the place of the file's."""
        return await self._whole(self._gateway.replace_config(text, version_seen(request)))

    async def _whole(self, work: Any) -> Document:
        task: asyncio.Task[Document] = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Document]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be there any more to be told

    async def finish(self, app: web.Application) -> None:
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _make(self, change: Change, version: str | None, owner: str, secrets: Sequence[str]) -> Document:
        before: set[str] = set()

        def edit(tree: Tree) -> None:
            before.update(_names(tree))
            change(tree, [f"{_KIND}{name}" for name in names])

        async with self._turn:
            names: Sequence[str] = await asyncio.to_thread(self._keep, owner, secrets) if secrets else ()
            try:
                document = await self._gateway.edit(edit, version)
            except BaseException:
                await asyncio.to_thread(self._forget, names)
                raise
            await asyncio.to_thread(self._forget, before - set(_names(document.data)))
        return document

    def _keep(self, owner: str, secrets: Sequence[str]) -> Sequence[str]:
        """Put them into the vault, each under a name that nobody refers to. Raises ConfigError and StoreError."""
        vault = self._gateway.vault
        base = re.sub("[^A-Za-z0-9_-]", "", owner).lstrip("_-")[:50] or "key"
        used = {*vault.names(), *_names(self._gateway.file.read().data)}
        names: list[str] = []
        for secret in secrets:
            number = 1
            while f"{base}-{number}" in used:
                number += 1
            names.append(f"{base}-{number}")
            used.add(names[-1])
            try:
                vault.put(names[-1], secret)
            except ValueError as error:
                self._forget(names[:-1])
                raise fault("secret", str(error)) from None
        return names

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._gateway.vault.delete(name)


def _names(value: object) -> Iterable[str]:
    """The names of all secrets that a tree refers to."""
    if isinstance(value, str):
        if value.startswith(_KIND):
            yield value.removeprefix(_KIND)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)
