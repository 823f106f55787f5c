"""The configuration as a whole: shown, taken out and put back; its settings; tokens for clients."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from aiohttp import web

from chain429.catalog import presets
from chain429.config import ConfigFile, check_data
from chain429.config_file import Document, as_yaml, flow, text_of
from chain429.web.admin import trees
from chain429.web.admin.bodies import read_settings, read_text
from chain429.web.admin.gateway import Edits, Gateway
from chain429.web.admin.routes import Problem, Route, read_object, with_version
from chain429.web.admin.schemas import ANYTHING, TEXT, array, in_path, operation, ref, shape
from chain429.web.admin.shown import show_preset, shown, take_secrets_out

_TOKEN = "token"  # noqa: S105  the begin of the names that made tokens have
_VERSION = shape({"version": TEXT})


class Settings:
    def __init__(self, gateway: Gateway, edits: Edits) -> None:
        self._gateway = gateway
        self._edits = edits

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                "/config",
                self.config,
                operation("config", "The configuration, with secrets masked", ref("Config"), errors=[422]),
            ),
            Route(
                "GET",
                "/presets",
                self.presets,
                operation("presets", "Providers that are known", shape({"presets": array(ref("Preset"))})),
            ),
            Route(
                "PUT",
                "/settings",
                self.put,
                operation("putSettings", "Change settings", _VERSION, body=ref("SettingsBody"), edits=True),
            ),
            Route(
                "GET",
                "/config/export",
                self.take_out,
                operation("exportConfig", "The file without secrets", ANYTHING, media="application/yaml", errors=[422]),
            ),
            Route(
                "POST",
                "/config/import",
                self.put_back,
                operation(
                    "importConfig",
                    "Put another file in the place of the one that is there",
                    _VERSION,
                    body=shape({"text": TEXT}, closed=True),
                    edits=True,
                ),
            ),
            Route(
                "POST",
                "/tokens",
                self.make_token,
                operation(
                    "makeToken",
                    "Make a token for clients; it is shown this once",
                    shape({"name": TEXT, "token": TEXT, "version": TEXT}),
                    status=201,
                    edits=True,
                ),
            ),
            Route(
                "DELETE",
                "/tokens/{name}",
                self.delete_token,
                operation(
                    "deleteToken",
                    "Delete a token that was made here",
                    shape({"name": TEXT, "version": TEXT}),
                    parameters=[in_path("name", "its name, such as token-1")],
                    errors=[404],
                    edits=True,
                ),
            ),
        )

    async def config(self, request: web.Request) -> web.Response:
        document, file = await asyncio.to_thread(self._read)
        return with_version(shown(document, file, self._gateway.config), document.version)

    def _read(self) -> tuple[Document, ConfigFile]:
        file = self._gateway.file
        document = file.read()
        return document, check_data(document.data, str(file.path))

    async def presets(self, request: web.Request) -> web.Response:
        return web.json_response({"presets": [show_preset(id, preset) for id, preset in presets().items()]})

    async def put(self, request: web.Request) -> web.Response:
        told = read_settings(await read_object(request, '{"patience": 30}'))
        document = await self._edits.make(request, lambda tree, _: trees.merge(tree, told))
        return with_version({"version": document.version}, document.version)

    async def take_out(self, request: web.Request) -> web.Response:
        text, version = await asyncio.to_thread(self._without_secrets)
        headers = {"ETag": f'"{version}"', "Content-Disposition": 'attachment; filename="chain429.yaml"'}
        return web.Response(text=text, content_type="application/yaml", headers=headers)

    def _without_secrets(self) -> tuple[str, str]:
        document, _ = self._read()
        text = text_of(document.text, lambda tree: take_secrets_out(tree, self._gateway.redact))
        return self._gateway.redact(text), document.version

    async def put_back(self, request: web.Request) -> web.Response:
        text = read_text(await read_object(request, '{"text": "providers: …"}'), "text")
        document = await self._edits.replace(request, text)
        return with_version({"version": document.version}, document.version)

    async def make_token(self, request: web.Request) -> web.Response:
        token = f"c429_{secrets.token_urlsafe(24)}"
        made: list[str] = []

        def change(tree: trees.Tree, references: Sequence[str]) -> None:
            tree["tokens"] = flow([*map(as_yaml, _tokens(tree)), *references])
            made.extend(reference.partition(":")[2] for reference in references)

        document = await self._edits.make(request, change, owner=_TOKEN, secrets=[token])
        body = {"name": made[-1], "token": token, "version": document.version}
        return with_version(body, document.version, status=201)

    async def delete_token(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]

        def change(tree: trees.Tree, _: object) -> None:
            tokens = _tokens(tree)
            if f"secret:{name}" not in tokens:
                raise Problem(404, f"There is no token named {name!r} that was made here.")
            tokens.remove(f"secret:{name}")
            trees.merge(tree, {"tokens": flow(tokens) if tokens else None})

        document = await self._edits.make(request, change)
        return with_version({"name": name, "version": document.version}, document.version)


def _tokens(tree: trees.Tree) -> list[str]:
    found = tree.get("tokens")
    return [] if found is None else [str(token) for token in found] if isinstance(found, list) else [str(found)]
