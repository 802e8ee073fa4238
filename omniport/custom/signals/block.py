"""Block classes: what the backbones' lists are made of."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.custom.code import ClassRef
from omniport.custom.facts import Facts
from omniport.custom.signals import backbone
from omniport.custom.signals.score import Score
from omniport.plan.custom import Candidate


def find(facts: Facts) -> Iterator[Candidate]:
    seen = set()
    for ref in facts.all:
        whole = backbone.scored(facts, ref)
        if whole.total < 5:
            continue
        if not backbone.stacks(facts, ref):
            yield from _foreign(facts, ref)
        for child in backbone.stacks(facts, ref):
            for built in facts.built(ref, child):
                if built in seen:
                    continue
                seen.add(built)
                score = Score.of("block", built)
                score.evidence.append(ref.file.why(f"{ref.name}.{child.name} is a list of it", ref.node))
                score.total = whole.total
                yield score.candidate()
            if child.dispatched:
                score = Score("block", "?", ref.file, ref.node)
                score.add(whole.total, f"{ref.name}.{child.name}: the class is looked up at run time", child.line)
                yield score.candidate()


def _foreign(facts: Facts, ref: ClassRef) -> Iterator[Candidate]:
    """A stack that a model of transformers or diffusers builds itself, which the repository inherits or holds."""
    for child in facts.of(ref).children.values():
        for built in facts.built(ref, child):
            for base in facts.of(built).bases:
                if facts.origin(built, base).split(".")[0] in ("transformers", "diffusers"):
                    score = Score("block", "?", built.file, built.node)
                    score.add(5, f"the blocks are those of {base} ({facts.origin(built, base)})")
                    yield score.candidate()
