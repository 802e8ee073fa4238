"""The abstract values that the dataflow follows through a normal form.

A tensor is a list of dimensions.  A dimension has a size, and says two things about the parallel run: in which parts it
is sharded over the tensor-parallel ranks, and which token streams it is made of.  Both are facts of the same program,
found in the same walk.
"""

from __future__ import annotations

import itertools
from dataclasses import field, replace
from typing import Any

from omniport.analyse.poly import ONE, Poly
from omniport.records import dataclass

Key = tuple[str, str]  # class name, attribute path of a linear: ("FluxAttention", "to_out.0")


_NONE = frozenset[Key]()


@dataclass(frozen=True)
class Part:
    """A run of features that is sharded by itself: its size over all ranks, and the linears that made it so."""

    size: Poly
    sources: frozenset[Key]


@dataclass(frozen=True)
class Dim:
    """One dimension: ``parts`` are empty unless it is sharded, ``streams`` are empty unless it is a token axis."""

    size: Poly
    parts: tuple[Part, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def sources(self) -> frozenset[Key]:
        return frozenset(key for part in self.parts for key in part.sources) if self.parts else _NONE

    @property
    def one(self) -> bool:
        return not self.parts and not self.streams and self.size == ONE


_serial = itertools.count()


@dataclass(eq=False)
class Tensor:
    """A tensor of known rank, or of unknown rank (``dims`` None) of which the last dimensions, ``tail``, may be known.

    Identity tells whether two reads are one value.  ``origins`` are the root's parameters that it is computed from.
    """

    dims: tuple[Dim, ...] | None
    tail: tuple[Dim, ...] = ()
    serial: int = field(default_factory=lambda: next(_serial))
    origins: frozenset[str] | None = None

    @property
    def known(self) -> tuple[Dim, ...]:
        """The dimensions that are known, counted from the last."""
        return self.tail if self.dims is None else self.dims

    @property
    def sources(self) -> frozenset[Key]:
        return _NONE.union(*(dim.sources for dim in self.known if dim.parts))

    @property
    def streams(self) -> frozenset[str]:
        return frozenset(name for dim in self.known for name in dim.streams)

    def alike(self, known: tuple[Dim, ...]) -> Tensor:
        """A new tensor with the known dimensions ``known``, of unknown rank if this one is."""
        return Tensor(None, known) if self.dims is None else Tensor(known)

    def with_dim(self, index: int, dim: Dim) -> Tensor:
        dims = list(self.known)
        dims[index] = dim
        return self.alike(tuple(dims))


@dataclass(frozen=True)
class Num:
    """A number that is a polynomial over constructor parameters and stream lengths."""

    poly: Poly


@dataclass(frozen=True)
class Const:
    """None, a bool or a string."""

    value: Any


@dataclass(frozen=True)
class Opaque:
    """A value that carries no tensor: a dtype, a device, a flag, a library object."""

    text: str


@dataclass(frozen=True)
class Shape(Opaque):
    """The shape of a tensor of unknown rank."""

    tensor: Tensor = field(compare=False)


@dataclass(eq=False)
class Seq:
    """A tuple or list; ``many`` marks an unknown number of items that look like ``items[0]``."""

    items: list[Any]
    many: bool = False


@dataclass(eq=False)
class Fields:
    """A dict with keys that are written out."""

    items: dict[str, Any]


@dataclass(frozen=True)
class Function:
    """A name that is not defined in the normal form: ``torch.cat``, ``apply_rotary_emb``, ``nn.Linear``."""

    name: str


@dataclass(eq=False)
class Instance:
    """A module of a class of the normal form, as its constructor left it."""

    cls: str
    bindings: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    locals: dict[str, Any] = field(default_factory=dict, repr=False)  # names of ``__init__`` when it ended
    owner: Instance | None = field(default=None, repr=False)  # the module that holds it, None at the root
    path: str = ""  # attribute path within the owner; "*" stands for the index of a repeated block

    @property
    def dotted(self) -> str:
        above = self.owner.dotted if self.owner else ""
        return ".".join(part for part in (above, self.path) if part)


@dataclass(eq=False)
class Leaf:
    """A module of a class outside the normal form (``nn.Linear``, a library embedder) with its arguments."""

    cls: str
    args: list[Any]
    kwargs: dict[str, Any]
    line: int
    owner: Instance | None = field(default=None, repr=False)
    path: str = ""

    def argument(self, index: int, name: str) -> Any:
        return self.kwargs[name] if name in self.kwargs else self.args[index] if index < len(self.args) else None

    @property
    def key(self) -> Key:
        return (self.owner.cls if self.owner else "", self.path)


@dataclass(eq=False)
class Modules:
    """A ``ModuleList`` or ``Sequential``; ``many`` marks a comprehension of alike blocks."""

    items: list[Any]
    many: bool = False
    owner: Instance | None = field(default=None, repr=False)
    path: str = ""


@dataclass(frozen=True)
class Partial:
    """``functools.partial`` of an imported function."""

    function: Function
    kwargs: tuple[tuple[str, Any], ...]


@dataclass(eq=False)
class Closure:
    """A function defined within a forward, and the names it sees."""

    function: Any  # ast.FunctionDef
    env: dict[str, Any]


@dataclass(eq=False)
class Either:
    """One of several modules, chosen by a configuration value: each of them is followed."""

    items: list[Any]


@dataclass(frozen=True)
class Method:
    """A method read off a value: ``x.unflatten``, ``self.gelu``."""

    base: Any
    name: str


def adopt(value: Any, owner: Instance, path: str) -> None:
    """Record where a module hangs; the first place wins, as it does for parameter names."""
    if isinstance(value, Either):
        for item in value.items:
            adopt(item, owner, path)
    if isinstance(value, Instance | Leaf | Modules) and value.owner is None:
        value.owner, value.path = owner, path
        if isinstance(value, Modules):
            for index, item in enumerate(value.items):
                adopt(item, owner, f"{path}.{'*' if value.many else index}")


def modules_in(value: Any) -> list[Instance | Leaf]:
    """All modules of a value, those of its lists and attributes included."""
    if isinstance(value, Leaf):
        return [value]
    if isinstance(value, Instance):
        return [value, *(found for item in value.attributes.values() for found in modules_in(item))]
    if isinstance(value, Modules | Either | Seq):
        return [found for item in value.items for found in modules_in(item)]
    return []


def scaled(dim: Dim, factor: Poly, *, divide: bool = False) -> Dim | None:
    """``dim`` with size and parts multiplied (or exactly divided) by ``factor``; None where it does not divide."""

    def scale(size: Poly) -> Poly | None:
        return size.divide(factor) if divide else size * factor

    size, parts = scale(dim.size), [scale(part.size) for part in dim.parts]
    if size is None or any(part is None for part in parts):
        return None
    pairs = zip(dim.parts, parts, strict=True)
    return Dim(size, tuple(replace(old, size=new) for old, new in pairs if new is not None))


def same(a: Any, b: Any) -> bool:
    """Whether two abstract values say the same."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dims == b.dims and a.tail == b.tail
    if isinstance(a, Seq) and isinstance(b, Seq):
        pairs = zip(a.items, b.items, strict=False)
        return a.many == b.many and len(a.items) == len(b.items) and all(same(x, y) for x, y in pairs)
    if isinstance(a, Fields) and isinstance(b, Fields):
        return a.items.keys() == b.items.keys() and all(same(a.items[key], b.items[key]) for key in a.items)
    return a is b or (isinstance(a, Num | Const | Opaque | Function | Method) and a == b)
