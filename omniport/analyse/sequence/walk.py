"""A walk over the forward that takes what is alive at one statement as split along axes that are to be found out.

Every axis of every tensor that is alive there is given a stream of its own.  Where two axes meet, row by row, their
streams become one; so the axes that have to be split together with the tokens of the model are those of one class.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from omniport.analyse import library
from omniport.analyse.expressions import Env
from omniport.analyse.facts import AttentionFact, Decisions, Site
from omniport.analyse.ops import tensors_in
from omniport.analyse.poly import Poly
from omniport.analyse.sequence.rules import BATCH, TokenRules
from omniport.analyse.shapes import Const, Dim, Leaf, Opaque, Seq, Tensor
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree

#: What a value of unknown rank may be: a tensor of that rank, a tuple of tensors, absent (an
#: optional argument), or whether an attribute is set.
Form = int | tuple[int, ...] | bool | None


class BlockedError(Exception):
    """Something is in the way of the result's tokens before the last attention call: the rest need not be walked."""

    def __init__(self, reason: str, line: int, steps: int) -> None:
        super().__init__(reason)
        self.reason, self.line, self.steps = reason, line, steps


MANY = -1  # the place of each item of a list of unknown length


@dataclass
class Trace:
    """What one top-level statement of the forward did: ends of the records when it began, and the values then alive."""

    line: int
    env: Env
    barriers: int
    attentions: int


@dataclass
class Seed:
    """A tensor that is alive at the boundary: the variable, its place within a tuple, and the name of each axis."""

    variable: str
    place: tuple[int, ...]
    tensor: Tensor
    optional: bool
    open: frozenset[int] = frozenset()  # axes that may have one row for all tokens
    guessed: bool = False  # its rank is one that nothing speaks against
    tokens: bool = False  # it may hold something for each token

    @property
    def label(self) -> str:
        return "_".join([self.variable, *map(str, self.place)])


@dataclass(frozen=True)
class MaskUse:
    """A mask of an attention call, and where in the port that call is."""

    call: AttentionFact
    mask: Tensor
    line: int


@dataclass
class Record:
    traces: list[Trace] = field(default_factory=list)
    seeds: list[Seed] = field(default_factory=list)
    masks: list[MaskUse] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)  # barrier by barrier: how many statements were walked before
    choices: dict[str, set[int]] = field(default_factory=dict)  # conditions on attributes of modules, and their lines
    absent: list[str] = field(default_factory=list)  # optional values that the region is planned without
    unranked: list[tuple[str, str]] = field(default_factory=list)  # seeds of unknown rank that were used, and as what


