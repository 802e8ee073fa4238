"""What is known of a value before the program runs.

The lattice is small because the questions are few: is it a known constant, is it certainly not None, which modules may
it be.  Everything else is :data:`UNKNOWN`.  :func:`join` keeps only what holds on both paths.
"""

from __future__ import annotations

import functools
from typing import Any

from omniport.records import dataclass


@dataclass(frozen=True)
class Unknown:
    """Nothing is known, None is possible."""


@dataclass(frozen=True)
class Present:
    """Certainly not None; nothing else is known."""


@dataclass(frozen=True)
class Const:
    """A Python literal: None, a bool, a number, a string, or an empty tuple, list or dict."""

    value: Any

    def __hash__(self) -> int:
        return hash((type(self.value), repr(self.value)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and type(self.value) is type(other.value) and self.value == other.value


@dataclass(frozen=True)
class OneOf:
    """One of a few strings, or None: what a config may choose from."""

    values: frozenset[str | None]

    def __repr__(self) -> str:  # names variants: the same in every run
        return f"OneOf({sorted(self.values, key=str)})"


@dataclass(frozen=True)
class Sequence:
    """A tuple or list of known length."""

    items: tuple[Value, ...]


@dataclass(frozen=True)
class Mapping:
    """A dict whose keys are known strings."""

    items: tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Instances:
    """One of several modules, each brought into the port (a variant key) or opaque; or None, if ``optional``."""

    variants: frozenset[str]
    optional: bool = False


@dataclass(frozen=True)
class ModuleList:
    """A ``ModuleList`` that holds such modules, in order if ``items`` are distinct positions."""

    items: tuple[Value, ...]
    repeated: bool  # built by a comprehension: any number of items[0]


@dataclass(frozen=True)
class Reference:
    """A class or function of the reference sources, by module and name; ``arguments`` None until it is called."""

    module: str
    name: str


@dataclass(frozen=True)
class Choices:
    """One of several classes of the reference, chosen by a condition that stays open."""

    items: frozenset[Reference]


@dataclass(frozen=True)
class Processor:
    """An instance of an attention processor class."""

    cls: Reference


Value = (
    Unknown | Present | Const | OneOf | Sequence | Mapping | Instances | ModuleList | Reference | Choices | Processor
)

UNKNOWN = Unknown()
PRESENT = Present()
NONE = Const(None)


def join(a: Value, b: Value) -> Value:
    """The most that is true of a value that is ``a`` on one path and ``b`` on another."""
    if a == b:
        return a
    if isinstance(a, Sequence) and isinstance(b, Sequence) and len(a.items) == len(b.items):
        return Sequence(tuple(join(x, y) for x, y in zip(a.items, b.items, strict=True)))
    if isinstance(a, Mapping) or isinstance(b, Mapping):
        left, right = _items(a), _items(b)
        if left is not None and right is not None:  # a key of one side only may be absent
            return Mapping(tuple((key, join(left.get(key, NONE), right.get(key, NONE))) for key in {**left, **right}))
    if (left_values := options(a)) and (right_values := options(b)):
        return one_of(left_values | right_values)
    if isinstance(a, Instances) and isinstance(b, Instances):
        return Instances(a.variants | b.variants, a.optional or b.optional)
    if isinstance(a, Instances) and b == NONE:
        return Instances(a.variants, optional=True)
    if isinstance(b, Instances) and a == NONE:
        return Instances(b.variants, optional=True)
    if isinstance(a, ModuleList) and isinstance(b, ModuleList):
        items = (*a.items, *b.items)
        return ModuleList((functools.reduce(join, items),), repeated=True) if items else a
    if isinstance(a, Reference | Choices) and isinstance(b, Reference | Choices):
        return Choices(_choices(a) | _choices(b))
    return PRESENT if present(a) and present(b) else UNKNOWN


def options(value: Value) -> frozenset[str | None]:
    """What a choice may be, a string being a choice of one; nothing for any other value."""
    if isinstance(value, OneOf):
        return value.values
    return frozenset({value.value}) if isinstance(value, Const) and isinstance(value.value, str | None) else frozenset()


def one_of(values: frozenset[str | None]) -> Value:
    return Const(next(iter(values))) if len(values) == 1 else OneOf(values)


def _items(value: Value) -> dict[str, Value] | None:
    if isinstance(value, Mapping):
        return dict(value.items)
    return {} if value == Const({}) else None


def _choices(value: Reference | Choices) -> frozenset[Reference]:
    return value.items if isinstance(value, Choices) else frozenset({value})


def present(value: Value) -> bool:
    """Whether ``value`` is certainly not None."""
    if isinstance(value, Instances):
        return not value.optional
    if isinstance(value, OneOf):
        return None not in value.values
    return not isinstance(value, Unknown) and value != NONE


def truth(value: Value) -> bool | None:
    """The truth value, None if it is not decided."""
    if isinstance(value, Const):
        return bool(value.value)
    if isinstance(value, OneOf):
        known = {bool(each) for each in value.values}
        return known.pop() if len(known) == 1 else None
    if isinstance(value, Sequence):
        return bool(value.items)
    if isinstance(value, Instances) and value.optional:
        return None
    if isinstance(value, Instances | Reference | Choices | Processor):
        return True
    return None
