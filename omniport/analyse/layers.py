"""Transfer rules of layers: linears, norms, attention and rotary embedding."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

from omniport.analyse import library
from omniport.analyse.facts import AttentionFact, Demand, LinearFact, NormFact, Site
from omniport.analyse.ops import TensorOps, tensors_in
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import Const, Dim, Key, Leaf, Num, Opaque, Part, Tensor

_RANKS = 8  # a width that no parameter sets is sharded if that many ranks can share it


class LayerOps(TensorOps):
    """The rules."""

    def linear(self, leaf: Leaf, x: Any) -> Tensor:
        features, width = leaf.argument(0, "in_features"), leaf.argument(1, "out_features")
        if isinstance(width, Opaque):
            width = Num(Poly.of(width.text))
        if not isinstance(x, Tensor) or not isinstance(width, Num):
            return self.unknown((x,), "a linear layer of unknown size")
        features = features if isinstance(features, Num) else Num(Poly.of(f"{leaf.path} input"))
        key = leaf.key
        if key[0] in self.imported:
            self.demand((x,), f"{key[0]} is not part of the port and takes whole tensors")
            return Tensor(None, (Dim(width.poly),)) if x.dims is None else Tensor((*x.dims[:-1], Dim(width.poly)))
        fact = self.facts.linears.setdefault(key, LinearFact(leaf.line, width.poly, features.poly))
        fact.calls += 1
        fact.lone = "*" in leaf.owner.dotted.split(".") and key[0] not in self.attending if leaf.owner else False
        fixed = width.poly.constant
        if key not in self.decisions.whole and fixed is not None and fixed % _RANKS:
            self.settle(key, f"its width is always {fixed}", replicate=True)
        if key not in self.decisions.whole and (reason := self.unwritten(leaf)):
            self.settle(key, reason, replicate=True)
        fact.inputs.append(x.serial)
        fact.lines.append(self.line)
        if x.dims is None and key[0] in self.attending:
            # The attention that its result reaches has four dimensions, so this one has three.
            last = x.known[-1:] or (Dim(features.poly),)
            x = self.assumed.setdefault(x.serial, Tensor((*(self.sizeless(3).dims or ())[:2], *last)))
        known = x.known or (Dim(features.poly),)
        self.demand(known[:-1], "a linear layer takes rows of full width")
        if x.dims is None:
            fact.token_sized |= self.of_tokens(x)
        else:
            fact.token_sized |= any(not dim.one for dim in x.dims[1:-1]) or bool(x.dims[0].streams)
            fact.token_sized |= library.ROWS in (x.origins or ())
        if key[0] == self.root.cls and fact.token_sized and key not in self.decisions.whole:
            self.settle(key, "it stands at the border of the model, where tokens are split")
        parts = known[-1].parts
        rows = tuple(part.size for part in parts)
        if len(fact.inputs) > 1 and fact.rows != rows and not len(fact.rows) == len(rows) == 1:
            self.demand((x,), f"{leaf.path} is also called on an input that is sharded otherwise")
            raise Demand(fact.row_sources, f"{leaf.path} is also called on a whole input", self.line)
        fact.rows, fact.row_sources = rows, known[-1].sources
        out = Dim(width.poly)
        if not rows and key not in self.decisions.whole:
            sizes = self.decisions.parts.get(key, (width.poly,))
            if len(set(sizes)) == 1 and len(sizes) > 1:  # equal parts, in each instance of its own width
                sizes = (width.poly.divide(Poly.of(len(sizes))) or sizes[0],) * len(sizes)
            out = Dim(width.poly, tuple(Part(size, frozenset({key})) for size in sizes))
        elif rows and key in self.decisions.whole:
            self.demand((x,), f"{leaf.path} stays whole")
        result: Tensor = x.alike((*known[:-1], out))
        return result

    def settle(self, key: Key, reason: str, *, replicate: bool = False) -> None:
        """The linear that is being called cannot be a column.  At its first call nothing was concluded from its being
        one, unless its class counts the heads of a rank: the walk goes on as the next one would come here."""
        demand = Demand(frozenset({key}), reason, self.line, replicate=replicate)
        if self.facts.linears[key].calls > 1 or any(cls == key[0] for cls, _ in self.decisions.local):
            raise demand
        self.decisions.take_back(key, demand, self.facts)

    def unwritten(self, leaf: Leaf) -> str:
        """Why no parallel layer can be written for a linear, "" if it can."""
        extra = leaf.kwargs.keys() - {"in_features", "out_features", "bias"}
        if extra or len(leaf.args) > 3:
            return f"it is made with {', '.join(sorted(extra)) or 'further arguments'}"
        return "" if leaf.key in self.placed else "it is made where the rewrite does not look"

    def norm(self, x: Any, leaf: Leaf) -> Tensor:
        """A norm over the last dimension; one across the heads of the projection before it is shared by the ranks."""
        what, before = leaf.path, self.facts.norms.get(leaf.key)
        if not isinstance(x, Tensor):
            return self.unknown((x,), what)
        if len(x.dims or ()) == 3 and self.across_heads(leaf, x.known[-1]):
            kind = library.WIDE_NORMS[leaf.cls.rpartition(".")[2]]
            sources = x.known[-1].sources | (before.sources if before else frozenset())
            self.facts.norms[leaf.key] = NormFact(kind, sources, leaf.line)
            return x.alike(x.known)
        if before is not None:
            raise Demand(before.sources, f"{what} is also called on a whole input", self.line)
        self.demand(x.known[-1:], f"{what} normalises over the full width")
        self.barrier((s for dim in x.known[-1:] for s in dim.streams), f"{what} normalises over the tokens")
        return x.alike(x.known)

    def across_heads(self, leaf: Leaf, dim: Dim) -> bool:
        """Whether a norm runs over all that a projection of its own class computes, heads by heads on the ranks."""
        size = leaf.argument(0, "dim") or leaf.argument(0, "normalized_shape")
        own = {cls for cls, _ in dim.sources} == {leaf.key[0]} != {self.root.cls}
        fits = leaf.cls.rpartition(".")[2] in library.WIDE_NORMS and leaf.key in self.placed and len(leaf.args) <= 3
        return own and fits and len(dim.parts) == 1 and isinstance(size, Num) and self.exact(size.poly, dim.size)

    def attention(self, site: Site, tensors: list[Any], options: dict[str, Any], *, heads_first: bool) -> Tensor:
        """Attention on ``[B, S, H, D]``, or on ``[B, H, S, D]`` if ``heads_first``; the result has that order, too."""
        order = (0, 2, 1, 3) if heads_first else (0, 1, 2, 3)
        mask = options.get("attn_mask", Const(None))
        turned: list[Tensor] = []
        four = any(isinstance(x, Tensor) and len(x.dims or ()) == 4 for x in tensors)
        for x in tensors:
            if isinstance(x, Tensor) and x.dims is None and (four or not heads_first) and len(x.tail) <= 4:
                x = self.of_rank(x, 4)  # nothing else would be taken
            if not isinstance(x, Tensor) or x.dims is None or len(x.dims) != 4:
                self.facts.lost.setdefault(site, self.line)
                return self.unknown([*tensors, mask], "attention on tensors that are not known to be [B, S, H, D]", 4)
            turned.append(Tensor(tuple(x.dims[at] for at in order)))
        query, key, value = (x.dims or () for x in turned)
        self.demand((dim for x in (query, key, value) for dim in (*x[:2], x[3])), "attention needs whole heads")
        heads = [x[2] for x in (query, key, value)]
        if len({len(dim.parts) for dim in heads}) > 1 or len(heads[0].parts) > 1:
            self.demand(heads, "query, key and value are not sharded by heads alike")
        causal = options.get("is_causal", Const(False))
        if not (isinstance(causal, Const) and not causal.value):
            self.barrier((s for x in turned for s in x.streams), "attention is causal")
        if not (isinstance(mask, Const) and mask.value is None):
            self.demand(tensors_in([mask]), "an attention mask is whole")
            if isinstance(mask, Tensor) and len(mask.known) == 4 and mask.known[1].size == heads[0].size:
                self.demand(heads, "the attention mask differs from head to head")
            self.barrier((s for x in (*turned, *tensors_in([mask])) for s in x.streams), "attention has a mask")
        self.facts.attentions.append(
            AttentionFact(self.instance, self.line, site, turned[0], turned[1], turned[2], options)
        )
        return Tensor(tuple((*query[:3], value[3])[at] for at in order))

    def rotary(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Tensor:
        at, table_at, axis_name, axis = library.ROTARY[name]
        x, tables = args[at], tensors_in((args[table_at],)) if len(args) > table_at else []
        given = kwargs.get(axis_name)
        definition = self.bring(name)
        if isinstance(definition, ast.FunctionDef):
            args_of = definition.args
            defaults = dict(zip([a.arg for a in args_of.args][::-1], args_of.defaults[::-1], strict=False))
            default = defaults.get(axis_name)
            axis = default.value if isinstance(default, ast.Constant) and isinstance(default.value, int) else axis
        if isinstance(given, Num) and given.poly.constant is not None:
            axis = int(given.poly.constant)
        if not isinstance(x, Tensor) or x.dims is None:
            return self.unknown((*args, *kwargs.values()), name)
        if not tables:
            self.barrier(x.streams, "the rows of the rotary table are not known to belong to the tokens")
        self.demand(x.dims[-1:], "rotary embedding needs whole heads")
        for table in tables:
            self.demand((table,), "a rotary table is whole")
            if table.dims is None:
                self.barrier(x.streams, "the rows of the rotary table are not known to belong to the tokens")
            elif x.dims[axis].streams or table.dims[0].streams:
                self.meet(replace(x.dims[axis], parts=()), table.dims[0])
        return Tensor(x.dims)
