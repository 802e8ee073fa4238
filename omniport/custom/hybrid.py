"""Models of which some components are classes of diffusers and transformers and some are the repository's own.

The index says which; nothing of it is imported.  Known components are loaded as Path A loads them, own ones are brought
along: the denoiser as a port, any other in a file of its component's name.
"""

from __future__ import annotations

from pathlib import Path

from omniport.custom import external
from omniport.custom.code import CodeTree
from omniport.custom.notice import notice
from omniport.custom.prepare import prepare
from omniport.custom.slice import cut
from omniport.custom.submodels import check
from omniport.custom.todo import todo
from omniport.errors import OmniportError
from omniport.hub.names import parse_model
from omniport.plan.custom import Dependency
from omniport.plan.model import ComponentPlan, Decision, ModelPlan, Why
from omniport.records import dataclass

LIBRARIES = frozenset({"diffusers", "transformers"})


@dataclass(frozen=True)
class Own:
    """A component of the repository's own code, besides the denoiser."""

    component: ComponentPlan
    code: str


def model_plan(model: str, *, revision: str | None, offline: bool) -> ModelPlan | None:
    """The classification of MODEL by its index; None if it has none, or cannot be asked.

    Raises:
        OmniportError: the index is malformed, or names a class that nobody knows.
    """
    from omniport.classify import classify
    from omniport.hub import open_model
    from omniport.source.tree import SourceTree

    source = SourceTree.locate()
    try:
        repo = open_model(model, revision=revision, offline=offline, source=source, require_index=False)
    except OmniportError:
        if parse_model(model).form == "local":
            raise
        return None  # the weights' TODO says why it was not read
    return classify(repo, source, None) if repo.index.present else None


def stock(plan: ModelPlan) -> tuple[ComponentPlan, ...]:
    """Components that are loaded from the model with their own class."""
    return tuple(c for c in plan.components if c.library in LIBRARIES and not _gap(plan, c) and c.role != "dit")


def _gap(plan: ModelPlan, component: ComponentPlan) -> bool:
    """Whether the evidence says that the component is the repository's own, whatever library the index names."""
    return any(why.reason.startswith(f"{component.name}: ") for why in plan.why)


def denoiser(plan: ModelPlan, tree: CodeTree) -> str | None:
    """``file.py:Class`` of the one custom denoiser that the index names, if the source holds it.

    Raises:
        OmniportError: the index names its module, and the source has no such file; or the denoiser is a known class.
    """
    denoisers = [c for c in plan.components if c.role == "dit"]
    found = [c for c in denoisers if c.library not in LIBRARIES or _gap(plan, c)]
    if denoisers and not found:
        component = denoisers[0]
        raise OmniportError(
            f"{component.name}: {component.class_name} is a class of {component.library} itself; with code of its own "
            "only a denoiser of the repository's own is ported"
        )
    if len(found) != 1:
        return None
    component = found[0]
    for file in tree.files:
        module = component.library in LIBRARIES or file.parts[-1] == component.library
        if module and component.class_name in file.classes:
            return f"{file.path}:{component.class_name}"
    if component.library in LIBRARIES:
        return None
    raise OmniportError(
        f"{component.why.file}:{component.why.line}: {component.class_name} is in the module {component.library}, and "
        "the source has no such file with it; give the folder that holds it with --source DIR"
    )


def own(
    plan: ModelPlan, root: Path, tree: CodeTree, dependencies: tuple[Dependency, ...]
) -> tuple[tuple[Own, ...], tuple[Decision, ...]]:
    """The code of own components besides the denoiser, and what is left of them."""
    brought: list[Own] = []
    left: list[Decision] = []
    for component in plan.components:
        if component.library in LIBRARIES or component.role in ("absent", "dit") or not _gap(plan, component):
            continue
        file = next(
            (f for f in tree.files if f.parts[-1] == component.library and component.class_name in f.classes), None
        )
        if file is None:
            reason = f"{component.name}: the source has no {component.library}.py with {component.class_name}"
            left.append(todo("SUBMODEL", reason, Why(reason, component.why.file, component.why.line)))
            continue
        why = file.why(f"{component.class_name} is the {component.name}", file.classes[component.class_name])
        try:
            closure = cut(tree, file, component.class_name)
            text, _ = prepare("\n\n\n".join(piece.text for piece in closure.pieces) + "\n")
            plain, guarded = external.import_lines(closure.foreign, dependencies)
            code = "\n".join(["from __future__ import annotations", "", plain, guarded, "", text])
            check(code)
        except OmniportError as error:
            left.append(todo("SUBMODEL", f"{component.name}: {error}", why))
            continue
        above = notice(root, file.path).rstrip()
        origin = (f"{above}\n#\n" if above else "") + f"# From {file.path}: class {component.class_name}\n\n"
        brought.append(Own(component, origin + code))
        left.append(todo("COMPONENT", f"{component.class_name} in {component.name}.py", why))
    return tuple(brought), tuple(left)
