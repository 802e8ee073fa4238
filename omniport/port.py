"""From MODEL to a plan, and from a plan to the files of a port: the flow through the rooms, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniport.errors import OmniportError, refusing
from omniport.plan.model import Decision, ModelPlan, PortPlan, TransformerPlan, Why

if TYPE_CHECKING:
    from omniport.analyse.demand import Demand
    from omniport.hub.repo import Repo
    from omniport.plan.custom import CustomPlan
    from omniport.source.normal import NormalForm
    from omniport.source.tree import SourceModule, SourceTree
    from omniport.target.tree import Target
    from omniport.target.write import FileChange, FileStatus


@dataclass(frozen=True)
class TransformerAnalysis:
    """The plan of a transformer, its normal form, and the copyright notice of its source."""

    plan: TransformerPlan
    normal: NormalForm
    header: str


@dataclass(frozen=True)
class Analysis:
    """A plan with the sources it was made from, which rewriting reads again."""

    plan: PortPlan
    repo: Repo
    source: SourceTree
    normal: NormalForm
    header: str  # copyright notice of the transformer's source


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
            lines += ["", f"not checked (not installed here): {', '.join(self.unchecked)}"]
        lines += [f"note: {note}" for note in self.notes]
        if self.dry_run:
            lines += ["", "dry run: nothing was written"]
        return "\n".join([*self.diffs, *lines])


@dataclass(frozen=True)
class Generated:
    """The files of a port as they shall be; ``packages`` are folders that imports are resolved against, too."""

    plan: PortPlan
    root: Path
    changes: tuple[FileChange, ...]
    packages: tuple[Path, ...]
    notes: tuple[str, ...]


def _places(plan: PortPlan) -> str:
    return ", ".join(dict.fromkeys(str(e.key) if not e.module else e.module for e in plan.transformer.sp))


def _reason(feature: Any) -> str:
    return f"not sharded: {feature.why.reason}" if feature else "not sharded"


def analyse(
    model: str,
    *,
    target: Target,
    source: Path | None = None,
    revision: str | None = None,
    offline: bool = False,
    name: str | None = None,
) -> Analysis:
    """Everything that is decided about a port, with nothing written.

    Raises:
        OmniportError: MODEL or the sources cannot be read, the path is none that is built yet, or a construct is not
            understood; the message names it.
    """
    from omniport.analyse.demand import demand_of
    from omniport.analyse.pipeline import analyse_pipeline
    from omniport.classify import classify
    from omniport.emit import default_name
    from omniport.emit.names import check_name
    from omniport.hub import open_model
    from omniport.source.tree import SourceTree

    tree = SourceTree.locate(source)
    repo = open_model(model, revision=revision, offline=offline, source=tree, require_index=False)
    classified = classify(repo, tree, target.registry)
    if classified.path in ("path B", "hybrid"):
        reasons = "; ".join(why.reason for why in classified.why)
        raise OmniportError(f"{model} takes {classified.path}, which is not built yet: {reasons}. {classified.follows}")
    _require_configs(repo, classified)
    port_name = name or default_name(classified.pipeline_class)
    check_name(port_name)
    pipeline = analyse_pipeline(tree, classified.pipeline_class, repo.index, target.features, name=port_name)
    class_name = _transformer_class(classified)
    component = _component(repo, class_name)
    published = repo.config(component) if component else {}
    transformer = analyse_transformer(tree, class_name, published, demand_of(pipeline))
    config = config_keys(component, published, transformer.plan, tree.version)
    complete = replace(transformer.plan, decisions=(*transformer.plan.decisions, *config))
    plan = PortPlan(port_name, classified, complete, pipeline, todos=())
    return Analysis(plan, repo, tree, transformer.normal, transformer.header)


@refusing("reading the transformer")
def analyse_transformer(
    tree: SourceTree,
    class_name: str,
    config: Mapping[str, object] | None = None,
    demand: Demand | None = None,
) -> TransformerAnalysis:
    """The plan of one transformer class of ``tree``, with the normal form it is rendered from.

    Args:
        tree: the reference package.
        class_name: the transformer class.
        config: the published config, whose values the port must serve.
        demand: what the pipeline asks of it beyond its call.

    Raises:
        OmniportError: there is no such class, or a construct of it is not understood.
    """
    return analyse_class(tree, tree.find_class(class_name, "models"), class_name, config, demand)


@refusing("reading the transformer")
def analyse_class(
    tree: SourceTree,
    module: SourceModule,
    class_name: str,
    config: Mapping[str, object] | None = None,
    demand: Demand | None = None,
) -> TransformerAnalysis:
    """As :func:`analyse_transformer`, for a class of ``module``."""
    from omniport.analyse.demand import NOTHING
    from omniport.analyse.normalise import header, normalise
    from omniport.analyse.parallel import plan_parallel
    from omniport.analyse.precision import plan_precision

    normal = normalise(tree, module, class_name, config, demand or NOTHING)
    parallel = plan_parallel(normal.form, tree)
    plan = TransformerPlan(
        class_name=class_name,
        module=module.name,
        parameters=normal.parameters,
        forward=normal.forward,
        dropped=normal.dropped,
        classes=normal.classes,
        linears=parallel.linears,
        attentions=parallel.attentions,
        weights=parallel.weights,
        sp=parallel.sp,
        blocks=parallel.blocks,
        features=parallel.features,
        decisions=(*normal.decisions, *parallel.decisions, *plan_precision(tree, module, normal.form)),
        region=parallel.region,
        slices=parallel.slices,
        convs=parallel.convs,
    )
    return TransformerAnalysis(plan, normal.form, "\n".join(header(module)))


def _transformer_class(model: ModelPlan) -> str:
    dits = [c for c in model.components if c.role == "dit"]
    if len({c.class_name for c in dits}) != 1:
        found = ", ".join(f"{c.name} ({c.class_name})" for c in dits) or "none"
        raise OmniportError(f"{model.pipeline_class}: expected denoising transformers of one class, found {found}")
    return dits[0].class_name


def _require_configs(repo: Repo, model: ModelPlan) -> None:
    """A model or scheduler is built from its config file; without it the repository is incomplete.

    Raises:
        OmniportError: such a file is missing; the message names it.
    """
    for component in model.components if repo.form != "diffusers" else ():
        built = component.role in ("dit", "vae", "encoder", "scheduler")
        if built and not repo.config_document(component.name).name:
            file = "scheduler_config.json" if component.role == "scheduler" else "config.json"
            raise OmniportError(
                f"{repo.model}: {component.name}/{file} is missing, and {component.class_name} is built from it"
            )


def _component(repo: Repo, class_name: str) -> str:
    return next((n for n, c in repo.index.components.items() if c is not None and c.class_name == class_name), "")


def config_keys(
    component: str, published: Mapping[str, object], transformer: TransformerPlan, version: str
) -> tuple[Decision, ...]:
    """Every key of the published config reaches the constructor, or the port would drop it silently.

    A key that the constructor lacks is one that the reference has given up, if its version is no older than the one
    that wrote the config; the reference ignores such keys, and so does vLLM-Omni.

    Args:
        component: the folder that the config lies in.
        published: the config.
        transformer: the plan.
        version: of the reference that the port is made from.

    Raises:
        OmniportError: a key that the constructor does not take, in a config that may be newer than the reference.
    """
    from packaging.version import InvalidVersion, Version

    file = f"{component}/config.json"
    keys = {key for key in published if not key.startswith("_")}
    unknown = sorted(keys - set(transformer.parameters))
    written = published.get("_diffusers_version")
    try:
        older = isinstance(written, str) and Version(written) <= Version(version)
    except InvalidVersion:
        older = False
    if unknown and not older:
        raise OmniportError(
            f"{file} has keys that {transformer.class_name} of this diffusers does not take: "
            f"{', '.join(unknown)}; use a newer diffusers with --source DIR"
        )
    why = Why("these keys of the published config are constructor parameters", file, 0)
    decisions = [Decision("config keys", len(keys) - len(unknown), why)]
    if unknown:
        reason = f"diffusers {written} wrote the config; the constructor of {version} takes no such key any more"
        decisions.append(Decision("ignored config keys", ", ".join(unknown), Why(reason, file, 0)))
    return tuple(decisions)


def plan(
    model: str,
    *,
    source: Path | None = None,
    revision: str | None = None,
    offline: bool = False,
    into: Path | None = None,
) -> PortPlan:
    """The plan of a port of ``model`` for the tree ``into``, or for a plugin."""
    from omniport.target.tree import installed_target, open_target

    target = open_target(into) if into else installed_target()
    return analyse(model, target=target, source=source, revision=revision, offline=offline).plan


def is_custom(source: Path) -> bool:
    """Whether ``source`` is a model's own code: a folder that holds no diffusers."""
    from omniport.source.tree import SourceTree

    try:
        SourceTree.locate(source)
    except OmniportError:
        return source.is_dir()
    return False


