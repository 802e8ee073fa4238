"""Which files of MODEL are the denoiser's weights, and how their names become its own: what the port needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omniport.custom.checkpoint import Match, Weights, match
from omniport.custom.code import CodeTree
from omniport.custom.constructor import parameters_of
from omniport.custom.slice import cut
from omniport.custom.todo import todo
from omniport.errors import OmniportError
from omniport.plan.custom import Candidate
from omniport.plan.model import Decision, Why
from omniport.plan.remap import RemapTable


@dataclass(frozen=True)
class Naming:
    """``reason`` is empty where every name and shape is proved; else what is left to be done by hand."""

    match: Match | None
    reason: str
    decisions: tuple[Decision, ...]

    @property
    def table(self) -> RemapTable | None:
        """The rules, None where the names are the class's own."""
        return self.match.table if self.match is not None and self.match.table.rules else None

    def todos(self, backbone: Candidate) -> tuple[Decision, ...]:
        if not self.reason:
            return ()
        return (todo("REMAP", self.reason, Why(self.reason, backbone.file, backbone.line)),)


def compare(tree: CodeTree, backbone: Candidate, weights: Weights, given: Mapping[str, Any]) -> Naming:
    """Compare the tensors of ``weights`` with the parameters of the class.

    Args:
        tree: of the repository.
        backbone: the denoiser.
        weights: what MODEL holds.
        given: constructor arguments that the code sets; the configuration beside the weights goes before.
    """
    if not weights.sets:
        return Naming(None, f"the checkpoint was not read: {weights.reason}", ())
    file = next(f for f in tree.files if f.path == backbone.file)
    best: Naming | None = None
    for configured in _configurations(weights):
        try:
            found = parameters_of(cut(tree, file, backbone.name), {**given, **configured})
        except OmniportError as error:
            best = best or Naming(None, str(error), ())
            continue
        matched = match(weights.sets, found.shapes, found.ties)
        if matched is None:
            names = ", ".join(item.name for item in weights.sets)
            best = best or Naming(None, f"of {names} none, or several, have its tensors", ())
            continue
        reason = "; ".join(matched.proof.faults)
        if not reason and matched.proof.unproved:
            reason = f"shapes that the code does not show: {', '.join(matched.proof.unproved[:8])}"
        naming = Naming(matched, reason, _decisions(matched))
        if not reason:
            return naming
        if best is None or best.match is None or matched.proof.filled > best.match.proof.filled:
            best = naming
    assert best is not None
    return best


def _configurations(weights: Weights) -> list[Mapping[str, Any]]:
    """The configuration of each set, then none."""
    found: list[Mapping[str, Any]] = []
    for item in weights.sets:
        if item.config and item.config not in found:
            found.append(item.config)
    return [*found, {}]


def _decisions(matched: Match) -> tuple[Decision, ...]:
    proof = matched.proof
    proved = "no fault" if not proof.faults else f"{len(proof.faults)} faults"
    why = Why(f"{proof.filled} parameters filled, {len(proof.dropped)} tensors dropped, {proved}", matched.weights.name)
    rules = [
        Decision("weight name", f"{r.verb} {' + '.join(r.names)} -> {' + '.join(r.into)}{list(r.sizes) or ''}", r.why)
        for r in matched.table.rules
    ]
    return (Decision("weights", matched.weights.name, why), *rules)
