"""Models of the repository beside the denoiser: a fusion in ``fusion.py``, an autoencoder in ``autoencoder.py``.

Each file holds the closure of its class word for word (step B2 of the guide ``add-diffusion-model``).  What the
denoiser's file has too is imported from there, so that both mean the same classes.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from omniport.custom import external
from omniport.custom.checkpoint import Match, Weights, match
from omniport.custom.code import CodeTree
from omniport.custom.constructor import parameters_of
from omniport.custom.notice import notice
from omniport.custom.prepare import prepare
from omniport.custom.slice import cut
from omniport.custom.todo import todo
from omniport.emit.format import format_files
from omniport.errors import OmniportError
from omniport.plan.custom import Candidate, CustomPlan
from omniport.plan.model import Decision, Why
from omniport.records import dataclass

Kind = Literal["fusion", "autoencoder"]
_ROLES: dict[Kind, str] = {"fusion": "fusion", "autoencoder": "vae"}


@dataclass(frozen=True)
class SubModel:
    """A file of its own.  ``match`` is the set of weights that is exactly the model's, if there is one."""

    kind: Kind
    class_name: str
    code: str
    match: Match | None
    why: Why


def bring(
    root: Path, tree: CodeTree, roles: CustomPlan, kind: Kind, weights: Weights, transformer: str, module: str
) -> tuple[SubModel | None, tuple[Decision, ...]]:
    """The repository's own model of this kind, if it has one, and what is left to do about it.

    Args:
        root: the repository.
        tree: its code.
        roles: its role report.
        kind: which model.
        weights: what MODEL holds.
        transformer: text of the denoiser's module.
        module: its name in the port.
    """
    assert roles.backbone is not None
    found = next((c for c in roles.candidates if c.role == _ROLES[kind] and _own(tree, c, roles.backbone)), None)
    if found is None:
        return None, ()
    file = next(f for f in tree.files if f.path == found.file)
    why = Why(f"{found.name} is the {kind} of the repository", found.file, found.line)
    try:
        closure = cut(tree, file, found.name)
        code = _module(closure.pieces, roles.backbone.name, transformer, module)
        plain, guarded = external.import_lines(closure.foreign, roles.dependencies)
        text = "\n".join(["from __future__ import annotations", "", plain, *code[:1], guarded, "", code[1]])
        check(text)
    except OmniportError as error:
        return None, (todo("SUBMODEL", f"{found.name}: {error}", why),)
    matched = None
    if kind == "autoencoder":
        try:
            parameters = parameters_of(closure, {})
            matched = match(weights.sets, parameters.shapes, parameters.ties) if _built_alone(tree, found) else None
        except OmniportError:
            matched = None  # which values its constructor takes stays a TODO
        if matched is not None and (matched.table.rules or matched.proof.faults or matched.proof.unproved):
            matched = None
    above = notice(root, found.file).rstrip()
    origin = (f"{above}\n#\n" if above else "") + f"# From {found.file}: class {found.name}\n\n"
    return SubModel(kind, found.name, origin + text, matched, why), ()


def _own(tree: CodeTree, candidate: Candidate, backbone: Candidate) -> bool:
    """Whether it is a class of the repository, other than the denoiser itself."""
    file = next((f for f in tree.files if f.path == candidate.file), None)
    return file is not None and candidate.name in file.classes and candidate.name != backbone.name


def _built_alone(tree: CodeTree, candidate: Candidate) -> bool:
    """Whether the constructor needs no argument."""
    file = next(f for f in tree.files if f.path == candidate.file)
    body = file.classes[candidate.name].body
    init = next((m for m in body if isinstance(m, ast.FunctionDef) and m.name == "__init__"), None)
    if init is None:
        return False
    plain = len(init.args.args) - 1 - len(init.args.defaults)
    return plain <= 0 and all(default is not None for default in init.args.kw_defaults)


def _module(pieces: tuple[object, ...], backbone: str, transformer: str, module: str) -> tuple[str, str]:
    """The import from the denoiser's file, and the definitions that are not there."""
    from omniport.custom.slice import Piece

    there = {n.name for n in ast.parse(transformer).body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    kept: list[Piece] = [p for p in pieces if isinstance(p, Piece)]
    if backbone in there and not any(_positional(p, backbone) for p in kept):
        shared = {name for piece in kept for name in piece.names} & there
        kept = [p for p in kept if not set(p.names) <= shared]
    else:
        shared = set()
    text, _ = prepare("\n\n\n".join(piece.text for piece in kept) + "\n")
    used = {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)} & shared
    line = f"from .{module} import {', '.join(sorted(used))}" if used else ""
    return line, text


def _positional(piece: object, backbone: str) -> bool:
    """Whether a definition gives the denoiser arguments by place, where the port has one of its own in front."""
    calls = (n for n in ast.walk(ast.parse(getattr(piece, "text", ""))) if isinstance(n, ast.Call))
    return any(isinstance(call.func, ast.Name) and call.func.id == backbone and call.args for call in calls)


def check(text: str) -> None:
    """Raises OmniportError where the module would not run: an undefined name, no Python."""
    _, findings = format_files({"module.py": text}, None)
    wrong = [f for f in findings if f.code[0] == "F" or "syntax" in f.code or f.code == "E999"]
    if wrong:
        raise OmniportError(f"{wrong[0].code} {wrong[0].message}")


def modules(models: tuple[SubModel, ...]) -> Mapping[str, str]:
    """File name -> code."""
    return {model.kind: model.code for model in models}
