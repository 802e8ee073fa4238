"""The text of ``pipeline_<name>.py``: imports, post-process function, class."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import libcst as cst

from omniport.analyse.pipeline_components import component_roles, settings
from omniport.analyse.pipeline_output import Processed, find_output, find_processed
from omniport.errors import UnsupportedError, refusing
from omniport.plan.model import PipelinePlan, PortPlan
from omniport.plan.subjects import STAYS
from omniport.rewrite.pipeline import access, facts
from omniport.rewrite.pipeline.aliases import without_aliases
from omniport.rewrite.pipeline.annotations import with_whole_annotations
from omniport.rewrite.pipeline.blank_lines import without_idle_blanks
from omniport.rewrite.pipeline.blocks import Statement, indented, parse
from omniport.rewrite.pipeline.caught import without_lost_results
from omniport.rewrite.pipeline.common import without_common_lines
from omniport.rewrite.pipeline.comparisons import plain_comparisons
from omniport.rewrite.pipeline.copies import without_copies
from omniport.rewrite.pipeline.denoiser import Denoisers
from omniport.rewrite.pipeline.devices import on_own_device
from omniport.rewrite.pipeline.docs import statement, summary, trim
from omniport.rewrite.pipeline.doubled import without_doubled_remarks
from omniport.rewrite.pipeline.filled import with_numbers_filled
from omniport.rewrite.pipeline.forward import forward
from omniport.rewrite.pipeline.guidance import guided, split
from omniport.rewrite.pipeline.host_comparisons import with_times_compared_once
from omniport.rewrite.pipeline.host_times import with_times_read_once
from omniport.rewrite.pipeline.idle_checks import without_idle_checks
from omniport.rewrite.pipeline.idle_texts import without_idle_texts
from omniport.rewrite.pipeline.imports import import_lines
from omniport.rewrite.pipeline.init import constructor
from omniport.rewrite.pipeline.inner_literals import with_literals_cut
from omniport.rewrite.pipeline.loop import split_loop
from omniport.rewrite.pipeline.modes import without_modes
from omniport.rewrite.pipeline.normal import ENTRY, NormalClass, normalise, parameter_names
from omniport.rewrite.pipeline.parameter_types import with_parameter_types
from omniport.rewrite.pipeline.post import post_process
from omniport.rewrite.pipeline.prepared import prepared
from omniport.rewrite.pipeline.remarks import without_remarks
from omniport.rewrite.pipeline.returned import with_values_returned
from omniport.rewrite.pipeline.sections import numbered_anew
from omniport.rewrite.pipeline.seeded import with_seed_restored
from omniport.rewrite.pipeline.single import without_single_joins
from omniport.rewrite.pipeline.step_times import with_times_kept
from omniport.rewrite.pipeline.strings import wrap_lines
from omniport.rewrite.pipeline.truncation import tokenised_once
from omniport.rewrite.pipeline.unread_attributes import without_unread_attributes
from omniport.rewrite.pipeline.unread_parts import with_unread_parts
from omniport.rewrite.pipeline.walk import calls
from omniport.source.header import header as comment_at_top
from omniport.source.syntax import code
from omniport.source.tree import SourceModule, SourceTree

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures

#: roles of the components that compute, besides the denoisers
_MODELS = ("encoder", "vae", "other")

_LOAD_WEIGHTS = '''
def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
    """Load the weights of the denoiser and return the names of the parameters that were filled."""
    return AutoWeightsLoader(self).load_weights(weights)
'''

_LOAD_DIRECTLY = '''
def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
    """Load the weights of the denoiser and return the names of the parameters that were filled."""
    # AutoWeightsLoader drops every {buffer}, which this denoiser takes from the checkpoint.
    own = ((name.removeprefix("{denoiser}."), weight) for name, weight in weights)
    return {{f"{denoiser}.{{name}}" for name in self.{denoiser}.load_weights(own)}}
'''

_PAIR = '''
def combine_cfg_noise(
    self,
    positive_noise_pred: torch.Tensor | tuple[torch.Tensor, ...],
    negative_noise_pred: torch.Tensor | tuple[torch.Tensor, ...],
    true_cfg_scale: float,
    cfg_normalize: bool = False,
    **kwargs: Any,
) -> {result}:
    """Hand both predictions back: the loop combines them in the model's own way."""
    return {positive}, {negative}