def custom_plan(model: str, source: Path, backbone: str | None = None) -> CustomPlan:
    """The role report of the code at ``source``, which the weights of ``model`` are made for (Path B).

    Raises:
        OmniportError: the code cannot be read, ``backbone`` names no class of it, or ``model`` is a class of diffusers.
    """
    from omniport.custom import read_repository
    from omniport.hub.names import parse_model

    if parse_model(model).form == "diffusers":
        raise OmniportError(f"{model} is a class of diffusers; --source takes a diffusers checkout for it")
    return read_repository(source, backbone)


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
        OmniportError: exit code 2, see :func:`analyse`; the target is none or cannot be written.
        FindingsError: files stand in the way that are not ours or were edited.
    """
    from omniport.target import write
    from omniport.target.tree import installed_target, open_target

    if into is not None and plugin is not None:
        raise OmniportError("--into and --plugin exclude each other: a port goes into a tree or becomes a package")
    target = open_target(into, writable=not dry_run) if into is not None else installed_target()
    found = analyse(model, target=target, source=source, revision=revision, offline=offline, name=name)
    made = generate(found, model, target=target, into=into is not None, root=plugin, force=force, dry_run=dry_run)
    prepared = write.prepare(made.root, made.changes, package=target.package, force=force, others=made.packages)
    files = prepared.files if dry_run else write.apply(prepared)
    unchecked = sorted({entry.name.split(".")[0] for entry in prepared.resolution.unchecked})
    return ScaffoldResult(
        plan=made.plan,
        root=made.root,
        files=files,
        unchecked=tuple(unchecked),
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
) -> Generated:
    """Every file of the port that ``found`` is of, rendered and not written.

    Args:
        model: MODEL as it was named.
        into: whether the port goes into the tree of ``target``; else it becomes a package.
        root: the folder of that package; the one of its name in the current folder if None.
        force: whether the registry row of a port that is not ours may be replaced.
        dry_run: whether nothing will be written, so that an earlier interrupted write is left as it is.

    Raises:
        OmniportError: the code cannot be rendered for this tree, or the name or the row is somebody else's.
    """
    from omniport import emit
    from omniport.rewrite.generation import older_pipeline, older_plan, older_transformer
    from omniport.rewrite.pipeline.module import render_pipeline
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
    transformer = render_transformer(
        found.normal,
        port.transformer,
        header=found.header,
        attributes=port.pipeline.transformer_attributes,
        separate_cfg=port.pipeline.dispatched,
        qk_rope=target.features.qk_rope,
    )
    transformer, of_transformer = older_transformer(transformer, target.features)
    pipeline, of_pipeline = older_pipeline(render_pipeline(found.source, port, target.features), target.features)
    style: list[Any] = []
    said: list[str] = []
    changes = emit.port_files(
        port,
        transformer,
        pipeline,
        target,
        plugin=not into,
        force=force,
        notes=style,
        model_id=inputs["checkpoint"],
        said=said,
    )
    known = {n: found.repo.config(n) for n, c in found.repo.index.components.items() if c is not None}
    changes += emit.record_files(
        port, changes, root, plugin=not into, inputs=inputs, model_index=found.repo.index.data, configs=known
    )
    notes = (*left_out, *of_transformer, *of_pipeline, *said)
    return Generated(
        plan=port,
        root=root,
        changes=tuple(changes),
        packages=(found.source.root, *([root / "tests"] if into and (root / "tests").is_dir() else [])),
        notes=(*notes, *(f"{f.path}:{f.line}: {f.code} {f.message}" for f in style)),
    )


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
