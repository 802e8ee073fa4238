"""A walk over the forward that takes what is alive at one statement as split along axes that are to be found out.

Every axis of every tensor that is alive there is given a stream of its own.  Where two axes meet, row by row, their
streams become one; so the axes that have to be split together with the tokens of the model are those of one class.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Any

from omniport.analyse import library
from omniport.analyse.expressions import Env
from omniport.analyse.facts import Decisions, Facts, Site
from omniport.analyse.ops import tensors_in
from omniport.analyse.poly import Poly
from omniport.analyse.sequence.attending import Attending
from omniport.analyse.sequence.checkpoint import Checkpoint
from omniport.analyse.sequence.recalled import Recalled, RecalledCalls
from omniport.analyse.sequence.records import MANY, BlockedError, Form, MaskUse, Record, Seed, Trace
from omniport.analyse.sequence.rules import BATCH
from omniport.analyse.shapes import Const, Dim, Fields, Leaf, Num, Seq, Tensor
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree

_NAMES = re.compile(r"[^\W\d]\w*|@")
_SUMS = {"sum", "max", "min", "or"}  # of config values
#: Attributes of a walk that say what is assumed from the boundary on.
_ASSUMED = frozenset(
    {"start", "forms", "carriers", "primary", "last", "batch", "origin", "checkpoints", "until", "search", "recalled"}
)
#: And those that say what comes into the forward, which the constructors do not know.
_GIVEN = _ASSUMED | {"given", "flags", "settings", "built"}


class SequenceWalk(RecalledCalls):
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
        origin: Checkpoint | None = None,
        kinds: dict[str, int] | None = None,
        flags: dict[str, bool] | None = None,
        settings: dict[str, str] | None = None,
        until: int | None = None,
        built: dict[frozenset[tuple[str, int]], Checkpoint] | None = None,
        recalled: dict[Any, Recalled] | None = None,
    ) -> None:
        super().__init__(normal, Decisions(whole=dict(decided.whole)), source)
        self.start, self.forms, self.carriers, self.batch = start, forms or {}, carriers, batch
        self.primary, self.last = primary, last
        self.given, self.kinds, self.flags = ranks or {}, kinds or {}, flags or {}
        self.settings, self.closed, self.weighed = settings or {}, {}, set()
        self.search: Attending | None = None  # where nothing is assumed: for statements that attend
        self.until = until  # the statement in front of which the walk ends
        self.built = built  # by kinds: the model as its constructors leave it
        self.recalled = recalled
        self.tied = self.written = self.weighing = self.changing = self.chosen = False
        self.record = Record()
        self.steps = self.own = self.operations = 0
        self.doubt: str | None = None  # the seed of unknown rank among what is being combined
        self.rotating, self.opened = False, set()
        self.tested: set[int] = set()  # serials of tensors whose rank a condition asks for
        self.unclear: dict[int, str] = {}  # by serial of a tensor of unknown rank: the seed that makes it unknown
        self.settled: set[str] = set()
        self.asked: set[str] = set()
        self.makeup: dict[str, tuple[str, ...]] = {}  # a stream that is several others, one behind the other
        self.alive: Env = {}  # the values in front of the boundary
        self.numbers = {}
        self.later = []
        self.widths = frozenset[str]()
        self.sizes: dict[Poly, tuple[str, ...]] = {}  # sizes before the boundary, and the axes that have them
        self.sized_at: dict[int, int] = {}  # by line: how often a tensor of unknown sizes was made there
        self.origin = origin
        self.checkpoints: dict[int, Checkpoint] = {}  # by statement

    def build(self) -> None:
        """Construct the root, unless a walk over the same model has done so."""
        key = frozenset(self.kinds.items())
        known = self.built.get(key) if self.built is not None and not self.forms else None
        if known is not None and known.env.keys().isdisjoint(self.settings):
            known.restore(self)
            return
        super().build()
        if self.built is not None and known is None and not self.forms and not self.settings.keys() & self.weighed:
            self.built[key] = Checkpoint(0, self, dict.fromkeys(self.weighed), _GIVEN)

    def run(self) -> Facts:
        """The whole forward, or what comes behind ``origin``.

        Raises:
            AllAttending: nothing is assumed, and all statements that attend are seen to do so.
        """
        if self.origin is None:
            return super().run()
        env = self.origin.restore(self)
        self.statements(self.method_of(self.root.cls, "forward").body, env, self.origin.at)
        self.joined(self.returns.pop())
        return self.facts

    def block(self, body: list[ast.stmt], env: Env) -> bool:
        if len(self.returns) != 1 or body is not self.method_of(self.root.cls, "forward").body:
            return super().block(body, env)
        self.widths = frozenset(self.root.bindings)
        return self.statements(body, env, 0)

    def statements(self, body: list[ast.stmt], env: Env, first: int) -> bool:
        """The statements of the forward from ``first`` on."""
        self.search = Attending(self, env) if self.start is None else None
        for at, node in enumerate(body[first:], first):
            if self.origin is None and (self.search.uses(node) if self.search is not None else at == self.start):
                self.checkpoints[at] = Checkpoint(at, self, env, _ASSUMED)
            if at == self.until:
                self.alive = dict(env)
                return True
            if at == self.start:
                self.seed(env)
            facts = self.facts
            self.record.traces.append(Trace(node.lineno, dict(env), len(facts.barriers), len(facts.attentions)))
            self.line = node.lineno
            if self.step(body, at, env):
                return True
        return False

    def follow(self, node: ast.stmt, env: Env) -> bool:
        self.steps += 1
        if not self.active and self.instance.cls not in self.imported:
            self.own = node.lineno
        return super().follow(node, env)

    def barrier(self, streams: Iterable[str], reason: str) -> None:
        names = tuple(streams)
        if not names:
            return
        line, self.line = self.line, self.own  # code that is only imported has no lines of the normal form
        super().barrier(names, reason)
        self.line = line
        if len(self.record.traces) <= self.last + 1 and self.blocks(names):
            raise BlockedError(reason, self.own, self.steps, self.operations)
        self.record.steps += [self.steps] * (len(self.facts.barriers) - len(self.record.steps))

    def blocks(self, streams: tuple[str, ...]) -> bool:
        """Whether ``streams`` are among the tokens of the result."""
        met = set(self.made_of(streams))
        return any(
            met & set(self.made_of(dim.streams))
            for seed in self.record.seeds
            if seed.variable in self.primary
            for dim in (seed.tensor.dims or ())[:2]
        )

    def seed(self, env: Env) -> None:
        """Give every tensor in ``env`` streams of its own, and name the numbers that are lengths of their axes."""
        self.alive = dict(env)
        self.numbers = self.numbers_in(env)
        self.cut_axes(env)
        for name, value in list(env.items()):
            if name != "self":
                env[name] = self.seeded(value, name, (), id(value) in self.optional)
        for name, value in list(env.items()):
            if isinstance(value, Num) and (axes := self.lengths(value.poly)):
                self.record.counts[name] = axes
                total = Poly.of(0)
                for axis in axes:
                    total = total + Poly.of(f"len({axis})")
                env[name] = Num(total)
                self.numbers.pop(name, None)

    def lengths(self, size: Poly) -> tuple[str, ...]:
        """The axes of seeds whose lengths make up a number; none if it counts anything else."""
        if axes := self.sizes.get(size):
            # of several values of that length it is the one that the blocks change that is split
            own = (axis for axis in axes if axis.rpartition("__")[0] in self.carriers)
            return (next(own, axes[0]),) if len(axes) == 1 or "size " not in str(size) else ()
        found: list[str] = []
        for monomial, factor in size.terms:
            axes = self.sizes.get(Poly.of(monomial[0])) if len(monomial) == 1 and factor == 1 else None
            if not axes or (len(axes) > 1 and "size " in monomial[0]):
                return ()
            found.append(axes[0])
        return tuple(found)

    def seeded(self, value: Any, name: str, place: tuple[int | str, ...], optional: bool) -> Any:
        if isinstance(value, Seq):
            items = [
                self.seeded(item, name, (*place, MANY if value.many else i), optional or id(item) in self.optional)
                for i, item in enumerate(value.items)
            ]
            return self.maybe(Seq(items, value.many), optional)
        if isinstance(value, Fields):
            return Fields({key: self.seeded(item, name, (*place, key), optional) for key, item in value.items.items()})
        if not isinstance(value, Tensor):
            return value
        label = "_".join([name, *map(str, place)])
        form = self.forms.get(label)
        if form is True:
            self.record.required.append(self.named(value, name))
            optional, form = False, 0
        elif optional and not place and label in self.forms and form is None:
            self.record.absent.append(self.given_as(name, value))
            return Const(None)
        if value.dims is None and isinstance(form, tuple):
            pair = Seq([Tensor(None, origins=value.origins) for _ in form])
            self.forms |= {f"{label}_{at}": rank for at, rank in enumerate(form)}
            return self.seeded(pair, name, place, optional)
        dims = (
            value.dims
            if value.dims is not None or label not in self.forms or not isinstance(form, int)
            else self.of_rank(value, form).dims
        )
        if value.dims is None and label in self.carriers:
            dims = self.changed(label)
            found = Seed(name, place, Tensor(dims, origins=value.origins), optional, changed=True)
            self.record.seeds.append(found)
            return self.maybe(found.tensor, optional)
        if dims is None:
            fresh = Tensor(None)
        elif value.dims is None and len(dims) == 2 and not self.of_tokens(value):
            fresh = Tensor((Dim(BATCH), Dim(Poly.of(f"width of {label}"))))
        elif value.dims is None and len(dims) == 2 and name.endswith("mask"):
            fresh = Tensor((Dim(BATCH), self.seeded_axis(dims, 1, label)))  # of two axes: one row for each sample
        else:
            fresh = Tensor(tuple(self.seeded_axis(dims, at, label) for at in range(len(dims))))
        # a vector of each sample, unless it comes with more axes, or with axes that are not known
        fresh.origins = value.origins if len(dims or "???") < 3 or self.of_tokens(value) else frozenset({"?"})
        last = len(dims or ()) - 1
        open_ = () if place else (at for at, dim in enumerate(dims or ()) if 0 < at < last and "size " in str(dim.size))
        guessed = value.dims is None and dims is not None
        found = Seed(name, place, fresh, optional, frozenset(open_), guessed, self.of_tokens(value))
        if dims is None:
            self.unclear[fresh.serial] = label
        self.record.seeds.append(found)
        return self.maybe(fresh, optional)

    def named(self, value: Any, name: str) -> str:
        """A variable that is ``value`` itself, where ``name`` is a tuple that holds it."""
        return next((other for other, found in self.alive.items() if found is value), name)

    def given_as(self, name: str, value: Tensor) -> str:
        """The parameter that a value is computed from alone, if that may be absent, too: without it there is none."""
        source = next(iter(value.origins or ())) if len(value.origins or ()) == 1 else ""
        given = self.alive.get(source) if source in self.facts.inputs else None
        same = isinstance(given, Tensor) and id(given) in self.optional and given.origins == value.origins
        return source if same else name

    def seeded_axis(self, dims: tuple[Dim, ...], at: int, label: str) -> Dim:
        if (merged := self.merged_axis(dims, at, label)) is not None:
            return merged
        tokens = label in self.carriers and at == 1 and len(dims) == 3 and dims[at].size.constant is None
        if self.width(dims[at].size) and not tokens:
            return dims[at]
        if (len(dims) > 2 and at == self.batch) or dims[at].size == BATCH:
            return Dim(BATCH)
        if dims[at].size.atoms:
            self.sizes[dims[at].size] = (*self.sizes.get(dims[at].size, ()), f"{label}__{at}")
        return self.axis_of(f"{label}__{at}")

    def of_tokens(self, x: Tensor) -> bool:
        """Tables that a constructor computes may have rows for tokens, and so may vectors that come with more axes."""
        return (
            super().of_tokens(x)
            or x.origins == frozenset({"self"})
            or any(name in self.given for name in x.origins or ())
        )

    def width(self, size: Poly) -> bool:
        """Whether a size is made of the configuration alone, i.e. no number of tokens."""
        names = {name for atom in size.atoms for name in _NAMES.findall(atom.removeprefix("1/"))}
        made = all(atom.startswith(("rest@", "width of ")) for atom in size.atoms)
        return bool(size.atoms) and made or names - _SUMS <= self.widths

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

    def combine(self, values: Iterable[Any]) -> Tensor:
        """What is computed from one number or vector of each sample alone has no row for each token."""
        found = tensors_in(values)
        rows = [x for x in found if x.dims is not None or self.of_tokens(x)]
        found = rows if any(len(x.dims or ()) > 2 for x in rows) else found
        self.doubt = next((self.unclear[x.serial] for x in found if x.dims is None and x.serial in self.unclear), None)
        result = super().combine(found)
        for x in found if result.dims is None else []:
            self.same_doubt(x, result)
        return result

    def combine_open(self, a: Tensor, b: Tensor) -> Tensor:
        label = self.missed((a, b))
        if label is None and self.doubt is not None:
            label = self.doubt
            self.record.unranked.append((label, ""))
        return self.doubted(super().combine_open(a, b), label)

    def now(self, value: Any) -> Any:
        """A list as it is now: what is appended to it changes it, and the next round may take it out again."""
        return Seq(list(value.items), value.many) if isinstance(value, Seq) and not self.building else value

    def join(self, a: Any, b: Any) -> Any:
        """Tokens that may be absent, and others that stand for them then: which of them it is has to be known."""
        for one, other in ((a, b), (b, a)) if a is not b else ():
            if not (id(one) in self.optional and isinstance(one, Tensor) and isinstance(other, Tensor)):
                continue
            mine, others = (set(self.made_of(tuple(x.streams))) for x in (one, other))
            if mine and others and not mine & others:
                self.record.unranked += [(name.rpartition("__")[0], "given") for name in sorted(one.streams)]
                self.barrier(mine | others, "tokens that may be absent are replaced by others")
        return super().join(a, b)

    def join_open(self, a: Tensor, b: Tensor) -> Tensor:
        """A value that is brought to a rank unless it has it: both have that rank."""
        for known, other in ((a, b), (b, a)):
            if known.dims is not None and other.dims is None and other.serial in self.tested:
                return self.combine([known, self.sizeless(len(known.dims))])
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

    def index(self, x: Tensor, items: list[Any]) -> Tensor:
        result = super().index(x, items)
        self.same_doubt(x, result)
        return result

    def call_leaf(self, leaf: Leaf, args: list[Any], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else next(iter(kwargs.values()), None)
        result = super().call_leaf(leaf, args, kwargs)
        self.same_doubt(x, result)
        rows = x.known[0].size if isinstance(x, Tensor) and len(x.dims or ()) == 1 else BATCH
        if isinstance(result, Tensor) and len(result.dims or ()) == 2 and result.known[0].size == BATCH != rows:
            return result.with_dim(0, Dim(rows))  # an embedder of numbers, of which there are several for each sample
        if leaf.cls.rpartition(".")[2] in library.RANKS and isinstance(x, Tensor) and x.dims and result.dims:
            first: Tensor = result
            return first.with_dim(0, x.dims[0])
        return result

    def attention(self, site: Site, tensors: list[Any], options: dict[str, Any], *, heads_first: bool) -> Tensor:
        """Attention whose mask, if any, is over all keys: on each rank the layer sees the queries and keys of all."""
        mask = options.get("attn_mask", Const(None))
        before = len(self.facts.attentions)
        result = super().attention(site, tensors, {**options, "attn_mask": Const(None)}, heads_first=heads_first)
        if self.search is not None and len(self.facts.attentions) > before:
            self.search.attended(len(self.record.traces) - 1)
        if len(self.facts.attentions) > before and isinstance(mask, Tensor):
            call = self.facts.attentions[-1]
            own = self.made_of(mask.known[-1].streams) if mask.known else ()
            if len(own) > 1:  # made of several values, each with an entry for each of its tokens
                self.in_step(own, call.key.known[1].streams)
            self.record.masks.append(MaskUse(call, mask, self.line))
        return result
