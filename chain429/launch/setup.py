"""``chain429 setup``: a tool's settings changed to ask the gateway, and changed back.

What was in each place is kept in the data folder, so that undoing puts it back and leaves alone what the tool or its
user have changed since. Beside each file that was there before, a copy of it is kept.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chain429.errors import StartError
from chain429.launch.formats import ABSENT, FORMATS, CantChange, Item, Kind, Place, changed, value_at
from chain429.launch.tools import Settings, Setup, Tool
from chain429.vault import write_privately

_FILE = "setup.json"
_BACKUP = ".chain429-backup"


@dataclass(frozen=True, slots=True)
class Value:
    """What was put into a place, and what was there before."""

    place: Place
    put: Any
    was: Any


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done to one file. ``digest`` is that of the text that was written, where the copy (or the lack of the
    file, where there is no copy) is all that was before; None where somebody changed it in between."""

    path: Path
    kind: Kind
    first: str
    backup: Path | None
    digest: str | None
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One file, from one text to another; None where there is no file. ``backup`` is a copy to make, ``obsolete`` one
    that is needed no more."""

    path: Path
    before: str | None
    after: str | None
    backup: Path | None = None
    obsolete: Path | None = None


@dataclass(slots=True)
class Plan:
    """``kept`` is what there will be to undo; ``notes`` are for people."""

    changes: list[Change] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def diff(self) -> str:
        return "".join(_diff(change) for change in self.changes)


def plan_setup(setup: Setup, done: Sequence[Kept]) -> Plan:
    """What ``setup`` has to change, where ``done`` was done before. Raises StartError; nothing is changed here."""
    files = {settings.path for settings in setup.files}
    plan = Plan(kept=[kept for kept in done if kept.path not in files])
    for settings in setup.files:
        before = _read(settings.path)
        old = next((kept for kept in done if kept.path == settings.path), None)
        text = settings.first if before is None else before
        values: list[Value] = []
        try:
            for place, value in settings.values:
                now = value_at(FORMATS[settings.kind].read(text), place)
                text = changed(FORMATS[settings.kind], text, place, value)
                was = _was(old, place, now)
                if was != value:
                    values.append(Value(place, value, was))
        except CantChange as error:
            raise StartError(
                f"{settings.path} is left as it is: {error}; docs/clients.md has what to put in by hand"
            ) from None
        places = {place for place, _ in settings.values}
        values += [value for value in (old.values if old else ()) if value.place not in places]
        kept = _kept(settings, old, before, text, tuple(values))
        if kept:
            plan.kept.append(kept)
        if text != before:
            backup = kept.backup if kept and not (old and old.backup) else None
            plan.changes.append(Change(settings.path, before, text, backup))
    return plan


def plan_undo(done: Iterable[Kept]) -> Plan:
    """What takes back what was ``done``. Raises StartError."""
    plan = Plan()
    for kept in done:
        before = _read(kept.path)
        if before is None:
            plan.notes.append(f"{kept.path} is gone")
        elif kept.digest == _digest(before):
            after = _read(kept.backup) if kept.backup else None
            plan.changes.append(Change(kept.path, before, after, obsolete=kept.backup))
        else:
            after = _taken_back(kept, before, plan.notes)
            if after != before:
                plan.changes.append(Change(kept.path, before, after))
            if kept.backup:
                plan.notes.append(f"{kept.path} as it was before is in {kept.backup}")
    return plan


def carry_out(plan: Plan, secret: str) -> None:
    """Write what is planned. What has ``secret`` in it is for its owner's eyes only. Raises StartError."""
    for change in plan.changes:
        target = change.path.resolve()  # what a link leads to, not the link
        try:
            mode = target.stat().st_mode & 0o777 if change.before is not None else 0o600
            if change.backup and change.before is not None:
                write_privately(change.backup, change.before)
            if change.after is None:
                target.unlink(missing_ok=True)
            else:
                write_privately(target, change.after)
                target.chmod(mode & 0o600 if secret in change.after else mode)
            if change.obsolete:
                change.obsolete.unlink(missing_ok=True)
        except OSError as error:
            raise StartError(f"{target} can't be written: {error.strerror or error}") from None


