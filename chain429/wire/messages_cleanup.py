"""What is changed in a client's Messages body before a provider that speaks Messages too sees it.

Anthropic itself gets what the client wrote. Others know less of the dialect, and refuse what they do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from chain429.wire.cleanup import clean
from chain429.wire.dialect import Side
from chain429.wire.members import DROP, Members
from chain429.wire.messages_body import (
    BUDGETS,
    EFFORT_WORDS,
    LEAST_BUDGET,
    THOUGHTS,
    asked_in_words,
    folded,
    lacks_thoughts,
    thinking_form,
)
from chain429.wire.messages_prompt import BILLING, client_tools, plain_text, system_texts, wanted_effort, wanted_format
from chain429.wire.prompt import unmarked

# The version of the API from which on it refuses these, even at their default values.
VERSION_WITHOUT_SAMPLING = "2026-10-21"
_SAMPLING = ("temperature", "top_p", "top_k")
# What only Anthropic's own service has; and who the user is, which is nobody else's business.
_OF_THE_VENDOR = (
    "billing_policy", "cache_control", "compaction", "container", "context_management", "diagnostics",
    "fallback_credit_token", "fallbacks", "inference_geo", "mcp_servers", "metadata", "output_config",
    "output_format", "service_tier", "speed", "thread", "user_profile_id", "workspace_id",
)  # fmt: skip
# Blocks and members of tools that every provider of the dialect knows.
_BLOCKS = frozenset({"text", "image", "document", "tool_use", "tool_result", *THOUGHTS})
_OF_TOOLS = ("name", "description", "input_schema")
# So many marks of what is to be cached may be in one request.
_MOST_MARKS = 4
# How a text of nothing is written.
_BLANK = ('"text":""', '"text": ""')
# A refusal of this names the signatures of thinking, as a parameter of the request would be named.
SIGNATURE = "signature"

_Block = Mapping[str, Any]
_Edit = Callable[[_Block], _Block | None]


def fitted(members: Members, side: Side, version: str, refused: Collection[str]) -> dict[str, Any]:
    """The changes (member name -> new value or DROP) for one provider; ``refused`` are parameters that it refuses."""
    body = _Body(members.values, {"model": side.model})
    if side.vendor:
        if version == VERSION_WITHOUT_SAMPLING:
            body.drop(_SAMPLING)
    else:
        _reduce(body, side)
    if not side.vendor or SIGNATURE in refused or members.count('"signature"') or members.count('"redacted_thinking"'):
        _keep_own_thoughts(body, side, SIGNATURE in refused)
    if side.vendor and any(members.count(blank) for blank in _BLANK):
        shown = [
            _with_blocks(message, lambda block: block if _says_something(block) else None)
            for message in body.get("messages")
        ]
        body.put("messages", [message for message in shown if message is not None])
    _limit(body, side)
    if members.count('"cache_control"') > _MOST_MARKS:
        _limit_marks(body)
    if "thinking" in refused:
        _do_not_think(body)
    body.drop(refused)
    if side.rules:
        current = {name: value for name, value in {**body.values, **body.changes}.items() if value is not DROP}
        body.changes |= clean(current, side.model, side.rules)
    return body.changes


class _Body:
    """A body as it is, and what is changed in it."""

    __slots__ = ("changes", "values")

    def __init__(self, values: Mapping[str, Any], changes: dict[str, Any]) -> None:
        self.values = values
        self.changes = changes

    def get(self, name: str) -> Any:
        """The present value; None where there is none."""
        value = self.changes.get(name, self.values.get(name))
        return None if value is DROP else value

    def put(self, name: str, value: Any) -> None:
        """What is the same already keeps its bytes."""
        if value is not self.get(name) and value != self.get(name):
            self.changes[name] = value

    def drop(self, names: Collection[str]) -> None:
        for name in names:
            if name in self.values or name in self.changes:
                self.changes[name] = DROP


def _reduce(body: _Body, side: Side) -> None:
    """Leave what any provider of the dialect understands."""
    system = body.get("system")
    if isinstance(system, list):
        kept = [_plainly(block) for block in system if not str(block.get("text") or "").startswith(BILLING)]
        body.put("system", kept or DROP)
    schema = wanted_format(body.values)
    if schema is not None:
        _instruct(body, [asked_in_words(schema)])
    messages = [changed for message in body.get("messages") if (changed := _with_blocks(message, _known)) is not None]
    if any(message["role"] == "system" for message in messages):
        messages = _folded(body, messages)
    body.put("messages", messages)
    if "tools" in body.values:
        tools = [_tool(tool) for tool in client_tools(body.values)]
        body.put("tools", tools or DROP)
        if not tools:
            body.drop(["tool_choice"])
    _think(body, side)
    body.drop(_OF_THE_VENDOR)
    if thinking_form(side) == "adaptive" and (effort := wanted_effort(body.values)):
        body.changes["output_config"] = {"effort": EFFORT_WORDS[effort]}


def _instruct(body: _Body, texts: Sequence[str]) -> None:
    """Add instructions to those at the beginning."""
    system = body.get("system")
    before = [{"type": "text", "text": system}] if isinstance(system, str) and system else system or []
    body.put("system", [*before, *[{"type": "text", "text": text} for text in texts]])


def _plainly(block: _Block) -> _Block:
    """Without what is said of its cache beyond that it may be cached, and of where a text came from."""
    if "citations" in block and block["type"] == "text":
        block = {name: value for name, value in block.items() if name != "citations"}
    mark = block.get("cache_control")
    if mark is None or (isinstance(mark, dict) and len(mark) == 1):
        return block
    return {**block, "cache_control": {"type": "ephemeral"}}


def _known(block: _Block) -> _Block | None:
    if block.get("type") in _BLOCKS:
        return _plainly(block) if _says_something(block) else None
    text = plain_text(block)
    return {"type": "text", "text": text} if text else None


def _says_something(block: _Block) -> bool:
    """Whether it is more than a text of nothing, which answers may hold but no request."""
    return block.get("type") != "text" or bool(str(block.get("text") or "").strip())


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    kept = {name: tool[name] for name in _OF_TOOLS if name in tool}
    return {**kept, "cache_control": {"type": "ephemeral"}} if tool.get("cache_control") else kept


def _folded(body: _Body, messages: Sequence[_Block]) -> list[_Block]:
    """Instructions between the turns, given as the user's words; those before all others go to the beginning."""
    found: list[dict[str, Any]] = []
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        if message["role"] == "system":
            if not found:
                _instruct(body, system_texts(content))
                continue
            blocks = [folded(text) for text in system_texts(content)]
        role = "assistant" if message["role"] == "assistant" else "user"
        if found and found[-1]["role"] == role:
            found[-1]["content"] = [*found[-1]["content"], *blocks]
        elif blocks:
            found.append({"role": role, "content": blocks})
    if not found:
        return list(messages)
    for message in found:
        # Results come first, right after the calls.
        message["content"].sort(key=lambda block: block["type"] != "tool_result")
    return [*found]


