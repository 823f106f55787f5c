"""What a user's message tells a simulated model to do: how a test, or a curious person, steers its answers.

The words, which may stand anywhere in a user's message and mean the same to every provider and dialect:

``call NAME with {…}``
    that tool is called with this JSON, exactly as it stands there. Two that only "and" lies between are called in
    parallel: ``call weather with {"city":"Oslo"} and call news with {}``. Any others are steps: each is taken after the
    result of the one before, and when all are taken the model says what the last tool answered.
``run `COMMAND` in the shell``
    a step, too: the tool by which the client runs commands, whatever its name and arguments (``Bash``, ``shell``,
    ``exec_command`` …).
``say N words``
    exactly so many words, at most 9999: ``word1 word2 …``.
``think first``
    reasoning comes before whatever else is answered, asked for or not.

A tool that the request does not offer can't be called: then there is text instead. "use the tool" and "use every
tool" call offered tools with made-up arguments; see ``answers``, which also knows how long an answer may be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_STEP = re.compile(r"\bcall (?P<name>[\w.:-]+) with (?={)|\brun `(?P<command>[^`]+)` in the shell\b", re.IGNORECASE)
# Of small letters, with letters at its beginning: so a long text is searched ten times faster.
_WORDS = re.compile(r"say(?<!\wsay) (\d{1,4}) words\b")
_SHELLS = frozenset(
    [
        "bash",
        "exec",
        "exec_command",
        "execute_command",
        "local_shell",
        "run_command",
        "run_shell_command",
        "run_terminal_cmd",
        "shell",
        "shell_command",
        "terminal",
    ]
)
_COMMAND_FIELDS = ("command", "cmd", "commands", "input")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Wanted:
    """One call that a message asks for: of the tool ``name`` with ``arguments``, or, without a name, of the shell."""

    name: str | None
    arguments: str


def steps(text: str) -> list[list[Wanted]]:
    """What a message asks to be called, step by step; the calls of one step are parallel."""
    found: list[list[Wanted]] = []
    at = end = 0
    while match := _STEP.search(text, at):
        at = match.end()
        name, command = match["name"], match["command"]
        if name is not None:
            try:
                _, at = _DECODER.raw_decode(text, at)
            except ValueError:
                continue
            wanted = Wanted(name, text[match.end() : at])
        else:
            wanted = Wanted(None, command)
        if found and text[end : match.start()].strip(" ,\n") == "and":
            found[-1].append(wanted)
        else:
            found.append([wanted])
        end = at
    return found


def next_step(messages: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> list[Wanted]:
    """The step that is due: of the last user's message that asks for any, the one that no calls have answered yet.

    ``messages`` are those of a Chat Completions request, ``texts`` what each of them says.
    """
    taken = 0
    for message, text in zip(reversed(messages), reversed(texts), strict=True):
        if message.get("role") == "assistant" and message.get("tool_calls"):
            taken += 1
        elif message.get("role") == "user" and (asked := steps(text)):
            return asked[taken] if taken < len(asked) else []
    return []


def words_wanted(text: str) -> int | None:
    match = _WORDS.search(text.lower())
    return int(match[1]) if match else None


def thinks_first(text: str) -> bool:
    return "think first" in text.lower()


def shell_among(functions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The function by which the client runs commands."""
    return next((function for function in functions if function["name"].lower() in _SHELLS), None)


def command_field(properties: Mapping[str, Any]) -> str | None:
    """Which of a shell's arguments is the command."""
    return next((field for field in _COMMAND_FIELDS if field in properties), None)
