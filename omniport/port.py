"""From MODEL to a plan: the flow through the rooms that read, nothing else; `scaffold.py` writes what is planned."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omniport.beside import Beside
from omniport.errors import OmniportError, refusing
from omniport.plan.model import Decision, ModelPlan, PipelinePlan, PortPlan, TransformerPlan, Why
from omniport.records import dataclass

if TYPE_CHECKING:
    from omniport.analyse.demand import Demand
    from omniport.analyse.pipeline_components import Index
    from omniport.hub.repo import Repo
    from omniport.plan.custom import CustomPlan
    from omniport.source.normal import NormalForm
    from omniport.source.tree import SourceModule, SourceTree
    from omniport.target.features import TargetFeatures
    from omniport.target.tree import Target


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


def analyse(
    model: str,
    *,
    target: Target,
    source: Path | None = None,
    revision: str | None = None,
    offline: bool = False,
    name: str | None = None,
    beside: Beside | None = None,
    writing: bool = False,
) -> Analysis:
    """Everything that is decided about a port, with nothing written.

    With ``beside`` the pipeline is analysed there while the transformer is analysed here, and if it is to be written,
    too, that is begun as well.

    Raises:
        OmniportError: MODEL or the sources cannot be read, the path is none that is built yet, or a construct is not
            understood; the message names it.
    """
    from omniport.analyse.pipeline_forwards import cached_as_counted
    from omniport.analyse.stages import staged_features
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
        raise OmniportError(
            f"{model} takes {classified.path}: {reasons}. Get its own code and begin with "
            f"`{shlex.join(['omniport', 'plan', model, '--source'])} DIR`"
        )
    _require_configs(repo, classified)
    port_name = name or default_name(classified.pipeline_class)
    check_name(port_name)
    second = beside or Beside(alone=True)
    pipeline, denoiser, transformer = _both(tree, repo, classified, target, port_name, second, writing)
    config = config_keys(denoiser.component, denoiser.published, transformer.plan, tree.version)
    features = staged_features(transformer.plan.features, pipeline)
    complete = replace(transformer.plan, decisions=(*transformer.plan.decisions, *config), features=features)
    complete = cached_as_counted(complete, pipeline)
    plan = PortPlan(port_name, classified, complete, pipeline, todos=())
    return Analysis(plan, repo, tree, transformer.normal, transformer.header)


def plugin_target() -> Target:
    """:func:`installed_target`, which is read beside while what the analysis works with is imported here."""
    from omniport.target.tree import installed_target

    if "libcst" in sys.modules:
        return installed_target()
    with Beside() as beside:
        asked = beside.ask(installed_target)
        if asked.beside:
            import omniport.source.cst  # noqa: F401
        return asked.result()


@dataclass(frozen=True)
class _Denoiser:
    """The class that denoises, the folder that its config lies in ("" if none does), and that config."""

    class_name: str
    component: str
    published: Mapping[str, object]


def _denoiser(repo: Repo, model: ModelPlan) -> _Denoiser:
    class_name = _transformer_class(model)
    component = _component(model, class_name)
    return _Denoiser(class_name, component, repo.config(component) if component else {})


def _both(
    tree: SourceTree, repo: Repo, model: ModelPlan, target: Target, name: str, beside: Beside, writing: bool
) -> tuple[PipelinePlan, _Denoiser, TransformerAnalysis]:
    """The plan of the pipeline, its denoiser, and what is found out about that for what the pipeline asks of it.

    Beside the pipeline's analysis the transformer's is made for what the pipeline most likely asks, and made again if
    it asks for anything else.  What the pipeline is refused for is said first, as without a second process.
    """
    from omniport.ahead import steps
    from omniport.analyse.demand import demand_of

    asked = beside.ask(_plan_pipeline, tree, model.pipeline_class, repo.index, target.features, name)
    dits = [component.class_name for component in model.components if component.role == "dit"]
    if writing and dits:
        beside.meanwhile(*steps(tree, target.features, target.package, name, dits[0]))
    early = _foreseen(tree, repo, model) if asked.beside else None
    pipeline = asked.result()
    denoiser, demand = _denoiser(repo, model), demand_of(pipeline)
    if early is None or early[0] != demand:
        return pipeline, denoiser, analyse_transformer(tree, denoiser.class_name, denoiser.published, demand)
    if isinstance(early[1], OmniportError):
        raise early[1]
    return pipeline, denoiser, early[1]


def _plan_pipeline(
    tree: SourceTree, class_name: str, index: Index, features: TargetFeatures, name: str
) -> PipelinePlan:
    """:func:`analyse_pipeline`, imported where it is called."""
    from omniport.analyse.pipeline import analyse_pipeline

    return analyse_pipeline(tree, class_name, index, features, name=name)


def _foreseen(
    tree: SourceTree, repo: Repo, model: ModelPlan
) -> tuple[Demand, TransformerAnalysis | OmniportError] | None:
    """What the pipeline most likely asks of its denoiser, and the analysis of that or why there is none.

    None for a pipeline that runs no transformer: it is refused at once, and the analysis of a U-Net takes minutes.
    """
    from omniport.analyse.foreseen import foreseen_demand
    from omniport.analyse.pipeline_components import component_role

    try:
        denoiser = _denoiser(repo, model)
        module = tree.exported_class(denoiser.class_name, "models")
        names = [component.name for component in model.components if component.role == "dit"]
        if not any(component_role(name, f"{module.name}.{denoiser.class_name}") == "dit" for name in names):
            return None
        demand = foreseen_demand(tree, model.pipeline_class, names, module.class_def(denoiser.class_name))
    except OmniportError:
        return None
    try:
        return demand, analyse_transformer(tree, denoiser.class_name, denoiser.published, demand)
    except OmniportError as error:
        return demand, error


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
    return analyse_class(tree, tree.exported_class(class_name, "models"), class_name, config, demand)


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
    from omniport.analyse.normalise import normalise
    from omniport.analyse.parallel import plan_parallel
    from omniport.analyse.perturbed import perturbed
    from omniport.analyse.precision import plan_precision
    from omniport.source.header import header

    normal = normalise(tree, module, class_name, config, demand or NOTHING)
    parallel = plan_parallel(normal.form, tree)
    if demand is not None and demand.perturbed:
        parallel = perturbed(parallel, demand.perturbed)
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
        stages=parallel.stages,
    )
    return TransformerAnalysis(plan, normal.form, "\n".join(header(module.text)))


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


def _component(model: ModelPlan, class_name: str) -> str:
    """The denoiser's folder; its index may name an older class than the one that diffusers loads it as."""
    return next((c.name for c in model.components if c.role == "dit" and c.class_name == class_name), "")


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
    file = f"{component}/config.json"
    keys = {key for key in published if not key.startswith("_")}
    unknown = sorted(keys - set(transformer.parameters))
    written = published.get("_diffusers_version")
    if unknown and not _no_newer(written, version):
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


