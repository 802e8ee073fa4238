"""Plans to JSON and back, driven by the dataclasses' own type hints."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Hashable
from typing import Any, TypeVar

T = TypeVar("T")


def to_data(value: Any) -> Any:
    """Turn a plan (or a part of one) into lists, dicts and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_data(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [to_data(v) for v in value]
    return value


@functools.cache
def _hints(cls: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def from_data(cls: type[T], data: Any) -> T:
    """Build ``cls`` from :func:`to_data` output.

    Raises:
        ValueError: a key is missing or unknown, or a value has another type than the field.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{cls.__name__}: expected an object, got {type(data).__name__}")
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if wrong := names.symmetric_difference(data):
        raise ValueError(f"{cls.__name__}: missing or unknown keys {sorted(wrong)}")
    hints = _hints(typing.cast(Hashable, cls))
    return cls(**{k: _convert(hints[k], v, f"{cls.__name__}.{k}") for k, v in data.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list")
        return tuple(_convert(args[0], v, where) for v in value)
    if origin is typing.Literal:
        if value not in args:
            raise ValueError(f"{where}: {value!r} is none of {args}")
        return value
    if origin in (typing.Union, types.UnionType):
        for arg in args:
            try:
                return _convert(arg, value, where)
            except ValueError:
                continue
        raise ValueError(f"{where}: {value!r} fits none of {args}")
    if dataclasses.is_dataclass(hint):
        return from_data(hint, value)  # type: ignore[arg-type]
    if hint is type(None):
        hint = types.NoneType
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise ValueError(f"{where}: expected {hint.__name__}, got {type(value).__name__}")
    return value


def dumps(plan: Any) -> str:
    """A plan as stable JSON text, ending in a newline."""
    return json.dumps(to_data(plan), indent=2, ensure_ascii=False) + "\n"


def loads(cls: type[T], text: str) -> T:
    """The inverse of :func:`dumps`; raises ValueError on any mismatch."""
    return from_data(cls, json.loads(text))
