"""Which files of MODEL are the denoiser's weights, and how their names become its own: what the port needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omniport.custom.checkpoint import Match, Weights, match
from omniport.custom.code import CodeTree
from omniport.custom.constructor import parameters_of
from omniport.custom.idioms.settings_object import Settings
from omniport.custom.remap import Shape
from omniport.custom.slice import cut
from omniport.custom.todo import todo
from omniport.errors import OmniportError
from omniport.plan.custom import Candidate
from omniport.plan.model import Decision, Why
from omniport.plan.remap import RemapTable
from omniport.records import dataclass


@dataclass(frozen=True)
class Original:
    """The denoiser as its source shows it: what ``verify`` builds the port with, and compares it with.

    ``root`` names the class, and its module of the port where that is another file than the transformer's.
    ``parameters`` are names and shapes of the class built with ``arguments``; a size that the source does not show is
    None.  ``published`` are those of the checkpoint, empty where none was read; ``dropped`` names what of it the class
    has not.
    """

    arguments: Mapping[str, Any]
    parameters: Mapping[str, Shape]
    published: Mapping[str, Shape]
    dropped: tuple[str, ...] = ()
    root: tuple[str, str] = ("", "")

    def to_data(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        shapes = {key: {k: list(v) for k, v in getattr(self, key).items()} for key in ("parameters", "published")}
        return {"arguments": dict(self.arguments), **shapes, "dropped": list(self.dropped), "root": list(self.root)}


@dataclass(frozen=True)
class Naming:
    """``reason`` is empty where every name and shape is proved; else what is left to be done by hand.

    ``original`` is None where the source does not show which parameters there are.
    """

    match: Match | None
    reason: str
    decisions: tuple[Decision, ...]
    original: Original | None = None

    @property
    def table(self) -> RemapTable | None:
        """The rules, None where the names are the class's own."""
        return self.match.table if self.match is not None and self.match.table.rules else None

    def todos(self, backbone: Candidate) -> tuple[Decision, ...]:
        if not self.reason:
            return ()
        return (todo("REMAP", self.reason, Why(self.reason, backbone.file, backbone.line)),)


def compare(
    tree: CodeTree,
    backbone: Candidate,
    weights: Weights,
    given: Mapping[str, Any],
    module: str = "",
    settings: Settings | None = None,
) -> Naming:
    """Compare the tensors of ``weights`` with the parameters of the class.

    Args:
        tree: of the repository.
        backbone: the denoiser.
        weights: what MODEL holds.
        given: constructor arguments that the code sets; the configuration beside the weights goes before.
        module: of the port that holds the class, empty for the transformer's own.
        settings: the constructor's parameter whose fields these arguments are.
    """
    root = (module, backbone.name)
    file = next(f for f in tree.files if f.path == backbone.file)
    if not weights.sets:
        try:
            shapes = parameters_of(cut(tree, file, backbone.name), _handed(given, settings)).shapes
            original = Original(given, shapes, {}, root=root)
        except OmniportError:
            original = None  # the reason that is told is the first one
        return Naming(None, f"the checkpoint was not read: {weights.reason}", (), original)
    best: Naming | None = None
    for configured in _configurations(weights):
        try:
            arguments = {**given, **configured}
            found = parameters_of(cut(tree, file, backbone.name), _handed(arguments, settings))
        except OmniportError as error:
            best = best or Naming(None, str(error), ())
            continue
        matched = match(weights.sets, found.shapes, found.ties)
        if matched is None:
            names = ", ".join(item.name for item in weights.sets)
            original = Original(arguments, found.shapes, {}, root=root)
            best = best or Naming(None, f"of {names} none, or several, have its tensors", (), original)
            continue
        reason = "; ".join(matched.proof.faults)
        if not reason and matched.proof.unproved:
            reason = f"shapes that the code does not show: {', '.join(matched.proof.unproved[:8])}"
        original = Original(arguments, found.shapes, matched.weights.header, tuple(matched.proof.dropped), root)
        naming = Naming(matched, reason, _decisions(matched), original)
        if not reason:
            return naming
        if best is None or best.match is None or matched.proof.filled > best.match.proof.filled:
            best = naming
    assert best is not None
    return best


def _handed(arguments: Mapping[str, Any], settings: Settings | None) -> dict[str, Any]:
    """The arguments as the original's constructor takes them."""
    if settings is None:
        return dict(arguments)
    fields = {**settings.defaults, **{k: v for k, v in arguments.items() if k in settings.fields}}
    others = {k: v for k, v in arguments.items() if k not in settings.fields}
    return {**others, settings.parameter: fields}


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
