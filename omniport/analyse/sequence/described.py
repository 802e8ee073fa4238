"""What the call of a module is given, as far as the rules of a walk over split tokens ask."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

from omniport.analyse.shapes import (
    Const,
    Either,
    Fields,
    Function,
    Instance,
    Leaf,
    Modules,
    Num,
    Opaque,
    Seq,
    Tensor,
)

_LENGTH = re.compile(r"len\((\w+)\)")
_MODULES = frozenset({Instance, Leaf, Modules})
PLAIN = frozenset({Num, Const, Opaque, Function})  # values that are what they say


class Described:
    """What a call is given, as far as the rules ask: ``parts``; ``objects`` are the tensors, lists and dicts of it."""

    def __init__(self, walk: Any, values: Iterable[Any]) -> None:
        self.walk, self.parts, self.objects = walk, list[Any](), list[Any]()
        self.streams: dict[str, None] = {}
        self.several = list[bool]()  # whether tensors come from parameters that are taken for ones of more axes
        self.seen: dict[int, int] = {}
        self.loose = False  # whether it is yet to be said what a tensor comes from
        self.fits = all(map(self.add, values))

    def add(self, value: Any) -> bool:
        """False if the value is of a kind that tells too little of itself."""
        kind = type(value)
        if kind in PLAIN:
            text = value.poly._text if kind is Num else value.text if kind is Opaque else value
            if kind is Num and "len(" in text:
                self.streams.update(_lengths(text))
            self.parts += (kind, type(value.value) if kind is Const else None, text, id(value) in self.walk.optional)
            return True
        if kind in _MODULES:
            self.parts += (id(value), id(value) in self.walk.optional)
            return True
        if (at := self.seen.get(id(value))) is not None:
            self.parts.append(at)
            return True
        if kind is Tensor:
            self.note(value)
            return self.tensor(value)
        if kind is Seq:
            self.note(value)
            self.parts += (value.many, len(value.items), id(value) in self.walk.optional)
            return all(map(self.add, value.items))
        if kind is Fields:
            self.note(value)
            self.parts += (tuple(value.items), id(value) in self.walk.optional)
            return all(map(self.add, value.items.values()))
        if kind is Either and all(type(item) in _MODULES for item in value.items):
            self.parts += (tuple(map(id, value.items)), id(value) in self.walk.optional)
            return True
        return False

    def note(self, value: Any) -> None:
        self.seen[id(value)] = len(self.objects)
        self.objects.append(value)

    def tensor(self, x: Tensor) -> bool:
        walk, parts, origins, open_, whole = self.walk, self.parts, x.origins, None, True
        for dim in x.known:
            text = dim.size._text
            parts.append(text)
            parts.append(dim.streams)
            if dim.streams:
                self.streams.update(dict.fromkeys(dim.streams))
            if "len(" in text:
                self.streams.update(_lengths(text))
            whole = whole and not dim.parts
        if x.dims is None:
            serial = x.serial
            open_ = (walk.unclear.get(serial), serial in walk.tested, serial in walk.assumed)
        self.loose = self.loose or origins is None
        self.several.append(bool(walk.given) and not walk.given.keys().isdisjoint(origins or ()))
        parts += (len(x.known), origins, id(x) in walk.optional, open_)
        return whole


@functools.lru_cache(maxsize=2000)
def _lengths(text: str) -> dict[str, None]:
    """The streams whose lengths a size is made of."""
    return dict.fromkeys(_LENGTH.findall(text))