def load(data: Path, tool: Tool) -> tuple[Kept, ...]:
    """What was done for ``tool`` and not undone. Raises StartError."""
    return tuple(_of(told) for told in _all(data).get(tool, []))


def save(data: Path, tool: Tool, kept: Sequence[Kept]) -> None:
    """Raises StartError."""
    told = _all(data)
    told[tool] = [_told(one) for one in kept]
    try:
        write_privately(data / _FILE, json.dumps({name: done for name, done in told.items() if done}, indent=1) + "\n")
    except OSError as error:
        raise StartError(f"what was changed can't be noted in {data / _FILE}: {error.strerror or error}") from None


def _kept(
    settings: Settings, old: Kept | None, before: str | None, after: str, values: tuple[Value, ...]
) -> Kept | None:
    if old is None:
        if before == after:
            return None
        backup = None if before is None else _free(settings.path)
        return Kept(settings.path, settings.kind, settings.first, backup, _digest(after), values)
    digest = _digest(after) if before is not None and old.digest == _digest(before) else None
    return Kept(settings.path, settings.kind, settings.first, old.backup, digest, values)


def _was(old: Kept | None, place: Place, now: Any) -> Any:
    """What was in that place before we first put something there."""
    for value in old.values if old else ():
        if value.place == place and value.put == now:
            return value.was
    return now


def _taken_back(kept: Kept, text: str, notes: list[str]) -> str | None:
    format = FORMATS[kept.kind]
    try:
        for value in reversed(kept.values):
            now = value_at(format.read(text), value.place)
            if now == value.put:
                text = changed(format, text, value.place, value.was)
            elif now not in (value.was, ABSENT):
                notes.append(f"{_shown(value.place)} in {kept.path} was changed since, and is left as it is")
        rest = format.read(text)
        empty = rest == format.read(kept.first) and (kept.kind is not Kind.SHELL or not text.strip())
    except CantChange as error:
        raise StartError(f"{kept.path} is left as it is: {error}; take out by hand what 'chain429' is in") from None
    return None if kept.backup is None and empty else text


def _shown(place: Place) -> str:
    return ".".join(step if isinstance(step, str) else step.value for step in place)


def _free(path: Path) -> Path:
    """A name for a copy that nothing has yet."""
    names = (path.with_name(f"{path.name}{_BACKUP}{more}") for more in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(name for name in names if not name.exists())


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8"
        raise StartError(f"{path} can't be read: {why}") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _diff(change: Change) -> str:
    lines = difflib.unified_diff(
        (change.before or "").splitlines(keepends=True),
        (change.after or "").splitlines(keepends=True),
        "/dev/null" if change.before is None else str(change.path),
        "/dev/null" if change.after is None else str(change.path),
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _all(data: Path) -> dict[str, Any]:
    try:
        told = json.loads((data / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict):
        raise StartError(f"what was set up before can't be read from {data / _FILE}")
    return told


def _told(kept: Kept) -> dict[str, Any]:
    return {
        "path": str(kept.path),
        "kind": kept.kind,
        "first": kept.first,
        "backup": str(kept.backup) if kept.backup else None,
        "digest": kept.digest,
        "values": [
            {
                "place": [step if isinstance(step, str) else [step.key, step.value] for step in value.place],
                "put": value.put,
                **({} if value.was is ABSENT else {"was": value.was}),
            }
            for value in kept.values
        ],
    }


def _of(told: dict[str, Any]) -> Kept:
    return Kept(
        Path(told["path"]),
        Kind(told["kind"]),
        told["first"],
        Path(told["backup"]) if told["backup"] else None,
        told["digest"],
        tuple(
            Value(
                tuple(step if isinstance(step, str) else Item(*step) for step in value["place"]),
                value["put"],
                value.get("was", ABSENT),
            )
            for value in told["values"]
        ),
    )
