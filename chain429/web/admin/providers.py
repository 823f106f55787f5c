"""Providers and their keys: made, changed, deleted, tried; their models; their circuit breakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from chain429.catalog import presets
from chain429.clock import Clock
from chain429.config import Config, Endpoint
from chain429.config_file import Document, as_yaml
from chain429.inquiry import Found, inquire
from chain429.routing.fit import UNKNOWN, Capabilities
from chain429.web.admin import trees
from chain429.web.admin.bodies import read_key, read_keys, read_provider
from chain429.web.admin.gateway import Edits, Gateway, Tree
from chain429.web.admin.routes import Problem, Route, fault, read_object, with_version
from chain429.web.admin.schemas import TEXT, in_path, in_query, operation, ref, shape

_PROVIDER = in_path("id", "the provider's name in the configuration")
_KEY = in_path("credential", "the key's id, with the provider's name before it or without")
FORCE = in_query("force", "1: what still uses it is changed too", {"type": "string", "enum": ["0", "1"]})
_EXAMPLE = '{"preset": "groq", "keys": [{"secret": "…"}]}'


class Providers:
    def __init__(self, gateway: Gateway, edits: Edits, clock: Clock) -> None:
        self._gateway = gateway
        self._edits = edits
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        one, keys, key = "/providers/{id}", "/providers/{id}/keys", "/providers/{id}/keys/{credential}"
        changed = shape({"id": TEXT, "version": TEXT})
        return (
            Route(
                "PUT",
                one,
                self.put,
                operation(
                    "putProvider",
                    "Make a provider, or change what is told of it",
                    changed,
                    body=ref("ProviderBody"),
                    parameters=[_PROVIDER],
                    edits=True,
                ),
            ),
            Route(
                "DELETE",
                one,
                self.delete,
                operation(
                    "deleteProvider",
                    "Delete a provider",
                    changed,
                    parameters=[_PROVIDER, FORCE],
                    errors=[404],
                    edits=True,
                ),
            ),
            Route(
                "POST",
                keys,
                self.add_key,
                operation(
                    "addKey",
                    "Add a key",
                    changed,
                    status=201,
                    body=ref("KeyBody"),
                    parameters=[_PROVIDER],
                    errors=[404],
                    edits=True,
                ),
            ),
            Route(
                "PUT",
                key,
                self.put_key,
                operation(
                    "putKey",
                    "Change a key, or what belongs to it",
                    changed,
                    body=ref("KeyChange"),
                    parameters=[_PROVIDER, _KEY],
                    errors=[404],
                    edits=True,
                ),
            ),
            Route(
                "DELETE",
                key,
                self.delete_key,
                operation("deleteKey", "Delete a key", changed, parameters=[_PROVIDER, _KEY], errors=[404], edits=True),
            ),
            Route(
                "POST",
                f"{key}/test",
                self.test_key,
                operation(
                    "testKey",
                    "Try a key with a call that costs nothing",
                    ref("KeyTest"),
                    parameters=[_PROVIDER, _KEY],
                    errors=[404, 409],
                ),
            ),
            Route(
                "GET",
                f"{one}/models",
                self.models,
                operation(
                    "models",
                    "The models that a provider has",
                    ref("Models"),
                    parameters=[_PROVIDER],
                    errors=[404, 409, 502],
                ),
            ),
            Route(
                "POST",
                "/breakers/{provider}/reset",
                self.reset_breaker,
                operation(
                    "resetBreaker",
                    "Close a provider's circuit breaker",
                    shape({"provider": TEXT, "breaker": {"const": "closed"}}),
                    parameters=[in_path("provider", "the provider's name in the configuration")],
                    errors=[404],
                ),
            ),
        )

    async def put(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        told, keys, models = read_provider(await read_object(request, _EXAMPLE))
        rows, secrets = read_keys(keys) if keys is not None else (None, [])
        preset = presets().get(str(told.get("preset") or name))
        first = models or (preset.defaults if preset else ())

        def change(tree: Tree, references: Sequence[str]) -> None:
            if rows is not None and name in trees.section(tree, "providers"):
                raise fault("keys", f"keys of a provider that is there are changed at providers/{name}/keys")
            filled = None if rows is None else _filled(rows, references)
            trees.put_provider(tree, name, told, filled, first)

        document = await self._edits.make(request, change, owner=name, secrets=secrets)
        return _changed(document, name)

    async def delete(self, request: web.Request) -> web.Response:
        name, force = request.match_info["id"], asks_force(request)
        document = await self._edits.make(request, lambda tree, _: trees.delete_provider(tree, name, force=force))
        return _changed(document, name)

    async def add_key(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        told, secret = read_key(await read_object(request, '{"secret": "…"} or {"key": "env:NAME"}'))
        added: list[str] = []

        def change(tree: Tree, references: Sequence[str]) -> None:
            keys = trees.keys_of(_provider(tree, name), self._usual(name))
            keys.append(as_yaml(_filled([told], references)[0]))
            added.append(trees.ids_of(name, keys)[-1])

        document = await self._edits.make(request, change, owner=name, secrets=_one(secret))
        return _changed(document, added[-1], status=201)

    async def put_key(self, request: web.Request) -> web.Response:
        name, credential = request.match_info["id"], request.match_info["credential"]
        told, secret = read_key(await read_object(request, '{"priority": 1}'), partly=True)
        changed: list[str] = []

        def change(tree: Tree, references: Sequence[str]) -> None:
            keys = trees.keys_of(_provider(tree, name), self._usual(name))
            index = trees.find_key(name, keys, credential)
            trees.change_key(keys, index, {**({"key": references[0]} if references else {}), **told})
            changed.append(trees.ids_of(name, keys)[index])

        document = await self._edits.make(request, change, owner=name, secrets=_one(secret))
        return _changed(document, changed[-1])

    async def delete_key(self, request: web.Request) -> web.Response:
        name, credential = request.match_info["id"], request.match_info["credential"]
        deleted: list[str] = []

        def change(tree: Tree, _: Sequence[str]) -> None:
            provider = _provider(tree, name)
            keys = trees.keys_of(provider, self._usual(name))
            index = trees.find_key(name, keys, credential)
            deleted.append(trees.ids_of(name, keys)[index])
            del keys[index]
            if not keys:
                del provider["keys"]

        document = await self._edits.make(request, change)
        return _changed(document, deleted[-1])

    def _usual(self, name: str) -> Sequence[str]:
        """The references of the keys that a provider has from the environment."""
        endpoint = self._gateway.config.endpoints.get(name)
        secrets = endpoint.secrets if endpoint else {}
        return [f"env:{id.partition('/')[2]}" for id, secret in secrets.items() if secret is not None]

    async def test_key(self, request: web.Request) -> web.Response:
        config, endpoint = self._endpoint(request.match_info["id"])
        asked = request.match_info["credential"]
        ids = [*endpoint.secrets, *([endpoint.passing] if endpoint.passing else [])]
        credential = next((id for id in ids if asked in (id, id.partition("/")[2])), None)
        if credential is None:
            raise Problem(404, f"{endpoint.id!r} has no credential {asked!r}. There are: {', '.join(ids)}.")
        if credential == endpoint.passing:
            raise Problem(409, "There is nothing to try: each request brings its own key.")
        started = self._clock.monotonic()
        found = await self._inquire(config, endpoint, credential)
        return web.json_response(
            {
                "credential": credential,
                "works": found.works,
                "tried": found.tried,
                "words": self._gateway.redact(found.words),
                "seconds": round(self._clock.monotonic() - started, 3),
            }
        )

    async def models(self, request: web.Request) -> web.Response:
        config, endpoint = self._endpoint(request.match_info["id"])
        unlisted = {id: UNKNOWN for id in endpoint.model_list.unlisted if "*" not in id}
        if endpoint.models_url is None:
            return _models(endpoint, unlisted, listed=False)
        if not endpoint.secrets:
            raise Problem(409, "There is no key to ask with: each request brings its own.")
        found = Found(False, "")
        for credential in endpoint.secrets:
            found = await self._inquire(config, endpoint, credential)
            if found.models is not None:
                return _models(endpoint, {**unlisted, **found.models}, listed=True)
        raise Problem(502, f"{endpoint.name} did not give its list of models ({found.words}).")

    async def reset_breaker(self, request: web.Request) -> web.Response:
        provider = request.match_info["provider"]
        self._endpoint(provider)
        self._gateway.reset_breaker(provider)
        return web.json_response({"provider": provider, "breaker": "closed"})

    async def _inquire(self, config: Config, endpoint: Endpoint, credential: str) -> Found:
        provision = config.providers[endpoint.id].provision
        return await inquire(self._gateway.get, endpoint, provision, credential, self._clock.now())

    def _endpoint(self, name: str) -> tuple[Config, Endpoint]:
        config = self._gateway.config
        if name not in config.endpoints:
            there = ", ".join(config.endpoints)
            raise Problem(404, f"No provider named {name!r} is at work. There are: {there}.")
        return config, config.endpoints[name]


def _models(endpoint: Endpoint, models: Mapping[str, Capabilities], *, listed: bool) -> web.Response:
    """What is told of each model; what is not known of it is null."""
    rows = [
        {
            "id": id,
            "tools": can.tools,
            "images": can.images,
            "json_schema": can.schema,
            "reasoning": can.reasoning,
            "context": can.context,
            "output": can.output,
        }
        for id, can in models.items()
        # Google's stand there under both of their names.
        if not (id.startswith("models/") and id.removeprefix("models/") in models)
    ]
    return web.json_response({"provider": endpoint.id, "listed": listed, "models": rows})


def asks_force(request: web.Request) -> bool:
    return request.query.get("force") == "1"


def _provider(tree: Tree, name: str) -> Tree:
    trees.named(tree, "providers", name)
    return trees.section(trees.section(tree, "providers"), name, "providers")


def _filled(rows: Sequence[dict[str, Any]], references: Sequence[str]) -> list[Any]:
    """The keys with references in place of what was typed in; one that has nothing else is just that."""
    left = iter(references)
    whole = [row if "key" in row else {"key": next(left), **row} for row in rows]
    return [row["key"] if len(row) == 1 else row for row in whole]


def _one(secret: str | None) -> list[str]:
    return [] if secret is None else [secret]


def _changed(document: Document, id: str, *, status: int = 200) -> web.Response:
    return with_version({"id": id, "version": document.version}, document.version, status=status)