class SequenceWalk(TokenRules):
    """Walks a normal form whose widths are all whole; ``start`` is the statement of the forward where streams begin."""

    def __init__(
        self,
        normal: NormalForm,
        source: SourceTree | None,
        decided: Decisions,
        start: int | None,
        forms: dict[str, Form] | None = None,
        carriers: frozenset[str] = frozenset(),
        primary: frozenset[str] = frozenset(),
        last: int = 0,
        batch: int = 0,
        ranks: dict[str, int] | None = None,
    ) -> None:
        super().__init__(normal, Decisions(whole=dict(decided.whole)), source)
        self.start, self.forms, self.carriers, self.batch = start, forms or {}, carriers, batch
        self.primary, self.last = primary, last
        self.given = ranks or {}
        self.record = Record()
        self.steps = self.own = 0
        self.unclear: dict[int, str] = {}  # by serial of a tensor of unknown rank: the seed that makes it unknown
        self.makeup: dict[str, tuple[str, ...]] = {}  # a stream that is several others, one behind the other
        self.widths = frozenset[str]()

    def block(self, body: list[ast.stmt], env: Env) -> bool:
        if len(self.returns) != 1 or body is not self.method_of(self.root.cls, "forward").body:
            return super().block(body, env)
        self.widths = frozenset(self.root.bindings)
        for at, node in enumerate(body):
            if at == self.start:
                self.seed(env)
            facts = self.facts
            self.record.traces.append(Trace(node.lineno, dict(env), len(facts.barriers), len(facts.attentions)))
            self.line = node.lineno
            if self.follow(node, env):
                return True
        return False

    def follow(self, node: ast.stmt, env: Env) -> bool:
        self.steps += 1
        if not self.active and self.instance.cls not in self.imported:
            self.own = node.lineno
        return super().follow(node, env)

    def barrier(self, streams: Iterable[str], reason: str) -> None:
        names = tuple(streams)
        line, self.line = self.line, self.own  # code that is only imported has no lines of the normal form
        super().barrier(names, reason)
        self.line = line
        if names and len(self.record.traces) <= self.last + 1 and self.blocks(names):
            raise BlockedError(reason, self.own, self.steps)
        self.record.steps += [self.steps] * (len(self.facts.barriers) - len(self.record.steps))

    def blocks(self, streams: tuple[str, ...]) -> bool:
        """Whether ``streams`` are among the tokens of the result."""
        met = set(self.made_of(streams))
        return any(
            met & set(self.made_of(dim.streams))
            for seed in self.record.seeds
            if seed.variable in self.primary
            for dim in (seed.tensor.dims or ())[1:2]
        )

    def branch(self, node: ast.If, env: Env) -> bool:
        """Conditions on a module's own attributes come out alike wherever the module asks again."""
        asked = _asked(node.test)
        if asked is None or self.truth(self.eval_or_give_up(node.test, env), node.test) is not None:
            return super().branch(node, env)
        attribute, set_ = asked
        key = f"if {self.instance.cls}.{attribute}"
        self.record.choices.setdefault(key, set()).add(node.lineno)
        given = self.forms.get(key)
        if isinstance(given, bool):
            return self.block(node.body if given == set_ else node.orelse, env)
        return super().branch(node, env)

    def assume(self, test: ast.expr, taken: Env, other: Env) -> None:
        """``x is not None``: on the other path it is None."""
        if not isinstance(test, ast.Compare) or not isinstance(test.left, ast.Name) or test.left.id not in taken:
            return
        if isinstance(test.ops[0], ast.Is | ast.IsNot) and getattr(test.comparators[0], "value", ...) is None:
            path = other if isinstance(test.ops[0], ast.IsNot) else taken
            path[test.left.id] = Const(None)

    def seed(self, env: Env) -> None:
        """Give every tensor in ``env`` streams of its own."""
        for name, value in list(env.items()):
            if name != "self":
                env[name] = self.seeded(value, name, (), id(value) in self.optional)

    def seeded(self, value: Any, name: str, place: tuple[int, ...], optional: bool) -> Any:
        if isinstance(value, Seq):
            items = [
                self.seeded(item, name, (*place, MANY if value.many else i), optional or id(item) in self.optional)
                for i, item in enumerate(value.items)
            ]
            return self.maybe(Seq(items, value.many), optional)
        if not isinstance(value, Tensor):
            return value
        label = "_".join([name, *map(str, place)])
        form = self.forms.get(label)
        if optional and not place and label in self.forms and form is None:
            self.record.absent.append(name)
            return Const(None)
        if value.dims is None and isinstance(form, tuple):
            pair = Seq([Tensor(None, origins=value.origins) for _ in form])
            self.forms |= {f"{label}_{at}": rank for at, rank in enumerate(form)}
            return self.seeded(pair, name, place, optional)
        dims = value.dims if value.dims is not None or not isinstance(form, int) else self.sizeless(form).dims
        if value.dims is None and label in self.carriers:
            dims = (Dim(BATCH), self.axis_of(f"{label}__1"), Dim(Poly.of(f"width of {label}")))
            found = Seed(name, place, Tensor(dims), optional)
            self.record.seeds.append(found)
            return self.maybe(found.tensor, optional)
        if dims is None:
            fresh = Tensor(None)
        else:
            fresh = Tensor(tuple(self.seeded_axis(dims, at, label) for at in range(len(dims))))
        last = len(dims or ()) - 1
        open_ = () if place else (at for at, dim in enumerate(dims or ()) if 0 < at < last and "size " in str(dim.size))
        guessed = value.dims is None and dims is not None
        found = Seed(name, place, fresh, optional, frozenset(open_), guessed, self.of_tokens(value))
        if dims is None:
            self.unclear[fresh.serial] = label
        self.record.seeds.append(found)
        return self.maybe(fresh, optional)

    def seeded_axis(self, dims: tuple[Dim, ...], at: int, label: str) -> Dim:
        if self.width(dims[at].size):
            return dims[at]
        if len(dims) > 2 and at == self.batch:
            return Dim(BATCH)
        return self.axis_of(f"{label}__{at}")

    def input(self, name: str, default: ast.expr | None, annotation: str) -> Any:
        """Inputs of three and more axes begin with the batch: their first sizes are one number."""
        if annotation.lower().startswith("list[int]"):
            return Opaque(name)
        value = super().input(name, default, annotation)
        if isinstance(value, Tensor) and name in self.given:
            more = (self.axis_of(f"{name}__{at}") for at in range(1, self.given[name]))
            return self.maybe(Tensor((Dim(BATCH), *more)), id(value) in self.optional)
        if isinstance(value, Tensor) and len(value.dims or ()) > 2:
            return self.maybe(value.with_dim(0, Dim(BATCH)), id(value) in self.optional)
        return value

    def axis_of(self, name: str) -> Dim:
        return Dim(Poly.of(f"len({name})"), (), (name,))

    def width(self, size: Poly) -> bool:
        """Whether a size is made of the configuration alone, i.e. no number of tokens."""
        return {atom.removeprefix("1/") for atom in size.atoms} <= self.widths

    def unknown(self, values: Iterable[Any], what: str, rank: int | None = None) -> Tensor:
        found = list(values)
        label = self.missed(found)
        result = super().unknown(found, what, rank)
        if result.dims is None and label is None and len(self.record.seeds) > 0:
            label = f"line {self.line}"  # what is made of whole tensors in a way that is not followed
            form = self.forms.get(label)
            if isinstance(form, int) and not isinstance(form, bool):
                return self.sizeless(form)
        if label is not None and result.dims is None:
            self.unclear[result.serial] = label
        return result

    def missed(self, values: Iterable[Any], kind: str = "") -> str | None:
        """Note the seed of unknown rank that one of ``values`` comes from: what it is would tell more."""
        for tensor in tensors_in(values):
            if tensor.dims is None and (label := self.unclear.get(tensor.serial)):
                self.record.unranked.append((label, kind))
                return label
        return None

    def combine_open(self, a: Tensor, b: Tensor) -> Tensor:
        label = self.missed((a, b))
        return self.doubted(super().combine_open(a, b), label)

    def join_open(self, a: Tensor, b: Tensor) -> Tensor:
        label = self.missed((a, b))
        return self.doubted(super().join_open(a, b), label)

    def doubted(self, x: Tensor, label: str | None) -> Tensor:
        if label is not None and x.dims is None:
            self.unclear[x.serial] = label
        return x

    def of_its_name(self, name: str, value: Any) -> Any:
        """What the search is to find out is not concluded from a name."""
        return value if isinstance(value, Tensor) and value.serial in self.unclear else super().of_its_name(name, value)

    def norm(self, x: Any, leaf: Leaf) -> Tensor:
        if isinstance(x, Tensor) and x.dims == ():
            return self.unknown((x,), leaf.path)
        result = super().norm(x, leaf)
        self.same_doubt(x, result)
        return result

    def same_doubt(self, x: Any, result: Any) -> None:
        """What is unknown of ``x`` is unknown of what is made of it."""
        if isinstance(x, Tensor) and (label := self.unclear.get(x.serial)):
            for tensor in tensors_in([result]):
                if tensor.dims is None:
                    self.unclear.setdefault(tensor.serial, label)

    def call_leaf(self, leaf: Leaf, args: list[Any], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else next(iter(kwargs.values()), None)
        result = super().call_leaf(leaf, args, kwargs)
        self.same_doubt(x, result)
        if leaf.cls.rpartition(".")[2] in library.RANKS and isinstance(x, Tensor) and x.dims and result.dims:
            return result.with_dim(0, x.dims[0])
        return result

    def attention(self, site: Site, tensors: list[Any], options: dict[str, Any], *, heads_first: bool) -> Tensor:
        """Attention whose mask, if any, is over all keys: on each rank the layer sees the queries and keys of all."""
        mask = options.get("attn_mask", Const(None))
        before = len(self.facts.attentions)
        result = super().attention(site, tensors, {**options, "attn_mask": Const(None)}, heads_first=heads_first)
        if len(self.facts.attentions) > before and isinstance(mask, Tensor):
            call = self.facts.attentions[-1]
            self.record.masks.append(MaskUse(call, mask, self.line))
        return result


def _asked(test: ast.expr) -> tuple[str, bool] | None:
    """The attribute of ``self`` that a condition asks for alone, and whether it holds where the attribute is set."""
    wanted = True
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, wanted = test.operand, False
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Is | ast.IsNot):
        if getattr(test.comparators[0], "value", ...) is not None:
            return None
        wanted = wanted == isinstance(test.ops[0], ast.IsNot)
        test = test.left
    own = isinstance(test, ast.Attribute) and isinstance(test.value, ast.Name) and test.value.id == "self"
    return (test.attr, wanted) if own and isinstance(test, ast.Attribute) else None
