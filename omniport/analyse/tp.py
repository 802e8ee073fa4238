"""Tensor parallelism: the role of every linear, from one rule and its exceptions.

Each linear starts as a column.  A sharded value that enters a linear makes it a row, with one all-reduce.  Where a
sharded value would have to be whole (a residual sum, a norm over the width, a result), the linears it comes from are
taken back: gathered if what they compute is one vector per sample, replicated if it is as long as the tokens.  Then the
walk starts over, until nothing is taken back any more.
"""

from __future__ import annotations

import ast

from omniport.analyse import library
from omniport.analyse.attention import Sizes, agreed, sizes_of
from omniport.analyse.divisors import Checked, divisors
from omniport.analyse.facts import AttentionFact, Decisions, Demand, Facts
from omniport.analyse.places import attention_sites, fusable
from omniport.analyse.poly import Poly
from omniport.analyse.provenance import same_tokens
from omniport.analyse.resume import Saved
from omniport.analyse.settle import walk
from omniport.analyse.shapes import Const, Key, Num
from omniport.analyse.spelling import fused_name, names
from omniport.errors import UnsupportedError
from omniport.plan.model import AttentionPlan, ConvPlan, Decision, LinearPlan, LinearRole, SlicePlan, WeightPlan, Why
from omniport.records import dataclass
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree


@dataclass(frozen=True)
class Sharding:
    """The result of the inference; ``facts`` are those of the last walk."""

    facts: Facts
    linears: tuple[LinearPlan, ...]
    attentions: tuple[AttentionPlan, ...]
    weights: tuple[WeightPlan, ...]
    decisions: tuple[Decision, ...]
    decided: Decisions  # that the last walk was made under
    slices: tuple[SlicePlan, ...]
    convs: tuple[ConvPlan, ...]


def infer(normal: NormalForm, source: SourceTree | None = None) -> Sharding:
    """Roles of all linears, the attention layers, the fused weights, and what the sizes must divide by."""
    decisions, saved = Decisions(), list[Saved]()
    while True:
        facts, decisions, imported = walk(normal, source, decisions, saved)
        planner = _Planner(normal, facts, decisions)
        try:
            attentions, kept = planner.attentions()
            made = (*divisors(planner.checked()), *planner.heads(), *planner.norms(), *kept, *planner.plain())
            plans = (planner.linears(), attentions, planner.weights(), made)
            return Sharding(facts, *plans, decisions, planner.slices(), planner.convs())
        except Demand as demand:
            fresh = demand.sources - decisions.whole.keys()
            if not fresh:
                raise planner.unsupported(demand.reason, demand.line) from demand
            for key in fresh:
                decisions.take_back(key, demand, facts)


