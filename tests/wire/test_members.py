from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import WireError
from chain429.wire.members import DROP, Members

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def test_untouched_members_keep_their_text() -> None:
    body = b'{ "model" : "a", "big": 1e400, "n": 1.10, "t": "\\u00e9\xc3\xa9", "o": { "x" : [1 , 2] } }'
    assert Members.parse(body).render({"model": "b"}) == (
        b'{"big": 1e400,"n": 1.10,"t": "\\u00e9\xc3\xa9","o": { "x" : [1 , 2] },"model":"b"}'
    )


def test_members_are_dropped_and_added() -> None:
    members = Members.parse(b'{"a":1,"b":2}')
    assert members.render({"a": DROP, "c": [None, True], "d": DROP}) == b'{"b":2,"c":[null,true]}'


def test_the_last_of_two_members_with_one_name_counts() -> None:
    members = Members.parse(b'{"a":1,"a":2}')
    assert members.values == {"a": 2}
    assert members.render({"a": "x"}) == b'{"a":"x"}'


@pytest.mark.parametrize(
    ("body", "rendered"),
    [
        (b'{"model" : "a b" , "n": 1.50 }', b'{"model" : "new" , "n": 1.50,"added":true}'),
        (b'{"n":{"model":"x"},"model":"a"}', b'{"n":{"model":"x"},"model":"new","added":true}'),
        (b'{"n":{"model":"x"},"mode\\u006c":"a"}', b'{"n":{"model":"x"},"model":"new","added":true}'),
        (b'{"n":"\\"model\\":","model":"a\\"}"}', b'{"n":"\\"model\\":","model":"new","added":true}'),
        (b'{"model":null}', b'{"model":"new","added":true}'),
        (b'{"n":[{"model":1}]}', b'{"n":[{"model":1}],"model":"new","added":true}'),
        (b"{}", b'{"model":"new","added":true}'),
    ],
)
def test_a_member_is_replaced_where_it_stands_and_none_of_that_name_elsewhere(body: bytes, rendered: bytes) -> None:
    assert Members.parse(body).render({"model": "new", "added": True, "gone": DROP}) == rendered


def test_a_byte_order_mark_and_white_space_are_tolerated() -> None:
    assert Members.parse(b'\xef\xbb\xbf \r\n{"a":1}\t\n').values == {"a": 1}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "^the body is empty$"),
        (b"\xef\xbb\xbf \r\n", "^the body is empty$"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"{", "ends too early"),
        (b'{"a"', "ends too early"),
        (b'{"a":', "ends too early"),
        (b'{"a":1', "ends too early"),
        (b'{"a":1,}', "double quotes"),
        (b"{'a':1}", "double quotes"),
        (b'{"a" 1}', "':' was expected"),
        (b'{"a":1 "b":2}', "',' or '}'"),
        (b'{"a":1} x', "nothing was expected"),
        (b'{"a": x}', "JSON: a value was expected at line 1, column 7$"),
        (b'{"a":\n[tru', "JSON: a value was expected at line 2, column 2$"),
        (b'{"a":{"b" 1}}', "JSON: ':' was expected at line 1, column 11$"),
        (b'{"a":{b:1}}', "JSON: a member's name in double quotes was expected at line 1, column 7$"),
        (b'{"a":[1 2]}', "JSON: ',' or a closing bracket was expected at line 1, column 9$"),
        (b'{"a":"b', "JSON: a string that is never closed begins at line 1, column 6$"),
        (b'{"a":"\\q"}', "JSON: an unknown escape is at line 1, column 7$"),
        (b'{"a":"\\u12"}', r"JSON: \\u without four hexadecimal digits is at line 1, column"),
        (b'["a",', "ends too early"),
        (b'["a"] x', "JSON: nothing was expected after the value at line 1, column 7$"),
        (b'{"a":' + b"1" * 5000 + b"}", "^a number in the body has too many digits$"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "not JSON"),
        (b'{"a":"\x01"}', "JSON: a control character, which must be escaped, is in a string at line 1, column 7$"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b"<html>", "JSON: a value was expected at line 1, column 1$"),
    ],
)
def test_what_is_no_object_is_refused_in_plain_words(body: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words.replace("(", r"\(")):
        Members.parse(body)


@given(st.dictionaries(st.text(), JSON, max_size=6), st.booleans())
def test_reads_and_renders_what_the_json_module_does(value: dict[str, object], ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        members = Members.parse(body)
    except WireError:
        assert not ascii_only  # a lone surrogate is no UTF-8
        return
    assert members.values == value
    assert json.loads(members.render({})) == value


@given(st.binary(max_size=60))
def test_never_raises_anything_else(body: bytes) -> None:
    with suppress(WireError):
        Members.parse(body)