def _think(body: _Body, side: Side) -> None:
    thinking, form = body.get("thinking"), thinking_form(side)
    if not isinstance(thinking, dict):
        return
    kind = thinking.get("type")
    if form == "none":
        body.drop(["thinking"])
    elif kind == "disabled" or (kind == "enabled" and form == "budget"):
        body.put("thinking", {name: thinking[name] for name in ("type", "budget_tokens") if name in thinking})
    elif form == "adaptive":
        body.put("thinking", {"type": "adaptive"})
    else:
        budget = BUDGETS[wanted_effort(body.values) or "high"]
        body.put("thinking", {"type": "enabled", "budget_tokens": budget})


def _keep_own_thoughts(body: _Body, side: Side, none: bool) -> None:
    """Leave only thinking that this provider has signed; what carries no mark of ours is Anthropic's."""

    def edit(block: _Block) -> _Block | None:
        if block["type"] not in THOUGHTS:
            return block
        member = "signature" if block["type"] == "thinking" else "data"
        signature = str(block.get(member) or "")
        origin, own = unmarked(signature)
        if none:
            return None
        if own == signature:
            return block if bool(signature) is side.vendor else None
        return {**block, member: own} if origin == side.provider and (own or not side.vendor) else None

    messages = body.get("messages")
    kept = [changed for message in messages if (changed := _with_blocks(message, edit)) is not None]
    if _same(kept, messages):
        return
    body.put("messages", kept)
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "enabled" and lacks_thoughts(kept):
        _do_not_think(body)


