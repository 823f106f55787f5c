"""Chat chunks that say one thing in the usual way, read without parsing them: that is nearly all of a stream.

Whatever is not plain gets None, and has to be parsed. What is plain means here what it would mean parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from chain429.wire.loading import loads

_TEXT = rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
# A value beside it: nothing that could be more of the answer, or an error.
_SCALAR = rb'(?:null|"[ !#-\[\]-~]*+"|-?+(?:0|[1-9]\d*+)(?:\.\d++)?+|true|false)'
_MEMBER = rb'"(?!error"|choices")\w++": ?%b' % _SCALAR
_NOTHING = rb'"(?!role"|index")\w++": ?(?:null|"")'
_FUNCTION = rb'"function": ?\{(?:%b, ?)*+"arguments": ?%b(?:, ?%b)*+\}' % (_NOTHING, _TEXT, _NOTHING)
_TYPE = rb'"type": ?"function"'
_ASIDE = rb"(?:%b|%b)" % (_TYPE, _NOTHING)
_CALL = rb'\{"index": ?(\d++)(?:, ?%b)*+, ?%b(?:, ?%b)*+\}' % (_ASIDE, _FUNCTION, _ASIDE)
_ROLE = rb'"role": ?"assistant"'
_SAID = rb'(?:"(content|reasoning_content|reasoning)": ?%b|"tool_calls": ?\[%b\])' % (_TEXT, _CALL)
_DELTA = rb'"delta": ?\{(%b, ?)?+(?:%b, ?)*+%b(?:, ?%b)*+(, ?%b)?+\}' % (_ROLE, _NOTHING, _SAID, _NOTHING, _ROLE)
_CHOICE = rb'\{(?:"index": ?(\d++), ?)?+%b(?:, ?(?:"index": ?(\d++)|"(?!index")\w++": ?null))*+\}' % _DELTA
_TAIL = rb"(?:, ?%b)*+\}" % _MEMBER
_CHUNK = re.compile(rb'\{(?:%b, ?)*+"choices": ?\[%b\]()%b' % (_MEMBER, _CHOICE, _TAIL))
_REST = re.compile(_TAIL)


@dataclass(slots=True)  # not frozen: that takes twice the time to make, and some streams are full of them
class Frame:
    """What stands around the one text that a chunk has; the next chunks of a stream are often alike in all else.

    ``begins`` and ``ends`` go to the quotes around the text, and to the end of the choices; ``rest`` comes after them.
    ``choice`` is the number of the answer where several were asked for, ``call`` that of the call whose arguments the
    text is a piece of, as the provider counts; ``role``: it is told, too.
    """

    begins: bytes
    ends: bytes
    rest: bytes
    kind: Literal["text", "reasoning", "arguments"]
    choice: int
    call: int
    role: bool

    def text(self, data: bytes) -> str | None:
        """The text of a chunk that this is the frame of; never empty."""
        begin = len(self.begins)
        end = data.find(self.ends, begin) if data.startswith(self.begins) else -1
        if end <= begin:
            return None
        rest = data[end + len(self.ends) :]
        if rest != self.rest and not _REST.fullmatch(rest):
            return None
        try:
            # With the quotes around it: only if it is one JSON string is there nothing but the text.
            text = loads(str(data[begin - 1 : end + 1], "utf-8"))
        except ValueError:
            return None
        return text if isinstance(text, str) else None


def frame(data: bytes) -> Frame | None:
    """The frame of a chunk that is plain."""
    found = _CHUNK.fullmatch(data)
    if found is None:
        return None
    before, role, key, _, call, _, role_after, after, _ = found.groups()
    if (before is None) == (after is None):
        return None
    begin, end = found.span(6 if key is None else 4)
    past = found.start(9)
    return Frame(
        data[:begin],
        data[end:past],
        data[past:],
        "arguments" if key is None else "text" if key == b"content" else "reasoning",
        int(before or after),
        int(call or 0),
        role is not None or role_after is not None,
    )
