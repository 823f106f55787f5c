"""Chains and aliases: made, changed, put into another order, deleted."""

from __future__ import annotations

from aiohttp import web

from chain429.config_file import Document, as_yaml
from chain429.web.admin import trees
from chain429.web.admin.bodies import read_chain, read_text
from chain429.web.admin.gateway import Edits
from chain429.web.admin.providers import FORCE, asks_force
from chain429.web.admin.routes import Route, read_object, with_version
from chain429.web.admin.schemas import TEXT, in_path, operation, ref, shape

_CHAIN = in_path("name", "the chain's name")
_ALIAS = in_path("name", "the alias, which may have * in it")


class Chains:
    def __init__(self, edits: Edits) -> None:
        self._edits = edits

    def routes(self) -> tuple[Route, ...]:
        changed = shape({"name": TEXT, "version": TEXT})
        return (
            Route(
                "PUT",
                "/chains/{name}",
                self.put_chain,
                operation(
                    "putChain",
                    "Make a chain, or give it other targets or another order",
                    changed,
                    body=ref("ChainBody"),
                    parameters=[_CHAIN],
                    edits=True,
                ),
            ),
            Route(
                "DELETE",
                "/chains/{name}",
                self.delete_chain,
                operation(
                    "deleteChain", "Delete a chain", changed, parameters=[_CHAIN, FORCE], errors=[404], edits=True
                ),
            ),
            Route(
                "PUT",
                "/aliases/{name}",
                self.put_alias,
                operation(
                    "putAlias",
                    "Make an alias, or let it lead elsewhere",
                    changed,
                    body=shape({"to": TEXT}, closed=True),
                    parameters=[_ALIAS],
                    edits=True,
                ),
            ),
            Route(
                "DELETE",
                "/aliases/{name}",
                self.delete_alias,
                operation("deleteAlias", "Delete an alias", changed, parameters=[_ALIAS], errors=[404], edits=True),
            ),
        )

    async def put_chain(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        rows, more = read_chain(await read_object(request, '{"tiers": [["groq/openai/gpt-oss-120b"]]}'))
        return _changed(await self._edits.make(request, lambda tree, _: trees.put_chain(tree, name, rows, more)), name)

    async def delete_chain(self, request: web.Request) -> web.Response:
        name, force = request.match_info["name"], asks_force(request)
        document = await self._edits.make(request, lambda tree, _: trees.delete_chain(tree, name, force=force))
        return _changed(document, name)

    async def put_alias(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        to = read_text(await read_object(request, '{"to": "default"}'), "to")

        def change(tree: trees.Tree, _: object) -> None:
            aliases = trees.section(tree, "aliases")
            aliases[name if name in aliases else as_yaml(name)] = as_yaml(to)

        return _changed(await self._edits.make(request, change), name)

    async def delete_alias(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]

        def change(tree: trees.Tree, _: object) -> None:
            trees.named(tree, "aliases", name)
            del trees.section(tree, "aliases")[name]

        return _changed(await self._edits.make(request, change), name)


def _changed(document: Document, name: str) -> web.Response:
    return with_version({"name": name, "version": document.version}, document.version)
