"""From a plan to the files of a port: rendered, parsed and resolved first, then all of them are written or none."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniport.beside import Answer, Beside
from omniport.errors import OmniportError
from omniport.plan.model import PortPlan
from omniport.plan.todos import blocks, counted
from omniport.records import dataclass

if TYPE_CHECKING:
    from omniport.port import Analysis
    from omniport.target.tree import Target
    from omniport.target.write import Checked, FileChange, FileStatus


@dataclass(frozen=True)
class ScaffoldResult:
    """What scaffolding did, or with ``dry_run`` would do."""

    plan: PortPlan
    root: Path
    files: tuple[FileStatus, ...]
    unchecked: tuple[str, ...]  # imports of packages that are not installed here
    notes: tuple[str, ...]
    dry_run: bool
    diffs: tuple[str, ...]

    def to_data(self) -> dict[str, Any]:
        return {
            "name": self.plan.name,
            "root": str(self.root),
            "dry_run": self.dry_run,
            "path": self.plan.model.path,
            "files": [
                {"path": f.path, "verb": f.verb, **({"reason": f.reason} if f.reason else {})} for f in self.files
            ],
            "unchecked_imports": list(self.unchecked),
            "notes": list(self.notes),
            "todos": [todo.subject for todo in self.plan.todos],
        }

    def text(self) -> str:
        plan = self.plan
        sharded = [linear for linear in plan.transformer.linears if linear.role != "replicated"]
        sp = next((f for f in plan.transformer.features if f.name == "sequence parallelism"), None)
        lines = [
            f"{plan.model.pipeline_class} ({plan.model.path}) from {plan.model.source}",
            f"  transformer  {plan.transformer.class_name}: {len(plan.transformer.classes)} classes, "
            f"{len(sharded)} of {len(plan.transformer.linears)} linears sharded",
            f"  sequence     {'sharded at ' + _places(plan) if plan.transformer.sp else _reason(sp)}",
            f"  guidance     {plan.pipeline.cfg}",
            f"  open TODOs   {len(plan.todos)}",
            "",
            *(f"{f.verb:>9}  {f.path}{'  (' + f.reason + ')' if f.reason else ''}" for f in self.files),
        ]
        if self.unchecked:
            lines += ["", f"imports not checked, since these are not installed here: {', '.join(self.unchecked)}"]
        lines += [f"note: {note}" for note in self.notes]
        if plan.todos:
            ids = ", ".join(dict.fromkeys(todo.subject for todo in plan.todos))
            lines += ["", f"{counted(len(plan.todos), sum(blocks(todo.subject) for todo in plan.todos))}: {ids}"]
        lines += ["", "dry run: nothing was written" if self.dry_run else f"next: {self._next()}"]
        return "\n".join([*self.diffs, *lines])

    def _next(self) -> str:
        """The commands that come next, ready to be typed."""
        model = next((f.path for f in self.files if f.path.endswith("_transformer.py")), "")
        folder = (self.root / model).parent if model else self.root
        check = shlex.join(["omniport", "check", str(folder)])
        return f"{check} && {shlex.join(['omniport', 'verify', str(self.root), '--name', self.plan.name])}"


@dataclass(frozen=True)
class Generated:
    """The files of a port as they shall be; ``packages`` are folders that imports are resolved against, too.

    ``checked`` is where that is under way already.
    """

    plan: PortPlan
    root: Path
    changes: tuple[FileChange, ...]
    packages: tuple[Path, ...]
    notes: tuple[str, ...]
    checked: Answer[Checked] | None = None


def _places(plan: PortPlan) -> str:
    return ", ".join(dict.fromkeys(str(e.key) if not e.module else e.module for e in plan.transformer.sp))


def _reason(feature: Any) -> str:
    return f"not sharded: {feature.why.reason}" if feature else "not sharded"


def scaffold(
    model: str,
    *,
    into: Path | None,
    plugin: Path | None,
    name: str | None = None,
    revision: str | None = None,
    source: Path | None = None,
    dry_run: bool = False,
    diff: bool = False,
    force: bool = False,
    offline: bool = False,
) -> ScaffoldResult:
    """Port ``model`` into the tree ``into``, or into a package of its own at ``plugin``.

    Without either the package goes to a folder of its name in the current one.

    Everything is rendered, parsed and resolved before the first file is written; all files are written or none.

    Raises:
        OmniportError: exit code 2, see :func:`omniport.port.analyse`; the target is none or cannot be written.
        FindingsError: files stand in the way that are not ours or were edited.
    """
    from omniport.port import analyse, plugin_target
    from omniport.target.tree import open_target

    if into is not None and plugin is not None:
        raise OmniportError("--into and --plugin exclude each other: a port goes into a tree or becomes a package")
    target = open_target(into, writable=not dry_run) if into is not None else plugin_target()
    tree = into is not None
    with Beside() as beside:
        found = analyse(
            model,
            target=target,
            source=source,
            revision=revision,
            offline=offline,
            name=name,
            beside=beside,
            writing=True,
        )
        made = generate(
            found, model, target=target, into=tree, root=plugin, force=force, dry_run=dry_run, beside=beside
        )
        return put(made, target, force=force, dry_run=dry_run, diff=diff)


def put(made: Generated, target: Target, *, force: bool, dry_run: bool, diff: bool) -> ScaffoldResult:
    """Resolve the imports of what was made, and write all of it or, with ``dry_run``, nothing.

    Raises:
        OmniportError: a file does not parse, an import resolves to nothing, or the target cannot be written.
        FindingsError: files stand in the way that are not ours or were edited.
    """
    from omniport.target import write

    prepared = write.prepare(
        made.root, made.changes, package=target.package, force=force, others=made.packages, checked=made.checked
    )
    files = prepared.files if dry_run else write.apply(prepared)
    return ScaffoldResult(
        plan=made.plan,
        root=made.root,
        files=files,
        unchecked=tuple(sorted({entry.name.split(".")[0] for entry in prepared.resolution.unchecked})),
        notes=made.notes,
        dry_run=dry_run,
        diffs=tuple(write.diff(f) for f in files if f.verb != "identical") if diff else (),
    )


def generate(
    found: Analysis,
    model: str,
    *,
    target: Target,
    into: bool,
    root: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    beside: Beside | None = None,
) -> Generated:
    """Every file of the port that ``found`` is of, rendered and not written.

    Args:
        model: MODEL as it was named.
        into: whether the port goes into the tree of ``target``; else it becomes a package.
        root: the folder of that package; the one of its name in the current folder if None.
        force: whether the registry row of a port that is not ours may be replaced.
        dry_run: whether nothing will be written, so that an earlier interrupted write is left as it is.
        beside: where the pipeline is rendered while the transformer is rendered here, then
            templates are filled and imports resolved.

    Raises:
        OmniportError: the code cannot be rendered for this tree, or the name or the row is somebody else's.
    """
    from omniport import ahead, emit
    from omniport.proven import proven_features
    from omniport.rewrite.generation import older_pipeline, older_plan, older_transformer
    from omniport.rewrite.transformer import render_transformer
    from omniport.target import journal, write

    inputs = _inputs(found, target, model)
    if into and target.root is not None:
        root = target.root
    else:
        root = root if root is not None else Path(emit.package_name(found.plan.name))
        if not dry_run:
            write.require_writable(root)
            journal.recover(root)
    port, left_out = older_plan(_as_first_classified(found.plan, root, inputs), target.features)
    asked = (beside or Beside(alone=True)).ask(ahead.render_pipeline, found.source, port, target.features)
    transformer = render_transformer(
        found.normal,
        port.transformer,
        header=found.header,
        attributes=port.pipeline.transformer_attributes,
        separate_cfg=port.pipeline.separate_cfg,
        features=target.features,
        stages=port.staged,
    )
    transformer, of_transformer = older_transformer(transformer, target.features)
    pipeline, of_pipeline = older_pipeline(asked.result(), target.features)
    style: list[Any] = []
    said: list[str] = []
    known = {n: found.repo.config(n) for n, c in found.repo.index.components.items() if c is not None}
    changes = emit.port_files(
        port,
        transformer,
        pipeline,
        target,
        plugin=not into,
        force=force,
        notes=style,
        model_id=inputs["checkpoint"],
        config=_published(port, known),
        said=said,
        proven=proven_features,
        beside=beside,
    )
    packages = (found.source.root, *([root / "tests"] if into and (root / "tests").is_dir() else []))
    checked = write.begin_check(changes, package=target.package, others=packages, beside=beside) if beside else None
    changes += emit.record_files(
        port, changes, root, plugin=not into, inputs=inputs, model_index=found.repo.index.data, configs=known
    )
    notes = (*left_out, *of_transformer, *of_pipeline, *said)
    return Generated(
        plan=port,
        root=root,
        changes=tuple(changes),
        packages=packages,
        checked=checked,
        notes=(*notes, *(f"{f.path}:{f.line}: {f.code} {f.message}" for f in style)),
    )


def _published(plan: PortPlan, configs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The values of the transformer's constructor that the model publishes; none if only a class was named."""
    if plan.model.form == "diffusers":
        return {}
    name = next((c.name for c in plan.model.components if c.class_name == plan.transformer.class_name), "")
    return {key: value for key, value in configs.get(name, {}).items() if key in plan.transformer.parameters}