def _no_newer(written: object, version: str) -> bool:
    """Whether a config was written by this version or an older one."""
    from packaging.version import InvalidVersion, Version

    try:
        return isinstance(written, str) and Version(written) <= Version(version)
    except InvalidVersion:
        return False


def plan(
    model: str,
    *,
    source: Path | None = None,
    revision: str | None = None,
    offline: bool = False,
    into: Path | None = None,
) -> PortPlan:
    """The plan of a port of ``model`` for the tree ``into``, or for a plugin."""
    from omniport.target.tree import open_target

    target = open_target(into) if into else plugin_target()
    with Beside() as beside:
        found = analyse(model, target=target, source=source, revision=revision, offline=offline, beside=beside)
    return found.plan


def is_custom(model: str, source: Path) -> bool:
    """Whether ``source`` is a model's own code: a folder without diffusers, for a model that is no class of it."""
    from omniport.source.tree import SourceTree

    if model.startswith("diffusers:"):
        return False
    try:
        SourceTree.locate(source)
    except OmniportError:
        return source.is_dir()
    return False


def custom_plan(model: str, source: Path, backbone: str | None = None, media: str | None = None) -> CustomPlan:
    """The role report of the code at ``source``, which the weights of ``model`` are made for (Path B).

    Raises:
        OmniportError: the code cannot be read, ``backbone`` names no class of it, ``media`` has no such form, or
            ``model`` is a class of diffusers.
    """
    from omniport.custom import read_repository
    from omniport.hub.names import parse_model

    if parse_model(model).form == "diffusers":
        raise OmniportError(f"{model} is a class of diffusers; --source takes a diffusers checkout for it")
    return read_repository(source, backbone, media)
