"""The text of ``pipeline_<name>.py``: imports, post-process function, class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.plan.model import PipelinePlan, PortPlan
from omniport.rewrite.pipeline import access, facts
from omniport.rewrite.pipeline.blocks import Statement, indented, parse, suite
from omniport.rewrite.pipeline.docs import statement, summary, trim
from omniport.rewrite.pipeline.forward import forward
from omniport.rewrite.pipeline.imports import import_lines
from omniport.rewrite.pipeline.init import component_roles, constructor
from omniport.rewrite.pipeline.loop import split_loop
from omniport.rewrite.pipeline.normal import ENTRY, NormalClass, normalise, parameter_names
from omniport.rewrite.pipeline.post import find_postprocess, post_process
from omniport.rewrite.pipeline.strings import wrap_lines
from omniport.source.tree import SourceModule, SourceTree

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures


_LOAD_WEIGHTS = '''
def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
    """Load the weights of the denoiser and return the names of the parameters that were filled."""
    return AutoWeightsLoader(self).load_weights(weights)
'''

_PAIR = '''
def combine_cfg_noise(self, positive_noise_pred, negative_noise_pred, true_cfg_scale, cfg_normalize=False, **kwargs):
    """Hand both predictions back: the loop combines them in the model's own way."""
    return positive_noise_pred[0], negative_noise_pred[0]
'''


def render_pipeline(source: SourceTree, plan: PortPlan, features: TargetFeatures, *, header: str | None = None) -> str:
    """The text of the port's pipeline module, for emit to format.

    Args:
        source: the tree that ``plan`` was made from.
        header: comment lines at the top; None takes the reference's own.

    Raises:
        UnsupportedError: something left in the class has no counterpart in the port.
    """
    pipeline = plan.pipeline
    module = source.module(pipeline.module)
    if module is None:
        raise UnsupportedError(f"module {pipeline.module} is not in {source.package} {source.version}")
    normal = normalise(
        module.text, module.file, pipeline.class_name, facts.request(pipeline.dropped, pipeline.decisions)
    )
    methods, post = _methods(normal, pipeline, plan.transformer.class_name, features, module)
    class_text = cst.Module([]).code_for_node(_class(normal, pipeline, features, methods))
    body = f"{post}\n\n{class_text}" if post else class_text
    local = f".{plan.name}_transformer"
    classes = {c.rsplit(".", 1)[1]: c.rsplit(".", 1)[0] for c, role in component_roles(pipeline).values()}
    classes[plan.transformer.class_name] = local
    imports = import_lines(body, module, source, classes)
    head = _header(module) if header is None else header
    return wrap_lines(f"{head.rstrip()}\n\n{imports}\n\n{body.strip()}\n")


def _header(module: SourceModule) -> str:
    lines = []
    for line in module.text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line)
    return "\n".join(lines)


def _methods(
    normal: NormalClass, plan: PipelinePlan, transformer: str, features: TargetFeatures, module: SourceModule
) -> tuple[list[cst.FunctionDef], str]:
    entry, diffuse = split_loop(normal.entry, plan)
    found = find_postprocess(suite(entry.body))
    post = ""
    if plan.post_process is not None and found is not None:
        post = post_process(plan, normal.methods["__init__"], found[1], module.file)
    last = [*forward(entry, plan, found[0] if found else None)]
    combine = facts.decision(plan.decisions, "guidance combine")
    extra = parse(_PAIR) if combine is not None and combine.value == "own" else []
    helpers = [
        trim(node, parameter_names(node)) for name, node in normal.methods.items() if name not in (ENTRY, "__init__")
    ]
    methods = [access.rename(m) for m in [*helpers, *_functions(extra), diffuse, *last]]
    init = access.rename(constructor(normal.methods["__init__"], plan, transformer, features, methods))
    return [init, *methods, *_functions(parse(_LOAD_WEIGHTS))], post


def _functions(block: list[Statement]) -> list[cst.FunctionDef]:
    return [s for s in block if isinstance(s, cst.FunctionDef)]


def _class(
    normal: NormalClass, plan: PipelinePlan, features: TargetFeatures, methods: list[cst.FunctionDef]
) -> cst.ClassDef:
    guided = plan.cfg == "sequential"
    bases = ["nn.Module", *(["CFGParallelMixin"] if guided else [])]
    bases += ["ProgressBarMixin"] if features.progress_bar else []
    bases += ["DiffusionPipelineProfilerMixin"] if features.profiler else []
    bases += [features.component_protocol] if features.component_protocol else []
    node = parse(f"class {plan.class_name}({', '.join(bases)}):\n    pass\n")[0]
    assert isinstance(node, cst.ClassDef)
    doc = summary(normal.doc)
    body: list[Statement] = [statement(doc, 4)] if doc else []
    body += parse(_attributes(plan, features))
    for method in methods:
        body.append(method.with_changes(leading_lines=[cst.EmptyLine(indent=False)]))
    return node.with_changes(body=indented(body))


def _attributes(plan: PipelinePlan, features: TargetFeatures) -> str:
    roles = component_roles(plan)
    batch = facts.decision(plan.decisions, "request batch")
    text = "\nsupports_request_batch = True\n" if batch is not None and batch.value else ""
    by_role = {role: [n for n, (_, r) in roles.items() if r == role] for role in ("dit", "encoder", "vae")}
    text += "\n"
    for role, names in by_role.items():
        text += f"_{role}_modules: ClassVar[list[str]] = {names!r}\n"
    if features.profiler:
        targets = [f"{n}.forward" for n in by_role["encoder"]] + ["diffuse", "vae.decode"]
        text += f"_PROFILER_TARGETS: ClassVar[list[str]] = {targets!r}\n"
    return text.replace("'", '"')
