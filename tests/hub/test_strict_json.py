from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniport.errors import OmniportError
from omniport.strict_json import read_object


def test_value_and_lines() -> None:
    document = read_object(b'{\n  "a": {"x": 1},\n  "b": [1,\n 2],\n  "c": "a\\": 1"\n}', "f.json")
    assert document.value == {"a": {"x": 1}, "b": [1, 2], "c": 'a": 1'}
    assert document.lines == {"a": 2, "b": 3, "c": 5}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "f.json:1:1: the file is empty"),
        (b" \n", "f.json:1:1: the file is empty"),
        (b"\xef\xbb\xbf{}", "f.json:1:1: begins with a byte order mark"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "f.json:1:1: a Git-LFS pointer"),
        (b'{\n "a": 1,\n}', "f.json:[23]:[0-9]+: not valid JSON"),
        (b'{\n "a": 1, // no\n}', "f.json:2:10: not valid JSON"),
        (b'{\n "a": "\xff"}', "f.json:2:8: not UTF-8"),
        (b"[1]", "f.json:1:1: holds an array"),
        (b"null", "holds null"),
        (b'{\n "a": NaN}', "f.json:2:7: NaN is not allowed"),
        (b'{\n "a": -Infinity}', "f.json:2:7: -Infinity is not allowed"),
        (b'{\n "a": 1e999}', "f.json:2:7: number 1e999 is not finite"),
        (b'{"a": 1,\n "b": {"c": 1,\n  "c": 2}}', "f.json:3:3: key 'c' appears twice"),
        (b'{"a": 1, "\\u0061": 2}', "key 'a' appears twice"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper than 32"),
        (b"[" * 100_000, "nested deeper than 32|not valid JSON"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(OmniportError, match=message):
        read_object(data, "f.json")


def test_too_large() -> None:
    with pytest.raises(OmniportError, match="larger than 10 bytes"):
        read_object(b'{"a": 12345}', "f.json", limit=10)


def test_infinity_only_where_diffusers_writes_it() -> None:
    assert read_object(b'{"a": -Infinity}', "f", infinity=True).value == {"a": float("-inf")}
    with pytest.raises(OmniportError, match="NaN is not allowed"):
        read_object(b'{"a": NaN}', "f", infinity=True)


def test_words_in_strings_are_no_numbers() -> None:
    assert read_object(b'{"a": "NaN [{ Infinity"}', "f").value == {"a": "NaN [{ Infinity"}


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), _VALUES, max_size=5), st.sampled_from([None, 2]))
def test_valid_json_is_read_as_json_reads_it(value: dict[str, object], indent: int | None) -> None:
    data = json.dumps(value, indent=indent).encode()
    document = read_object(data, "f")
    assert document.value == json.loads(data)
    assert set(document.lines) == set(value)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_gives_a_value_or_our_error(data: bytes) -> None:
    try:
        assert isinstance(read_object(b'{"a":' + data, "f").value, dict)
    except OmniportError as error:
        assert str(error).startswith("f:")