def _do_not_think(body: _Body) -> None:
    body.drop(["thinking"])
    management = body.get("context_management")
    edits = management.get("edits") if isinstance(management, dict) else None
    if isinstance(edits, list):
        # It is refused to clear thinking where there is none.
        left = [edit for edit in edits if not _clears_thinking(edit)]
        body.put("context_management", {**management, "edits": left} if left else DROP)


def _clears_thinking(edit: Any) -> bool:
    return isinstance(edit, dict) and str(edit.get("type")).startswith("clear_thinking")


def _limit(body: _Body, side: Side) -> None:
    """No more tokens than the model makes, and room for an answer beside its thinking."""
    most, thinking = body.get("max_tokens"), body.get("thinking")
    if most is None:
        return
    if side.max_output is not None and most > side.max_output:
        most = body.changes["max_tokens"] = side.max_output
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if isinstance(budget, int) and budget >= most:
        budget = most * 3 // 4
        if budget < LEAST_BUDGET:
            _do_not_think(body)
        else:
            body.put("thinking", {**thinking, "budget_tokens": budget})


def _limit_marks(body: _Body) -> None:
    """Of too many marks of what is to be cached, leave the last: those before them are within what they mark."""
    system = body.get("system")
    places = [*(body.get("tools") or ()), *(system if isinstance(system, list) else ())]
    inner = [block for message in body.get("messages") for block in _blocks(message)]
    marked = [id(block) for block in (*places, *inner) if block.get("cache_control")]
    spare = set(marked[: max(len(marked) - _MOST_MARKS + bool(body.get("cache_control")), 0)])
    if not spare:
        return

    def edit(block: _Block) -> _Block | None:
        if id(block) not in spare:
            return block
        return {name: value for name, value in block.items() if name != "cache_control"}

    for name in ("tools", "system"):
        value = body.get(name)
        if isinstance(value, list):
            body.put(name, [edit(one) for one in value])
    body.put("messages", [_with_blocks(message, edit) for message in body.get("messages")])


def _blocks(message: Mapping[str, Any]) -> Iterator[_Block]:
    content = message.get("content")
    for block in content if isinstance(content, list) else ():
        inner = block.get("content") if block["type"] == "tool_result" else None
        if isinstance(inner, list):
            yield from inner
        yield block


def _with_blocks(message: _Block, edit: _Edit) -> _Block | None:
    """The message with each of its blocks edited, and then those within results: the same object where nothing changes,
    None where nothing is left of it."""
    content = message.get("content")
    if not isinstance(content, list) or not content:
        return message
    blocks: list[_Block] = []
    for block in content:
        new = edit(block)
        if new is None:
            continue
        inner = new.get("content") if new["type"] == "tool_result" else None
        if isinstance(inner, list):
            edited = [one for item in inner if (one := edit(item)) is not None]
            if not _same(edited, inner):
                new = {**new, "content": edited}
        blocks.append(new)
    if not blocks:
        return None
    return message if _same(blocks, content) else {**message, "content": blocks}


def _same(new: Sequence[_Block], old: Sequence[_Block]) -> bool:
    return len(new) == len(old) and all(one is other for one, other in zip(new, old, strict=True))