class _Planner:
    def __init__(self, normal: NormalForm, facts: Facts, decisions: Decisions) -> None:
        self.normal, self.facts, self.decided = normal, facts, decisions
        self.module = normal.tree
        self.classes = {node.name: node for node in self.module.body if isinstance(node, ast.ClassDef)}
        self._layers: dict[tuple[int, ...], AttentionPlan | str] = {}  # by call, and calls of its site
        self.fused = self._fuse()

    def unsupported(self, construct: str, line: int) -> UnsupportedError:
        return UnsupportedError(construct, *self._place(line))

    def why(self, reason: str, line: int) -> Why:
        origin = self.normal.origin(line)
        return Why(reason, origin.file, origin.line)

    # ------------------------------------------------------------------------------------------------------- linears
    def _fuse(self) -> dict[Key, tuple[str, str, Key]]:
        """Query, key and value projections of one input: linear -> (fused attribute, shard, its query projection)."""
        fused: dict[Key, tuple[str, str, Key]] = {}
        for call in self.facts.attentions:
            calls = [other for other in self.facts.attentions if other.site == call.site]
            if call.site in self.facts.lost or isinstance(self._attention(call, calls), str):
                continue  # the reference's own call, on the heads of a rank
            queries, keys, values = (
                [key for key in self.facts.linears if key in tensor.sources and key not in self.decided.whole]
                for tensor in (call.query, call.key, call.value)
            )
            for query in queries:
                inputs = self.facts.linears[query].inputs
                trio = [query]
                for others in (keys, values):
                    alike = [k for k in others if k[0] == query[0] and self.facts.linears[k].inputs == inputs]
                    trio += alike if len(alike) == 1 and alike[0] not in trio else []
                name = fused_name(query[1])
                taken = any(name in i.attributes for held in self.facts.instances.values() for i in held)
                attributes = tuple(key[1] for key in trio)
                taken |= bool(self.facts.sized & set(trio))
                if len(trio) == 3 and not taken and self._alike(trio) and fusable(self.classes[query[0]], attributes):
                    for key, shard in zip(trio, ("q", "k", "v"), strict=True):
                        fused[key] = (name, shard, query)
        return fused

    def _alike(self, keys: list[Key]) -> bool:
        """Whether linears are made with the same input size and bias."""
        made = {leaf.key: leaf for leaf in self.facts.layers if leaf.key in keys}
        biases = {str(leaf.argument(2, "bias")) for leaf in made.values()} - {"Const(value=True)"}
        plain = [leaf for leaf in made.values() if leaf.argument(2, "bias") in (None, Const(True))]
        return not biases - {"None"} or (len(biases) == 1 and not plain)

    def linears(self) -> tuple[LinearPlan, ...]:
        return tuple(self._linear(key) for key in self.facts.linears)

    def _linear(self, key: Key) -> LinearPlan:
        fact = self.facts.linears[key]
        line = fact.lines[0]
        fused, shard = (None, None) if key not in self.fused else self.fused[key][:2]
        packed: tuple[str, ...] = ()
        role: LinearRole
        if key in self.decided.whole:
            role, cause, at = self.decided.whole[key]
            origin = self.normal.origin(at or line)
            size = "one vector per sample" if role == "gathered" else "as long as the tokens"
            reason = f"its result is {size} and {cause} ({origin.file.rpartition('/')[2]}:{origin.line})"
            reason += ": each rank takes its run of the input, one all-reduce" if role == "scattered" else ""
        elif fact.rows:
            role = "row"
            sources = ", ".join(sorted(name for _, name in fact.row_sources))
            reason = f"its input arrives sharded (by {sources}): one all-reduce"
            if len(fact.rows) > 1:
                packed = self._spelled(key, fact.rows, fact.row_sources)
                reason = f"its input is {len(packed)} parts that are sharded one by one (by {sources}): one all-reduce"
        elif fused is not None:
            role, reason = "qkv", "query, key and value of one input: heads are sharded, one matrix product"
        elif key in self.decided.units:
            unit, count = self.decided.units[key]
            role, reason = "merged", "its result is cut into equal parts that are sharded one by one"
            number = self.spell(key, count)
            packed = (f"[{self.spell(key, unit)}] * {number}",)
            if any("1" in atom.split(" or ") for atom in count.atoms):
                packed = (*packed, f"{number} > 1")
        elif key in self.decided.parts:
            role, reason = "merged", "its result is cut into parts that are sharded one by one"
            packed = self._spelled(key, self.decided.parts[key], frozenset({key}))
        else:
            role, reason = "column", "its result is used feature by feature up to a row-parallel linear"
        return LinearPlan(".".join(key), role, fused, shard, packed, self.why(reason, line))

    def checked(self) -> Checked:
        """What the sizes are checked by."""
        return Checked(self.facts, self.decided, self.classes[self.normal.root], self.why)

    # ----------------------------------------------------------------------------------------------------- attentions
    def attentions(self) -> tuple[tuple[AttentionPlan, ...], tuple[Decision, ...]]:
        """The layer of each attention call in the order of the source, and the calls that stay as they are."""
        plans: list[AttentionPlan] = []
        kept: list[Decision] = []
        for cls, sites in attention_sites(self.module).items():
            for number, site in enumerate(sites, 1):
                calls = [call for call in self.facts.attentions if call.site == site]
                found = {self._attention(call, calls) for call in calls} or {
                    "it is not reached as the forward is followed"
                }
                if site in self.facts.lost:
                    found = {"the rank of its tensors is not known"}
                plan = agreed(found)
                if isinstance(plan, AttentionPlan):
                    plans.append(plan)
                    continue
                kept.append(Decision(f"attention call {number} of {cls}", "reference", self.why(plan, site[1])))
        return tuple(plans), tuple(kept)

    def _attention(self, call: AttentionFact, calls: list[AttentionFact]) -> AttentionPlan | str:
        """The layer for a call, or why there is none; ``calls`` are those of its site, this one included."""
        key = (id(call), *map(id, calls))
        if key not in self._layers:
            self._layers[key] = self._layer(call, calls)
        return self._layers[key]

    def _layer(self, call: AttentionFact, calls: list[AttentionFact]) -> AttentionPlan | str:
        for option, value in call.options.items():
            known = getattr(value, "value", value) in (None, False) or value == Num(Poly.of(0))
            if (
                option not in ("scale", "enable_gqa", "attn_mask", "is_causal", *library.ATTENTION_WITHOUT_EFFECT)
                and not known
            ):
                return f"it has an argument {option}"
        query, key = call.query.dims, call.key.dims
        assert query is not None and key is not None
        causal = call.options.get("is_causal", Const(False))
        if not isinstance(causal, Const):
            return "whether it is causal is known at run time only"
        sizes = self._sizes(call)
        scale = call.options.get("scale", Const(None))
        if isinstance(sizes, str):
            return sizes
        if scale != Const(None) and not isinstance(scale, Num):
            return "its scale is known at run time only"
        all_sizes = [(other, found) for other in calls if isinstance(found := self._sizes(other), tuple)]
        others = [other for other, _ in all_sizes]
        try:
            names = [self.spell_late(others, [found[at] for _, found in all_sizes]) for at in range(3)]
            factor = f"{names[2]} ** -0.5" if " " not in names[2] else f"({names[2]}) ** -0.5"
            if isinstance(scale, Num):
                scales = [other.options.get("scale") for other in others]
                factor = self.spell_late(others, [s.poly for s in scales if isinstance(s, Num)])
        except UnsupportedError as error:
            return error.construct
        streams = [tuple(self.facts.stream(name) for name in dims[1].streams) for dims in (query, key)]
        cross = (streams[0] != streams[1] or query[1] != key[1]) and not same_tokens(
            self.classes[call.site[0]], *call.site[1:]
        )
        kind = "cross" if cross else "joint" if len(streams[0]) > 1 else "self"
        sharded = "heads are sharded" if query[2].parts else "heads are whole on each rank"
        masked = "with" if call.options.get("attn_mask", Const(None)) != Const(None) else "without"
        return AttentionPlan(
            call.instance.cls,
            names[0],
            names[1],
            names[2],
            factor,
            bool(causal.value),
            "cross" if kind == "cross" else "joint" if kind == "joint" else "self",
            self.why(f"{kind} attention {masked} a mask; {sharded}", call.line),
            kind == "cross",
        )

    def _sizes(self, call: AttentionFact) -> Sizes | str:
        return sizes_of(call, self.facts.instances[self.normal.root][0].bindings.keys())

    def spell_late(self, calls: list[AttentionFact], sizes: list[Poly]) -> str:
        """The size of each call in the words of the constructor of their class, where it ends."""
        cls = calls[0].instance.cls
        if len(set(sizes)) > 1:
            tables = [names(call.instance, "") for call in calls]
            found = [n for n in tables[0] if all(t.get(n) == s for t, s in zip(tables, sizes, strict=True))]
            if len(sizes) < len(calls) or not found:
                raise UnsupportedError(f"{cls}: no name for the sizes {', '.join(sorted(set(map(str, sizes))))}")
            return found[0]
        query = next(iter(sorted(name for c, name in calls[0].query.sources if c == cls)), "")
        try:
            return self.spell((cls, query), sizes[0])
        except UnsupportedError:
            return self.spell((cls, ""), sizes[0])

    def norms(self) -> tuple[Decision, ...]:
        """Norms across heads that the ranks share."""
        return tuple(
            Decision(
                f"norm across ranks {'.'.join(key)}",
                fact.kind,
                self.why(
                    "it runs over all heads: the ranks sum its statistics, and each holds its run of the weight",
                    fact.line,
                ),
            )
            for key, fact in self.facts.norms.items()
        )

    def slices(self) -> tuple[SlicePlan, ...]:
        """Whole values of which each rank takes its part."""
        return tuple(
            SlicePlan(*site, dim, self.why("it meets heads that are sharded: each rank takes its part", line))
            for site, (dim, line) in self.facts.slices.items()
        )

    def convs(self) -> tuple[ConvPlan, ...]:
        """Convolutions of which a rank holds its channels."""
        reasons = {
            "column": "its channels are used one by one up to a convolution that sums them up",
            "depthwise": "it keeps channels apart: a rank convolves its own",
            "row": "its input arrives sharded: one all-reduce",
            "scattered": "it stands between whole tensors: each rank takes its run of the input, one all-reduce",
        }
        return tuple(
            ConvPlan(".".join(key), fact.role, fact.parts, self.why(reasons[fact.role], fact.line))
            for key, fact in self.facts.convs.items()
            if key not in self.decided.whole
        )

    def plain(self) -> tuple[Decision, ...]:
        """Layers that stay ``nn.Linear``, since the forward reads their parameters."""
        return tuple(
            Decision(f"plain {'.'.join(key)}", True, self.why("its parameters are read by the forward itself", line))
            for key, line in self.facts.plain.items()
            if key in self.facts.linears
        )

    def weights(self) -> tuple[WeightPlan, ...]:
        rows = {WeightPlan(name, key[1], shard): None for key, (name, shard, _) in self.fused.items()}
        return tuple(rows)

    # ------------------------------------------------------------------------------------------------------ expressions
    def _spelled(self, key: Key, sizes: tuple[Poly, ...], sources: frozenset[Key]) -> tuple[str, ...]:
        try:
            return tuple(self.spell(key, size) for size in sizes)
        except UnsupportedError as error:
            raise Demand(sources, f"{error.construct} and", self.facts.linears[key].line) from error

    def spell(self, key: Key, size: Poly) -> str:
        """``size`` in the words of the constructor of ``key``'s class, valid where the linear ``key`` is made."""
        if size.constant is not None:
            return str(size)
        made = self.facts.instances[key[0]]
        tables = list(zip([names(i, key[1].partition(".")[0]) for i in made], self._own_sizes(key, size), strict=True))
        common = [name for name in tables[0][0] if all(name in table for table, _ in tables)]
        for name in common:
            if all(table[name] == own for table, own in tables):
                return name
        for factor in range(2, 13):
            for name in common:
                if all(table[name] * Poly.of(factor) == own for table, own in tables):
                    return f"{factor} * {name}"
        for name in common:
            for divisor in range(2, 13):
                if all(table[name] == own * Poly.of(divisor) for table, own in tables):
                    return f"{name} // {divisor}"
        for name in common:
            for other in common:
                if all(table[name] == own * table[other] for table, own in tables):
                    return f"{name} // {other}"
        fact = self.facts.linears.get(key)
        raise UnsupportedError(f"{key[0]}: no name for the size {size}", *self._place(fact.line if fact else 0))

    def _own_sizes(self, key: Key, size: Poly) -> list[Poly]:
        """``size`` in each instance of the class: an equal part of a width that is another in each."""
        fact = self.facts.linears.get(key)
        instances = self.facts.instances[key[0]]
        share = fact.width.divide(size) if fact is not None and len(size.terms) == 1 else None
        widths = {id(leaf.owner): leaf.argument(1, "out_features") for leaf in self.facts.layers if leaf.key == key}
        own = [width.poly if isinstance(width := widths.get(id(i)), Num) else None for i in instances]
        if share is None or share.constant is None or key not in self.decided.parts or None in own:
            return [size] * len(instances)
        return [width.divide(share) or size for width in own if width is not None]

    def _place(self, line: int) -> tuple[str, int]:
        origin = self.normal.origin(line)
        return origin.file, origin.line

    def heads(self) -> tuple[Decision, ...]:
        """Whether each class that calls attention holds local heads, which is what its ``Attention`` is built with."""
        made: dict[str, Decision] = {}
        for cls in dict.fromkeys(call.instance.cls for call in self.facts.attentions):
            calls = [call for call in self.facts.attentions if call.instance.cls == cls]
            sharded = frozenset(key for call in calls for x in (call.query, call.key, call.value) for key in x.sources)
            plans = [(call, plan) for call in calls if isinstance(plan := self._attention(call, calls), AttentionPlan)]
            if sharded and any(not (call.query.dims or ())[2].parts for call in calls):
                raise Demand(sharded, f"attention of {cls} is sharded in some calls only", calls[0].line)
            counts = {size for (owner, _), size in self.decided.local.items() if owner == cls}
            own = {dim.size for call in calls for x in (call.query, call.key) for dim in (x.dims or ())[2:3]}
            if sharded and (odd := counts - own - self.facts.heads.keys() - self.facts.widths):
                raise Demand(sharded, f"{min(map(str, odd))} counts no heads of the attention", calls[0].line)
            for (owner, name), size in self.decided.local.items() if sharded and plans else ():
                if owner == cls:
                    queries = {(call.query.dims or ())[2].size for call in calls}
                    keys = {(call.key.dims or ())[2].size for call in calls}
                    kind = "num_heads" if size in queries else "num_kv_heads" if size in keys else "own"
                    made[f"{cls}.{name}"] = Decision(f"heads in {cls}.{name}", kind, plans[0][1].why)
            if plans:
                made[cls] = Decision(f"heads of {cls}", "sharded" if sharded else "whole", plans[0][1].why)
        for (owner, expression), line in self.facts.whole_heads.items():
            why = self.why("it divides the width of all heads by their number", line)
            made[f"{owner} {expression}"] = Decision(f"whole heads in {owner}", expression, why)
        attending = {cls for cls in made if cls.isidentifier()}  # they have a layer, which knows its heads
        for (owner, name), _ in self.decided.local.items():
            if owner not in attending:
                line = min((f.line for key, f in self.facts.linears.items() if key[0] == owner), default=0)
                why = self.why("it counts the heads that a rank holds", line)
                made[f"{owner}.{name}"] = Decision(f"heads in {owner}.{name}", "own", why)
        return tuple(made.values())