'''

_BRANCHES = '''
def combine_multi_branch_cfg_noise(
    self,
    predictions: list[torch.Tensor | tuple[torch.Tensor, ...]],
    true_cfg_scale: float | dict[str, float],
    cfg_normalize: bool = False,
) -> list[torch.Tensor | tuple[torch.Tensor, ...]]:
    """Hand all predictions back: the guider combines them."""
    return predictions
'''

_PREDICT = '''
def predict_noise(self, {model}**kwargs: Any) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """{doc}"""
    return {denoiser}(**kwargs){first}
'''

_PREDICT_LISTS = '''
def predict_noise(self, {model}**kwargs: Any) -> tuple[torch.Tensor, ...]:
    """Run the denoiser and return the tensors of all its lists in one tuple, which is what ranks exchange."""
    predictions = {denoiser}(**kwargs)
    self._list_lengths = [None if found is None else len(found) for found in predictions]
    return tuple(tensor for found in predictions if found is not None for tensor in found)

def _in_lists(self, tensors: tuple[torch.Tensor, ...]) -> list[list[torch.Tensor] | None]:
    """The tensors that predict_noise returned, in the lists of the denoiser: the same for both predictions."""
    rest = iter(tensors)
    return [None if length is None else [next(rest) for _ in range(length)] for length in self._list_lengths]
