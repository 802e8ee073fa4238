"""Walks over a normal form until no decision about its linears changes any more."""

from __future__ import annotations

from omniport.analyse.facts import Decisions, Demand, Facts, LinearFact, Localise, Refine
from omniport.analyse.poly import Poly
from omniport.analyse.resume import ResumedWalk, Saved
from omniport.analyse.shapes import Leaf, Num, modules_in
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree


def walk(
    normal: NormalForm,
    source: SourceTree | None = None,
    decisions: Decisions | None = None,
    saved: list[Saved] | None = None,
) -> tuple[Facts, Decisions, set[str]]:
    """Walk until no decision changes: the facts, the decisions, and the classes that are only imported.

    A linear that the forward does not reach, as far as it is followed, stays whole.  ``saved`` is where walks go on
    from, those of earlier calls included.
    """
    decisions, saved = decisions or Decisions(), [] if saved is None else saved
    while True:
        attempt = ResumedWalk(normal, decisions, source, saved)
        try:
            facts = attempt.run()
            break
        except Localise as found:
            decisions.local |= {(found.cls, name): found.size for name in found.names}
        except Refine as refine:
            decisions.parts[refine.key] = refine.parts
        except Demand as demand:
            fresh = demand.sources - decisions.whole.keys()
            if not fresh:
                raise attempt.unsupported(f"{demand.reason}, and its linears are whole already") from demand
            for key in fresh:
                decisions.take_back(key, demand, attempt.facts)
    facts.layers = linear_layers(facts)
    for leaf in facts.layers:
        if leaf.key not in facts.linears and leaf.key[0] not in attempt.imported:
            width, features = (
                a.poly if isinstance(a, Num) else Poly.of("?") for a in (leaf.args + [None, None])[1::-1]
            )
            facts.linears[leaf.key] = LinearFact(leaf.line, width, features, lines=[leaf.line])
            decisions.whole.setdefault(
                leaf.key, ("replicated", "it is not reached by the forward as it is followed", 0)
            )
    return facts, decisions, attempt.imported


def linear_layers(facts: Facts) -> list[Leaf]:
    """All linears that the constructors make."""
    return [
        leaf
        for held in facts.instances.values()
        for instance in held
        for value in instance.attributes.values()
        for leaf in modules_in(value)
        if isinstance(leaf, Leaf) and leaf.cls.rpartition(".")[2] == "Linear"
    ]
