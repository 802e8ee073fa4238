"""JSON from a model repository or from a tree, read as hostile input.

``json.loads`` keeps the last of two equal keys, takes ``NaN``, and says nothing of a Git-LFS pointer.  Here each of
these is refused with file, line and column, and the lines of the top-level keys are kept as evidence.
"""

from __future__ import annotations

import bisect
import json
import re
from dataclasses import field
from pathlib import Path
from typing import Any

from omniport.errors import OmniportError
from omniport.records import dataclass

CONFIG_LIMIT = 1 << 20  # bytes of a model_index.json or a component's config
INDEX_LIMIT = 16 << 20  # bytes of a *.safetensors.index.json
MAX_DEPTH = 32

_BOM = b"\xef\xbb\xbf"
_LFS = b"version https://git-lfs"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|NaN|-?Infinity', re.S)
_COLON = re.compile(r"\s*:")


@dataclass(frozen=True)
class Document:
    """A parsed JSON object; ``lines`` gives the 1-based line of each top-level key."""

    name: str
    value: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict, repr=False)


def read_object(
    data: bytes, name: str, *, limit: int = CONFIG_LIMIT, infinity: bool = False, depth: int = MAX_DEPTH
) -> Document:
    """Parse ``data``, the content of the file ``name``, which must be one JSON object.

    ``infinity`` admits ``Infinity`` and ``-Infinity``: diffusers itself writes them into the configuration of a
    scheduler (``lambda_min_clipped`` of DPMSolverMultistepScheduler); ``NaN`` never.

    Raises:
        OmniportError: too large, not UTF-8, a byte order mark, a Git-LFS pointer, a syntax error, a duplicate key, a
            number that is not finite, nested deeper than ``depth``, or no object.  The message gives file, line and
            column.
    """
    if len(data) > limit:
        raise OmniportError(f"{name}: larger than {limit} bytes; refused")
    if data.startswith(_BOM):
        raise OmniportError(f"{name}:1:1: begins with a byte order mark, which JSON does not allow")
    if data.startswith(_LFS):
        raise OmniportError(
            f"{name}:1:1: a Git-LFS pointer, not the file itself; run `git lfs pull` in the model folder"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise OmniportError(f"{name}:{line}:{column}: not UTF-8") from None
    if not text.strip():
        raise OmniportError(f"{name}:1:1: the file is empty")
    value = _parse(text, name)
    if not isinstance(value, dict):
        raise OmniportError(f"{name}:1:1: holds {_kind(value)} where an object is needed")
    return Document(name, value, _scan(text, name, infinity, depth))


def read_record(path: Path, *, limit: int, infinity: bool = False) -> dict[str, Any]:
    """The JSON object that the file ``path`` holds: a record of our own, which anybody can have changed since.

    ``infinity`` as for :func:`read_object`: the error of a port whose output has another shape is infinite.

    Raises:
        OmniportError: it cannot be read, or as :func:`read_object`.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= limit else b""
    except OSError as error:
        raise OmniportError(f"{path}: cannot be read: {error.strerror}") from None
    if size > limit:
        raise OmniportError(f"{path}: larger than {limit} bytes; refused")
    depth = 2 * MAX_DEPTH  # it holds files of MAX_DEPTH
    return read_object(data, str(path), limit=limit, infinity=infinity, depth=depth).value


def _parse(text: str, name: str) -> Any:
    def finite(literal: str) -> float:
        number = float(literal)
        if number in (float("inf"), float("-inf")):
            raise OmniportError(f"{_place(text, text.find(literal), name)}: number {literal[:40]} is not finite")
        return number

    try:
        value = json.loads(text, parse_float=finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise OmniportError(f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise OmniportError(f"{name}: nested deeper than {MAX_DEPTH} levels, too deep to be read; refused") from None
    except UnicodeEncodeError:
        raise OmniportError(f"{name}: holds half of a surrogate pair, which is no text") from None
    except ValueError:
        raise OmniportError(f"{name}: holds a number with too many digits; refused") from None
    return value


def _scan(text: str, name: str, infinity: bool, depth: int) -> dict[str, int]:
    """Lines of the top-level keys of valid JSON; raises on duplicate keys, depth and numbers that are not finite."""
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    lines: dict[str, int] = {}
    keys: list[set[str]] = []
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word in "{[":
            keys.append(set())
            if len(keys) > depth:
                raise OmniportError(f"{_place(text, token.start(), name)}: nested deeper than {depth} levels")
        elif word in "}]":
            keys.pop()
        elif word[0] != '"':
            if word == "NaN" or not infinity:
                raise OmniportError(f"{_place(text, token.start(), name)}: {word} is not allowed here")
        elif keys and _COLON.match(text, token.end()):
            key = json.loads(word)
            if key in keys[-1]:
                raise OmniportError(f"{_place(text, token.start(), name)}: key {key!r} appears twice in one object")
            keys[-1].add(key)
            if len(keys) == 1:
                lines[key] = bisect.bisect_right(starts, token.start())
    return lines


def _place(text: str, offset: int, name: str) -> str:
    return f"{name}:{text.count(chr(10), 0, offset) + 1}:{offset - text.rfind(chr(10), 0, offset)}"


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "an array"
    return {str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")
