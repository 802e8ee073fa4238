"""Which backbone is taken without asking: a high score, and no rival that is another model of its own.

Source of the numbers: 37 code bases scored against hand labels; with 9 points and a margin of 2 no wrong one was
taken.
"""

from __future__ import annotations

import re
from dataclasses import replace

from omniport.custom.code import ClassRef
from omniport.custom.facts import Facts
from omniport.errors import OmniportError
from omniport.plan.custom import Candidate
from omniport.plan.model import Why

ENOUGH = 9
MARGIN = 2


def backbone(facts: Facts, found: list[Candidate], asked: str | None) -> tuple[Candidate | None, tuple[Why, ...]]:
    """The accepted backbone, or the questions that must be answered first.

    Args:
        facts: of the repository.
        found: candidates for the backbone.
        asked: ``file.py:Class`` as the user gave it.

    Raises:
        OmniportError: ``asked`` names no class of the repository.
    """
    if asked is not None:
        return _asked(facts, found, asked), ()
    if not found:
        return None, (Why("no class looks like a denoiser; name it with --backbone file.py:Class"),)
    found = sorted(found, key=lambda c: (-c.score, -_uses(facts, c), c.name.startswith("_"), c.file, c.line))
    best = found[0]
    family = [c for c in found[1:] if _related(facts, best, c)]
    rivals = [c for c in found[1:] if c not in family and best.score - c.score < MARGIN]
    best = replace(best, variants=tuple(f"{c.file}:{c.name}" for c in family))
    if best.score < ENOUGH:
        reason = (
            f"{best.name} scores {best.score}, less than {ENOUGH}; confirm it with --backbone {best.file}:{best.name}"
        )
        return None, (Why(reason, best.file, best.line),)
    if rivals:
        names = " or ".join(f"--backbone {c.file}:{c.name}" for c in (best, *rivals))
        return None, (Why(f"several denoisers score alike: choose {names}", best.file, best.line),)
    return best, ()


def _asked(facts: Facts, found: list[Candidate], asked: str) -> Candidate:
    path, _, name = asked.rpartition(":")
    for candidate in found:
        if candidate.name == name and candidate.file == path:
            return candidate
    for file in facts.tree.files:
        if file.path == path and name in file.classes:
            node = file.classes[name]
            return Candidate("backbone", name, path, node.lineno, 0, (file.why("named with --backbone", node),))
    close = ", ".join(f"{c.file}:{c.name}" for c in found[:3])
    raise OmniportError(
        f"--backbone {asked}: no such class in the source{f'; candidates are {close}' if close else ''}"
    )


def _related(facts: Facts, a: Candidate, b: Candidate) -> bool:
    """Variants: one inherits from the other or from a base of it, or their names begin with the same word."""
    roots_a, roots_b = _line_of(facts, a), _line_of(facts, b)
    return bool(roots_a & roots_b) or _stem(a.name) == _stem(b.name)


def _line_of(facts: Facts, candidate: Candidate) -> set[str]:
    file = next(f for f in facts.tree.files if f.path == candidate.file)
    todo, found = [ClassRef(file, candidate.name)], set()
    while todo:
        ref = todo.pop()
        if str(ref) in found:
            continue
        found.add(str(ref))
        for base in ref.node.bases:
            inner = facts.tree.resolve(ref.file, getattr(base, "id", ""))
            if inner is not None:
                todo.append(inner)
    return found


def _stem(name: str) -> str:
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z0-9]+|[A-Z]+|[a-z]+", name.replace("_", ""))
    return words[0] if len(words) > 1 else name


def _uses(facts: Facts, candidate: Candidate) -> int:
    """Files of the served code that import the class: of equal variants, the one that most of it is built on."""
    return sum(
        not file.side
        and (found := facts.tree.resolve(file, candidate.name)) is not None
        and found.file.path == candidate.file
        for file in facts.tree.files
        if file.path != candidate.file and candidate.name in file.imports
    )
