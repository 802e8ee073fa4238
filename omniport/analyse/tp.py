"""Tensor parallelism: the role of every linear, from one rule and its exceptions.

Each linear starts as a column.  A sharded value that enters a linear makes it a row, with one all-reduce.  Where a
sharded value would have to be whole (a residual sum, a norm over the width, a result), the linears it comes from are
taken back: gathered if what they compute is one vector per sample, replicated if it is as long as the tokens.  Then the
walk starts over, until nothing is taken back any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from omniport.analyse import library
from omniport.analyse.dataflow import Walk
from omniport.analyse.facts import AttentionFact, Decisions, Demand, Facts, Refine
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import Instance, Key, Leaf, Modules, Num
from omniport.errors import UnsupportedError
from omniport.plan.model import AttentionPlan, Decision, LinearPlan, LinearRole, WeightPlan, Why
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


def walk(normal: NormalForm, source: SourceTree | None = None) -> tuple[Facts, Decisions]:
    """Walk until no decision changes.

    Raises:
        UnsupportedError: a construct is not understood, or a linear is never reached by the forward.
    """
    decisions = Decisions()
    while True:
        attempt = Walk(normal, decisions, source)
        try:
            facts = attempt.run()
            break
        except Refine as refine:
            decisions.parts[refine.key] = refine.parts
        except Demand as demand:
            fresh = demand.sources - decisions.whole.keys()
            if not fresh:
                raise attempt.unsupported(f"{demand.reason}, and its linears are whole already") from demand
            for key in fresh:
                fact = attempt.facts.linears[key]
                small = fact.known and not fact.token_sized
                decisions.whole[key] = ("gathered" if small else "replicated", demand.reason, demand.line)
    for cls in sorted(facts.instances.keys() - attempt.imported):
        for instance in facts.instances[cls]:
            for leaf in _leaves(instance):
                if leaf not in facts.linears:
                    raise UnsupportedError(f"linear {cls}.{leaf[1]} is not reached by the forward")
    return facts, decisions


def _leaves(instance: Instance) -> list[Key]:
    found: list[Key] = []
    for value in instance.attributes.values():
        for item in value.items if isinstance(value, Modules) else [value]:
            if isinstance(item, Leaf) and item.cls.rpartition(".")[2] == "Linear":
                found.append(item.key)
    return found


def infer(normal: NormalForm, source: SourceTree | None = None) -> Sharding:
    """Roles of all linears, the attention layers, the fused weights, and what the sizes must divide by."""
    facts, decisions = walk(normal, source)
    planner = _Planner(normal, facts, decisions)
    decisions_made = (*planner.divisors(), *planner.heads())
    return Sharding(facts, planner.linears(), planner.attentions(), planner.weights(), decisions_made)


class _Planner:
    def __init__(self, normal: NormalForm, facts: Facts, decisions: Decisions) -> None:
        self.normal, self.facts, self.decided = normal, facts, decisions
        self.fused = self._fuse()

    def why(self, reason: str, line: int) -> Why:
        origin = self.normal.origin(line)
        return Why(reason, origin.file, origin.line)

    # ------------------------------------------------------------------------------------------------------- linears
    def _fuse(self) -> dict[Key, tuple[str, str, Key]]:
        """Query, key and value projections of one input: linear -> (fused attribute, shard, its query projection)."""
        fused: dict[Key, tuple[str, str, Key]] = {}
        for call in self.facts.attentions:
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
                if len(trio) == 3:
                    name = fused_name(query[1])
                    if any(name in instance.attributes for held in self.facts.instances.values() for instance in held):
                        raise UnsupportedError(f"the name {name} is taken in the model", *self._place(call.line))
                    for key, shard in zip(trio, ("q", "k", "v"), strict=True):
                        fused[key] = (name, shard, query)
        return fused

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
        elif fact.rows:
            role = "row"
            sources = ", ".join(sorted(name for _, name in fact.row_sources))
            reason = f"its input arrives sharded (by {sources}): one all-reduce"
            if len(fact.rows) > 1:
                packed = tuple(self.spell(key, part) for part in fact.rows)
                reason = f"its input is {len(packed)} parts that are sharded one by one (by {sources}): one all-reduce"
        elif fused is not None:
            role, reason = "qkv", "query, key and value of one input: heads are sharded, one matrix product"
        elif key in self.decided.parts:
            role, reason = "merged", "its result is cut into parts that are sharded one by one"
            packed = tuple(self.spell(key, part) for part in self.decided.parts[key])
        else:
            role, reason = "column", "its result is used feature by feature up to a row-parallel linear"
        return LinearPlan(".".join(key), role, fused, shard, packed, self.why(reason, line))

    # ----------------------------------------------------------------------------------------------------- attentions
    def attentions(self) -> tuple[AttentionPlan, ...]:
        plans: dict[str, AttentionPlan] = {}
        for call in self.facts.attentions:
            plan = self._attention(call)
            if plans.setdefault(plan.class_name, plan) != plan:
                origin = self.normal.origin(call.line)
                raise UnsupportedError(f"two different attention calls in {plan.class_name}", origin.file, origin.line)
        return tuple(plans.values())

    def _attention(self, call: AttentionFact) -> AttentionPlan:
        origin = self.normal.origin(call.line)
        for option, value in call.options.items():
            if option not in ("scale", "enable_gqa") and getattr(value, "value", value) not in (None, False):
                raise UnsupportedError(f"attention with {option}", origin.file, origin.line)
        query, key = call.query.dims, call.key.dims
        assert query is not None and key is not None
        anchor = (
            call.instance.cls,
            next(iter(sorted(name for c, name in call.query.sources if c == call.instance.cls)), ""),
        )
        heads, kv_heads, width = (self.spell(anchor, dim.size) for dim in (query[2], key[2], query[3]))
        if call.value.dims is None or call.value.dims[3].size != query[3].size:
            raise UnsupportedError("attention whose values are not as wide as its keys", origin.file, origin.line)
        scale = call.options.get("scale")
        if scale is not None and not isinstance(scale, Num):
            raise UnsupportedError("attention with a scale that is no number", origin.file, origin.line)
        streams = [tuple(self.facts.stream(name) for name in dims[1].streams) for dims in (query, key)]
        kind = "cross" if streams[0] != streams[1] else "joint" if len(streams[0]) > 1 else "self"
        sharded = "heads are sharded" if query[2].parts else "heads are whole on each rank"
        reason = f"{kind} attention without a mask; {sharded}"
        return AttentionPlan(
            call.instance.cls,
            heads,
            kv_heads,
            width,
            f"{width} ** -0.5" if scale is None else self.spell(anchor, scale.poly),
            False,
            "cross" if kind == "cross" else "joint" if kind == "joint" else "self",
            self.why(reason, call.line),
        )

    def weights(self) -> tuple[WeightPlan, ...]:
        rows = {WeightPlan(name, key[1], shard): None for key, (name, shard, _) in self.fused.items()}
        return tuple(rows)

    # ------------------------------------------------------------------------------------------------------ expressions
    def spell(self, key: Key, size: Poly) -> str:
        """``size`` in the words of the constructor of ``key``'s class, valid where the linear ``key`` is made."""
        if size.constant is not None:
            return str(size)
        tables = [_names(instance, key[1].partition(".")[0]) for instance in self.facts.instances[key[0]]]
        common = [name for name in tables[0] if all(name in table for table in tables)]
        for name in common:
            if all(table[name] == size for table in tables):
                return name
        for factor in range(2, 13):
            for name in common:
                if all(table[name] * Poly.of(factor) == size for table in tables):
                    return f"{factor} * {name}"
        for name in common:
            for divisor in range(2, 13):
                if all(table[name] == size * Poly.of(divisor) for table in tables):
                    return f"{name} // {divisor}"
        for name in common:
            for other in common:
                if all(table[name] == size * table[other] for table in tables):
                    return f"{name} // {other}"
        fact = self.facts.linears.get(key)
        raise UnsupportedError(f"{key[0]}: no name for the size {size}", *self._place(fact.line if fact else 0))

    def _place(self, line: int) -> tuple[str, int]:
        origin = self.normal.origin(line)
        return origin.file, origin.line

    def heads(self) -> tuple[Decision, ...]:
        """Whether each class that calls attention holds local heads, which is what its ``Attention`` is built with."""
        made: dict[str, Decision] = {}
        for call in self.facts.attentions:
            plan = self._attention(call)
            value = "sharded" if (call.query.dims or ())[2].parts else "whole"
            decision = Decision(f"heads of {plan.class_name}", value, plan.why)
            if made.setdefault(plan.class_name, decision) != decision:
                raise UnsupportedError(
                    f"attention of {plan.class_name} is sharded in some calls only", *self._place(call.line)
                )
            texts = {text for cls, text in self.facts.explicit_heads if cls == plan.class_name}
            if stray := texts - {plan.heads, plan.kv_heads}:
                raise UnsupportedError(f"head count {sorted(stray)[0]} in {plan.class_name}", *self._place(call.line))
        return tuple(made.values())

    # --------------------------------------------------------------------------------------------------------- divisors
    def divisors(self) -> tuple[Decision, ...]:
        """What the number of ranks has to divide, in constructor parameters of the root; implied ones left out."""
        needed: dict[Poly, Why] = {}
        for call in self.facts.attentions:
            for tensor in (call.query, call.key):
                dim = (tensor.dims or ())[2]
                if dim.parts:
                    needed.setdefault(dim.size, self.why("heads are sharded", call.line))
        for key, fact in self.facts.linears.items():
            role = self.decided.whole.get(key, ("column",))[0]
            if role == "replicated":
                continue
            sizes = fact.rows or (self.decided.parts.get(key, (fact.width,)) if role == "column" else (fact.width,))
            for size in sizes:
                needed.setdefault(size, self.why(f"width of {'.'.join(key)}", fact.line))
        kept = []
        for size, why in needed.items():
            implied = any(other != size and _multiple(size, other) for other in needed)
            known = size.atoms <= self.facts.instances[self.normal.root][0].bindings.keys()
            if not implied and known and size.constant is None:
                kept.append(Decision("tp divisor", str(size), why))
        return tuple(kept)


def _names(instance: Instance, before: str) -> dict[str, Poly]:
    """Sizes by name, in ``__init__`` where the attribute ``before`` is made: attributes, parameters, locals."""
    names: dict[str, Poly] = {}
    for name, value in instance.attributes.items():
        if name == before:
            break
        if isinstance(value, Num):
            names[f"self.{name}"] = value.poly
    for name, value in {**instance.bindings, **instance.locals}.items():
        if isinstance(value, Num):
            names[name] = value.poly
    return names


def _multiple(size: Poly, of: Poly) -> bool:
    quotient = size.divide(of)
    return quotient is not None and quotient.integral and quotient != Poly.of(1)


def fused_name(query: str) -> str:
    """The attribute that takes in a query projection and its siblings."""
    for old, new in library.FUSED_NAMES:
        if query == old or query.endswith(f".{old}"):
            return query[: len(query) - len(old)] + new
    return f"{query}_kv"
