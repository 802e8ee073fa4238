"""Dataclasses that are defined in a quarter of the time; for the type checker, those of the standard library.

Before Python 3.13 the standard library compiles each method of a dataclass apart: six for a frozen one, which made the
definition of the plan, of the facts and of the like a twentieth of a small scaffold.  Here one is compiled,
``__init__``, and only with the first value that is made, for a command makes values of every third class; comparison,
hash and representation are functions that all classes share.  That a frozen class is not written to is what the type
checker says, and nobody asks again at run time, but for the plan, which rooms share and which is read from files: its
classes are :func:`sealed`.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import operator
import reprlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "quickly_defined", "sealed"]

_STANDARD: Any = dataclasses.dataclass
_MADE = object()  # stands for a value that is made by the field's default factory

if TYPE_CHECKING or sys.version_info >= (3, 13):
    from dataclasses import dataclass
    from dataclasses import dataclass as sealed
else:

    def sealed(cls=None, /, **options):
        """As :func:`dataclass`; one that is frozen is not written to at run time, either."""
        return dataclass(cls, checked=True, **options)

    def dataclass(cls=None, /, *, frozen=False, eq=True, repr=True, checked=False, **options):
        """As :func:`dataclasses.dataclass`; other options are passed on to it."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, eq=eq, repr=repr, checked=checked, **options)
        cls.__doc__ = cls.__doc__ or cls.__name__  # else made from the signature, at the cost of a method
        own = vars(cls)
        late = options.pop("init", True) and "__init__" not in own
        shut = frozen and checked
        below = any(map(dataclasses.is_dataclass, cls.__bases__))  # what derives from a frozen one must be called so
        options |= {"eq": bool(options.get("order")), "repr": False, "init": False, "frozen": shut and below}
        made = _STANDARD(**options)(cls)
        if late:
            made.__init__ = _compiled_later(made, shut)
        if shut and not below:
            made.__dataclass_params__.frozen = True
            made.__setattr__, made.__delattr__ = _not_assigned, _not_deleted
        if repr and "__repr__" not in own:
            made.__repr__ = _representation
        if eq:
            hashed = own.get("__hash__") is not None
            if "__eq__" not in own:
                made.__eq__ = _equal
            if not hashed:
                made.__hash__ = _hash if frozen else None
        return made


@contextlib.contextmanager
def quickly_defined() -> Iterator[None]:
    """Other packages that are imported within have dataclasses of this kind, too, and abstract classes are plain ones:
    ``isinstance`` of a class that derives from ``abc.ABC`` costs several times as much where the answer is no.
    """
    module: Any = dataclasses
    classes: Any = abc
    abstract = classes.ABC
    module.dataclass, classes.ABC = dataclass, _Plain
    try:
        yield
    finally:
        module.dataclass, classes.ABC = _STANDARD, abstract


class _Plain:
    """Stands for ``abc.ABC``."""

    __slots__ = ()


def _compiled_later(cls: type, frozen: bool) -> Callable[..., None]:
    """An ``__init__`` that puts the real one of ``cls`` in its place when it is called.

    A class that is made from ``cls`` with the same members (one with slots, say) takes it over, and so finds its own.
    """
    made: list[Callable[..., None]] = []

    def __init__(self: Any, *args: Any, **values: Any) -> None:
        if not made:
            made.append(_initialiser(cls, frozen))
        for kind in type(self).__mro__:
            if vars(kind).get("__init__") is __init__:
                kind.__init__ = made[0]  # type: ignore[misc]
        made[0](self, *args, **values)

    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    return __init__


def _initialiser(cls: Any, frozen: bool) -> Callable[..., None]:
    """``__init__`` as the standard library makes it, without annotations; ``frozen`` classes forbid plain writing."""
    known: dict[str, Any] = {"__made": _MADE, "__write": object.__setattr__}
    positional: list[str] = []
    named: list[str] = []
    body: list[str] = []
    for field in dataclasses.fields(cls):
        name, parameter, value = field.name, field.name, field.name
        if field.default_factory is not dataclasses.MISSING:
            known[f"__make_{name}"] = field.default_factory
            parameter = f"{name}=__made"
            value = f"__make_{name}() if {name} is __made else {name}" if field.init else f"__make_{name}()"
        elif field.default is not dataclasses.MISSING:
            known[f"__default_{name}"] = field.default
            parameter = f"{name}=__default_{name}"
        if field.init:
            (named if field.kw_only else positional).append(parameter)
        elif field.default_factory is dataclasses.MISSING:
            continue  # the default is the class's
        body.append(f"__write(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join(["self", *positional, *(["*"] if named else []), *named])
    exec(f"def __init__({parameters}):\n  " + "\n  ".join(body or ["pass"]), known)
    found: Callable[..., None] = known["__init__"]
    found.__qualname__ = f"{cls.__qualname__}.__init__"
    return found


def _not_assigned(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _not_deleted(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _names(kind: type) -> list[str]:
    """The fields that are compared."""
    return [field.name for field in dataclasses.fields(kind) if field.compare]


class _Compared(dict[type, Callable[[Any], Any]]):
    """What reads the fields of a class that are compared, as a tuple; a single one twice, since that makes a tuple."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        names = _names(kind)
        names = names * 2 if len(names) == 1 else names
        found = self[kind] = operator.attrgetter(*names) if names else lambda value: ()
        return found


class _Hashed(dict[type, Callable[[Any], Any]]):
    """The same as the standard library hashes them: a single one once."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        names = _names(kind)
        found = self[kind] = _COMPARED[kind] if len(names) != 1 else lambda value: (getattr(value, names[0]),)
        return found


_COMPARED = _Compared()
_HASHED = _Hashed()


def _equal(self: Any, other: object) -> Any:
    if self is other:
        return True
    kind = type(self)
    if type(other) is not kind:
        return NotImplemented
    values = _COMPARED[kind]
    return values(self) == values(other)


def _hash(self: Any) -> int:
    return hash(_HASHED[type(self)](self))


@reprlib.recursive_repr()
def _representation(self: Any) -> str:
    shown = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"