def _as_first_classified(plan: PortPlan, root: Path, inputs: dict[str, Any]) -> PortPlan:
    """The plan with the classification of the run that first wrote the port.

    Writing a port changes the registry that classification reads; a second run must not see its own row as evidence.
    """
    from omniport.target import manifest

    known = manifest.find(root).get(plan.name)
    if known is None:
        return plan
    try:
        first = known.port_plan().model
    except ValueError:  # another version of omniport recorded its plans differently
        return plan
    if known.inputs == inputs:
        return replace(plan, model=first)
    return replace(plan, model=replace(plan.model, path=first.path, why=first.why, follows=first.follows))


def _model_id(found: Analysis) -> str:
    """The id of a published checkpoint: the model itself, or the one in the reference's example."""
    from omniport.emit.example_id import example_id

    model = found.plan.model
    if model.form == "hub":
        return model.model
    module = found.source.module(found.plan.pipeline.module)
    return example_id(module.text, found.plan.pipeline.class_name) if module and model.form == "diffusers" else ""


def _inputs(found: Analysis, target: Target, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "form": found.repo.form,
        "revision": found.repo.revision,
        "diffusers": found.source.version,
        "vllm_omni": target.version,
        "checkpoint": _model_id(found),
        "options": {"name": found.plan.name},
    }