'''


@refusing("writing the pipeline")
def render_pipeline(source: SourceTree, plan: PortPlan, features: TargetFeatures, *, header: str | None = None) -> str:
    """The text of the port's pipeline module, for emit to format.

    Args:
        source: the tree that ``plan`` was made from.
        header: comment lines at the top; None takes the reference's own.

    Raises:
        UnsupportedError: something left in the class has no counterpart in the port.
    """
    return pipeline_text(
        source, plan.pipeline, plan.name, plan.transformer.class_name, features, staged=plan.staged, header=header
    )


def pipeline_text(
    source: SourceTree,
    pipeline: PipelinePlan,
    name: str,
    transformer: str,
    features: TargetFeatures,
    *,
    staged: bool,
    header: str | None = None,
) -> str:
    """:func:`render_pipeline` from what it reads of a plan: of the transformer that is little.

    Args:
        name: of the port.
        transformer: the transformer's class.
        staged: whether stages share its blocks.
    """
    module = source.module(pipeline.module)
    if module is None:
        raise UnsupportedError(f"module {pipeline.module} is not in {source.package} {source.version}")
    normal = normalise(module, pipeline.class_name, facts.request(pipeline.dropped, pipeline.decisions))
    methods, post = _methods(normal, pipeline, transformer, features, source, module)
    class_text = code(_class(normal, pipeline, features, methods, staged))
    body = without_remarks(without_doubled_remarks(f"{post}\n\n{class_text}" if post else class_text))
    body = without_idle_blanks(numbered_anew(body.strip())) + "\n"
    tree = ast.parse(body)
    if (cut := with_literals_cut(body, tree)) != body:
        body, tree = cut, ast.parse(cut)
    local = f".{name}_transformer"
    classes = {c.rsplit(".", 1)[1]: c.rsplit(".", 1)[0] for c, role in component_roles(pipeline.decisions).values()}
    classes[transformer] = local
    imports = import_lines(tree, module, source, classes)
    head = "\n".join(comment_at_top(module.text)) if header is None else header
    return wrap_lines(f"{head.rstrip()}\n\n{imports}\n\n") + wrap_lines(body, tree)


def _methods(
    normal: NormalClass,
    plan: PipelinePlan,
    transformer: str,
    features: TargetFeatures,
    source: SourceTree,
    module: SourceModule,
) -> tuple[list[cst.FunctionDef], str]:
    denoisers = _denoisers(plan)
    others = {n: m for n, m in normal.methods.items() if n not in (ENTRY, "__init__")}
    entry = prepared(normal.entry, denoisers)
    if plan.cfg == "batched":
        entry = split(entry, tuple(others.values()), denoisers, (module.file, _line(plan, "guidance guard")))
    if plan.cfg != "whole":
        entry = guided(entry, denoisers).entry
    entry, diffuse = split_loop(entry, plan, denoisers)
    diffuse = with_numbers_filled(diffuse)
    output = find_output(entry, module.file, 0)
    found = find_processed(entry, output)
    post = ""
    processed = found if plan.post_process is not None and isinstance(found, Processed) else None
    if processed is not None:
        post = post_process(plan, normal.methods["__init__"], processed, output, source, module)
    last = forward(entry, plan, output, processed)
    helpers = [trim(node, parameter_names(node)) for node in others.values()]
    known = set(settings(plan.decisions))
    methods = [*helpers, *_functions(parse(guidance_methods(plan))), diffuse, *last]
    raw = {facts.name_of(d) for d in facts.of_kind(plan.decisions, facts.RAW)}
    models = {f"self.{name}" for name, (_, role) in component_roles(plan.decisions).items() if role in _MODELS}
    methods = [access.rename(m, denoisers.attributes, known, raw, models) for m in methods]
    methods = [without_aliases(without_common_lines(with_whole_annotations(with_seed_restored(m)))) for m in methods]
    components = [name for name, (_, role) in component_roles(plan.decisions).items() if role != "dit"]
    methods = [without_copies(without_lost_results(without_idle_texts(m))) for m in methods]
    methods = [without_modes(m, components) for m in methods]
    init = constructor(normal.methods["__init__"], plan, transformer, features, methods)
    init = access.rename(init, denoisers.attributes, known, raw)
    owners = ("self", plan.class_name)
    init = without_unread_attributes([init, *methods], component_roles(plan.decisions), owners)[0]
    read = with_times_compared_once(with_times_read_once(with_times_kept(methods)))
    methods = [
        tokenised_once(without_single_joins(plain_comparisons(m))) for m in without_idle_checks(read, plan.arguments)
    ]
    methods = with_parameter_types(on_own_device([init, *methods], plan.class_name))
    methods = [with_values_returned(with_unread_parts(m)) for m in methods]
    return [*methods, *_functions(parse(_load_weights(plan)))], post


def _load_weights(plan: PipelinePlan) -> str:
    kept = facts.decision(plan.decisions, "weights kept")
    if kept is None:
        return _LOAD_WEIGHTS
    (denoiser,) = (n for n, (_, role) in component_roles(plan.decisions).items() if role == "dit")
    return _LOAD_DIRECTLY.format(buffer=kept.value, denoiser=denoiser)


def _line(plan: PipelinePlan, subject: str) -> int:
    found = facts.decision(plan.decisions, subject)
    return found.why.line if found is not None else 0


def _denoisers(plan: PipelinePlan) -> Denoisers:
    found = facts.of_kind(plan.decisions, "denoiser")
    models = [(facts.name_of(d), tuple(str(d.value).split(", "))) for d in found if d.subject.split()[1][:5] == "self."]
    result = facts.decision(plan.decisions, "denoiser result")
    kind = result.value if result is not None else "tuple"
    return Denoisers(tuple(models), bare=kind == "tensor", lists=kind == "lists")


def guidance_methods(plan: PipelinePlan) -> str:
    """What the guidance mixin needs to be told: how a denoiser is called, and to hand both predictions back."""
    if plan.cfg == "branches":
        return _BRANCHES
    combine = facts.decision(plan.decisions, "guidance combine")
    if combine is None:
        return ""
    form = facts.decision(plan.decisions, "prediction")
    whole = form is not None and form.value == "whole"
    listed = form is not None and form.value == "list"
    model = facts.decision(plan.decisions, "denoiser argument") is not None
    text = ""
    bare = form is not None and form.value == "bare"
    lists = form is not None and form.value == "lists"
    if lists:
        text = _PREDICT_LISTS.format(
            model="model: nn.Module, " if model else "", denoiser="model" if model else "self.transformer"
        )
    elif whole or model or listed or bare:
        doc = "Run the denoiser that the round chose." if model else "Run the denoiser and return all that it predicts."
        start = facts.decision(plan.decisions, "prediction start")
        text = _PREDICT.format(
            model=f"{'model: nn.Module, ' if model else ''}{f'{start.value}: int = 0, ' if start else ''}",
            doc=f"{doc[:-1]}, and keep its tokens from ``{start.value}`` on." if start else doc,
            denoiser="model" if model else "self.transformer",
            first="" if whole or bare else f"[0][:, {start.value}:]" if start else "[0]",
        )
    if listed:
        text = text.replace("return self.transformer(**kwargs)[0]", "return tuple(self.transformer(**kwargs)[0])")
        text = text.replace("return all that it predicts", "return one tensor for each sample")
    together = facts.decision(plan.decisions, "predictions together") is not None
    if together or facts.decision(plan.decisions, "predictions apart") is not None:
        text += _BRANCHES.replace("the guider combines them", "the loop combines them in the model's own way")
    if combine.value == "own" and not together:
        several = whole or listed or lists
        text += _PAIR.format(
            positive=f"positive_noise_pred{'' if several else '[0]'}",
            negative=f"negative_noise_pred{'' if several else '[0]'}",
            result="tuple[Any, Any]" if several else "tuple[torch.Tensor, torch.Tensor]",
        )
    return text


def _functions(block: list[Statement]) -> list[cst.FunctionDef]:
    return [s for s in block if isinstance(s, cst.FunctionDef)]


def _class(
    normal: NormalClass, plan: PipelinePlan, features: TargetFeatures, methods: list[cst.FunctionDef], staged: bool
) -> cst.ClassDef:
    bases = ["nn.Module", *(["PipelineParallelMixin"] if staged and features.pipeline_parallel else [])]
    bases += ["CFGParallelMixin"] if plan.dispatched else []
    bases += ["ProgressBarMixin"] if features.progress_bar else []
    bases += ["DiffusionPipelineProfilerMixin"] if features.profiler else []
    bases += [features.component_protocol] if features.component_protocol else []
    media = _media(plan)
    bases += ["SupportImageInput"] if "image" in media else []
    bases += ["SupportAudioInput"] if "audio" in media else []
    bases += ["SupportAudioOutput"] if plan.output == "audio" else []
    node = parse(f"class {plan.class_name}({', '.join(bases)}):\n    pass\n")[0]
    assert isinstance(node, cst.ClassDef)
    doc = summary(normal.doc)
    body: list[Statement] = [statement(doc, 4)] if doc else []
    body += [*normal.variables, *parse(_attributes(plan, features, methods))]
    for method in methods:
        body.append(method.with_changes(leading_lines=[cst.EmptyLine(indent=False)]))
    return node.with_changes(body=indented(body))


def _media(plan: PipelinePlan) -> list[str]:
    """Keys of the media that a request brings along."""
    found = facts.decision(plan.decisions, "media")
    return str(found.value).split(", ") if found is not None else []


def _attributes(plan: PipelinePlan, features: TargetFeatures, methods: list[cst.FunctionDef]) -> str:
    roles = component_roles(plan.decisions)
    staying = {facts.name_of(d) for d in facts.of_kind(plan.decisions, STAYS)}
    batch = facts.decision(plan.decisions, "request batch")
    text = "\nsupports_request_batch = True\n" if batch is not None and batch.value else ""
    by_role = {role: [n for n, (_, r) in roles.items() if r == role] for role in ("dit", "encoder", "vae")}
    if {"image", "audio"} & set(_media(plan)):
        text += "".join(f"support_{kind}_input = True\n" for kind in ("image", "audio") if kind in _media(plan))
    if plan.output == "audio":
        text += "support_audio_output = True\n"
    cold = facts.decision(plan.decisions, "warm-up")
    if cold is not None:
        text += f"dummy_run_num_frames = 0  # {cold.why.reason}\n"
    text += "\n"
    for role, names in by_role.items():
        text += f"_{role}_modules: ClassVar[list[str]] = {[n for n in names if n not in staying]!r}\n"
    if staying and features.resident_modules:
        text += f"_resident_modules: ClassVar[list[str]] = {[n for n in roles if n in staying]!r}\n"
    if features.profiler:
        decoders = [n for n, (_, role) in roles.items() if role in ("vae", "other")]
        targets = [f"{n}.forward" for n in by_role["encoder"]] + ["diffuse"]
        targets += [f"{n}.decode" for n in decoders if any(calls(m, f"self.{n}.decode") for m in methods)]
        text += f"_PROFILER_TARGETS: ClassVar[list[str]] = {targets!r}\n"
    return text.replace("'", '"')
