from __future__ import annotations

from typing import Any

import pytest

from chain429.simulator.steering import Wanted, command_field, next_step, shell_among, steps, thinks_first, words_wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("Hello", [], id="nothing"),
        pytest.param("Please call a with {}.", [[Wanted("a", "{}")]], id="one"),
        pytest.param(
            'call a with {"b": {"c": "}"}} and call d-e.f with {}',
            [[Wanted("a", '{"b": {"c": "}"}}'), Wanted("d-e.f", "{}")]],
            id="parallel",
        ),
        pytest.param("call a with {}, then call b with {}", [[Wanted("a", "{}")], [Wanted("b", "{}")]], id="steps"),
        pytest.param(
            "Run `ls -l` in the shell and call a with {}\nand then run `pwd` in the shell",
            [[Wanted(None, "ls -l"), Wanted("a", "{}")], [Wanted(None, "pwd")]],
            id="the shell",
        ),
        pytest.param("call a with {oops", [], id="no JSON"),
        pytest.param("call a with {oops, call b with {}", [[Wanted("b", "{}")]], id="no JSON before a good one"),
        pytest.param("call a with [1]", [], id="no object"),
    ],
)
def test_steps(text: str, wanted: list[list[Wanted]]) -> None:
    assert steps(text) == wanted


USER = {"role": "user"}
CALLED = {"role": "assistant", "tool_calls": [{}]}
RESULT = {"role": "tool"}
TASK = "call a with {} then call b with {}"


@pytest.mark.parametrize(
    ("conversation", "due"),
    [
        pytest.param([(USER, TASK)], "a", id="the first"),
        pytest.param([(USER, TASK), (CALLED, ""), (RESULT, "")], "b", id="the second"),
        pytest.param([(USER, TASK), (CALLED, ""), (RESULT, ""), (CALLED, ""), (RESULT, "")], None, id="all are taken"),
        pytest.param([(USER, TASK), (CALLED, ""), (RESULT, ""), (USER, "reminder")], "b", id="a word in between"),
        pytest.param([(USER, TASK), (CALLED, ""), (USER, "call c with {}")], "c", id="a new task"),
        pytest.param([({"role": "system"}, TASK), (USER, "Hello")], None, id="only users steer"),
    ],
)
def test_the_step_that_is_due(conversation: list[tuple[dict[str, Any], str]], due: str | None) -> None:
    messages, texts = zip(*conversation, strict=True)
    assert next_step(messages, texts) == ([Wanted(due, "{}")] if due else [])


def test_words_and_thoughts() -> None:
    assert [words_wanted(text) for text in ("Say 20 words.", "say words", "say 12345 words")] == [20, None, None]
    assert [thinks_first(text) for text in ("Think first!", "think")] == [True, False]


def test_the_shell_among_tools() -> None:
    bash = {"name": "Bash"}
    assert shell_among([{"name": "Read"}, bash]) == bash
    assert shell_among([{"name": "Read"}]) is None
    assert [command_field({"timeout": {}, "cmd": {}}), command_field({})] == ["cmd", None]
