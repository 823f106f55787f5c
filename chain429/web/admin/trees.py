"""Edits of the configuration's tree: pure functions that change what they are given and read nothing else.

A tree is what ruamel.yaml made of the file. It was valid when it was last taken over, but somebody may have edited the
file since: what has another form than is known here is refused, and the whole is checked after each edit anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

from chain429.config import DEFAULT_CHAIN, credential_ids
from chain429.config_file import as_yaml, flow, reordered
from chain429.web.admin.routes import Problem, fault

Tree = MutableMapping[str, Any]


def section(tree: Tree, name: str, *where: str) -> Tree:
    """The mapping that stands under ``name``; it is made where there is none. ``where`` is for messages."""
    found = tree.get(name)
    if found is None:
        tree[as_yaml(name)] = found = as_yaml({})
    if not isinstance(found, MutableMapping):
        raise fault(".".join((*where, name)), "names with values were expected here, such as 'name: value'")
    return found


def named(tree: Tree, kind: str, name: str) -> Any:
    """What ``providers``, ``chains`` or ``aliases`` has under a name. Raises Problem with 404."""
    known = section(tree, kind)
    if name not in known:
        there = f"There are: {', '.join(map(str, known))}." if known else "There is none yet."
        raise Problem(404, f"There is nothing named {name!r} among the {kind}. {there}")
    return known[name]


def merge(tree: Tree, told: Mapping[str, Any]) -> None:
    """Set what is told, leave the rest; null takes a member out (RFC 7396)."""
    for name, value in told.items():
        if value is None:
            tree.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(tree.get(name), MutableMapping):
            merge(tree[name], value)
        else:
            tree[as_yaml(name)] = as_yaml(_without_nulls(value))


def put_provider(
    tree: Tree, name: str, told: Mapping[str, Any], keys: Sequence[Any] | None, models: Iterable[str]
) -> bool:
    """Make a provider, or change it; True where it is new. ``keys`` become its keys if they are not None, and
    ``models`` the chain ``default`` if there is no chain at all."""
    providers = section(tree, "providers")
    new = name not in providers
    here = section(providers, name, "providers")
    merge(here, told)
    if keys is not None:
        here["keys"] = flow([as_yaml(key) for key in keys])
    targets = [f"{name}/{model}" for model in models]
    if targets and not section(tree, "chains"):
        section(tree, "chains")[DEFAULT_CHAIN] = as_yaml(targets)
    return new


def users(tree: Tree, provider: str) -> dict[str, list[str]]:
    """The chains and the aliases that name a model of the provider."""
    begin = f"{provider}/"
    chains = [
        str(name) for name, chain in section(tree, "chains").items()
        if any(target.startswith(begin) for tier in tiers(chain) for target in tier)
    ]  # fmt: skip
    aliases = [str(name) for name, to in section(tree, "aliases").items() if str(to).startswith(begin)]
    return {"chains": chains, "aliases": aliases}


def delete_provider(tree: Tree, name: str, *, force: bool) -> None:
    """Take a provider out, with ``force`` out of the chains and the aliases that name it too. Raises Problem."""
    named(tree, "providers", name)
    used = users(tree, name)
    if any(used.values()) and not force:
        told = [f"chain {chain}" for chain in used["chains"]] + [f"alias {alias}" for alias in used["aliases"]]
        words = f"{name!r} is still used by {', '.join(told)}. With ?force=1 it is taken out of them."
        raise Problem(409, words, used_by=used)
    for alias in used["aliases"]:
        del section(tree, "aliases")[alias]
    for chain in used["chains"]:
        left = [
            kept for tier in tiers(section(tree, "chains")[chain])
            if (kept := [target for target in tier if not target.startswith(f"{name}/")])
        ]  # fmt: skip
        if left or chain == DEFAULT_CHAIN:
            put_chain(tree, chain, left)
        else:
            delete_chain(tree, chain, force=True)
    del section(tree, "providers")[name]


def tiers(chain: object) -> list[list[str]]:
    """The tiers of a chain however it is written."""
    found = chain.get("targets") if isinstance(chain, Mapping) else chain
    rows = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return [[str(item) for item in row] if isinstance(row, list) else [str(row)] for row in rows]


def put_chain(tree: Tree, name: str, rows: Sequence[Sequence[str]], more: Mapping[str, Any] | None = None) -> bool:
    """Give a chain these tiers, and set its other members as ``merge`` does; True where it is new."""
    chains = section(tree, "chains")
    new = name not in chains
    old = chains.get(name)
    list_was = old.get("targets") if isinstance(old, MutableMapping) else old
    targets = reordered(list_was, [row[0] if len(row) == 1 else list(row) for row in rows])
    if isinstance(old, MutableMapping):
        old["targets"] = targets
        merge(old, more or {})
    else:
        rest = _without_nulls(more or {})
        chains[as_yaml(name) if new else name] = as_yaml({"targets": targets, **rest}) if rest else targets
    return new


def delete_chain(tree: Tree, name: str, *, force: bool) -> None:
    """Take a chain out, with ``force`` the aliases that lead to it too. Raises Problem."""
    named(tree, "chains", name)
    aliases = section(tree, "aliases")
    used = [str(alias) for alias, to in aliases.items() if to == name]
    if used and not force:
        words = f"The chain {name!r} is still used by the aliases {', '.join(used)}. With ?force=1 they go with it."
        raise Problem(409, words, used_by={"chains": [], "aliases": used})
    for alias in used:
        del aliases[alias]
    del section(tree, "chains")[name]


def keys_of(provider: Tree, usual: Sequence[str]) -> list[Any]:
    """The list of a provider's keys, ready to be changed. ``usual`` are the references of those that it takes from the
    environment as long as it has no list."""
    found = provider.get("keys")
    if not isinstance(found, list):
        provider["keys"] = found = flow([found] if found else list(usual))
    return found


def ids_of(name: str, keys: Sequence[Any]) -> tuple[str, ...]:
    """The ids of a provider's keys."""
    return credential_ids(name, [reference(key) for key in keys])


def find_key(name: str, keys: Sequence[Any], credential: str) -> int:
    """Where in ``keys`` a credential stands, by its id with or without the provider's name. Raises Problem."""
    ids = ids_of(name, keys)
    for index, found in enumerate(ids):
        if credential in (found, found.partition("/")[2]):
            return index
    there = f"There are: {', '.join(ids)}." if ids else "It has none."
    raise Problem(404, f"{name!r} has no credential {credential!r}. {there}")


def change_key(keys: MutableSequence[Any], index: int, told: Mapping[str, Any]) -> None:
    """Set what is told of a key, as ``merge`` does; a key of which nothing else is said stands as text."""
    here = keys[index] if isinstance(keys[index], MutableMapping) else as_yaml({"key": keys[index]})
    merge(here, told)
    keys[index] = here if len(here) > 1 else here["key"]


def reference(key: object) -> str:
    """Where a key comes from."""
    return str(key.get("key", "")) if isinstance(key, Mapping) else str(key)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value
