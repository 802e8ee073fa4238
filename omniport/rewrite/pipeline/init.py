"""The constructor: components loaded one by one, the other statements of the reference kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.analyse.pipeline_components import component_roles, settings
from omniport.plan.model import Decision, PipelinePlan
from omniport.rewrite.pipeline.blocks import Block, Statement, changed, indented, parse, reads, statements, suite
from omniport.rewrite.pipeline.docs import docstring
from omniport.rewrite.pipeline.facts import MADE, decision, name_of, of_kind
from omniport.rewrite.pipeline.rename import replace_names
from omniport.rewrite.pipeline.walk import attributes, calls
from omniport.source.syntax import code, dotted

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures


def constructor(
    init: cst.FunctionDef,
    plan: PipelinePlan,
    transformer: str,
    features: TargetFeatures,
    methods: list[cst.FunctionDef],
) -> cst.FunctionDef:
    """``__init__(self, *, od_config, prefix="")`` from the folded constructor ``init``."""
    roles = component_roles(plan.decisions)
    text = _opening(roles, features) + "".join(
        _load(name, dotted_class, role, transformer, features) for name, (dotted_class, role) in roles.items()
    )
    lines = "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())
    method = parse(f'def __init__(self, *, od_config: OmniDiffusionConfig, prefix: str = "") -> None:\n{lines}')[0]
    assert isinstance(method, cst.FunctionDef)
    kept = [*parse(_settings(init, plan, methods)), *_kept(init, plan, methods)]
    if kept:
        kept[0] = kept[0].with_changes(leading_lines=[cst.EmptyLine(indent=False), *_comments(kept[0])])
    end = parse(
        "\nself.setup_diffusion_pipeline_profiler(\n"
        "    enable_diffusion_pipeline_profiler=od_config.enable_diffusion_pipeline_profiler\n)\n"
    )
    end = [end[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)])]
    own = {*component_roles(plan.decisions), *(name_of(d) for d in of_kind(plan.decisions, MADE))}
    kept = [replace_names(node, {name: f"self.{name}" for name in own}) for node in kept]
    return method.with_changes(body=indented([*suite(method.body), *kept, *(end if features.profiler else [])]))


def _comments(node: cst.CSTNode) -> list[cst.EmptyLine]:
    return [line for line in node.leading_lines if line.comment is not None]  # type: ignore[attr-defined]


def _kept(init: cst.FunctionDef, plan: PipelinePlan, methods: list[cst.FunctionDef]) -> Block:
    """Statements of the reference's constructor, without registration and without a processor that nothing reads."""
    processor: Decision | None = decision(plan.decisions, "processor")
    read = {name for m in methods for name in attributes(m)}
    doc = docstring(init)
    kept: Block = []
    made = [name_of(d) for d in of_kind(plan.decisions, MADE)]
    for node in (s for line in suite(init.body) for s in _unconditional(line, made)):
        if node is doc:
            continue
        if isinstance(node, cst.SimpleStatementLine):
            text = code(node).strip()
            small = node.body[0]
            if "super().__init__()" in text or "self.register_modules(" in text:
                continue
            if isinstance(small, cst.Expr) and calls(small, "self.register_to_config"):
                continue
            target = dotted(small.targets[0].target) if isinstance(small, cst.Assign) else None
            if processor is not None and processor.value not in read and target == f"self.{processor.value}":
                continue
        kept.append(node)
    return kept


def _unconditional(node: Statement, made: list[str]) -> Block:
    """``x = make()`` of ``if x is None: x = make()``, where the model brings no ``x``; below a condition, too."""
    tests = {f"{name} is None" for name in made}
    none = isinstance(node, cst.If) and (
        code(node.test) in tests or any(code(node.test).startswith(f"not isinstance({name}, ") for name in made)
    )
    if isinstance(node, cst.If) and node.orelse is None and none:
        first, *rest = suite(node.body)
        return [first.with_changes(leading_lines=[*node.leading_lines, *first.leading_lines]), *rest]
    if isinstance(node, cst.If) and made:
        inner = [s for line in suite(node.body) for s in _unconditional(line, made)]
        return [changed(node, body=indented(inner, node.body))] if inner != suite(node.body) else [node]
    return [node]


def _settings(init: cst.FunctionDef, plan: PipelinePlan, methods: list[cst.FunctionDef]) -> str:
    """Settings of ``model_index.json``: those that the constructor reads as names, and those that methods read."""
    known = settings(plan.decisions)
    kept = _kept(init, plan, methods)
    named = [n for n in known if n in reads(*kept)]
    stored = [n for n in known if any(n in attributes(m) for m in methods) and n not in _stored(kept)]
    if not named and not stored:
        return ""
    text = 'model_index = get_hf_file_to_dict("model_index.json", model, od_config.revision) or {}\n'
    for name in known:
        value = f'model_index.get("{name}", {known[name]})'
        if name in named:
            text += f"{name} = {value}\n"
            value = name
        if name in stored:
            text += f"self.{name} = {value}\n"
    return text


def _stored(block: Block) -> set[str]:
    found = set()
    for node in statements(block):
        if isinstance(node, cst.SimpleStatementLine) and isinstance(node.body[0], cst.Assign):
            name = dotted(node.body[0].targets[0].target) or ""
            found.add(name.removeprefix("self."))
    return found


def _opening(roles: dict[str, tuple[str, str]], features: TargetFeatures) -> str:
    text = (
        "super().__init__()\n"
        "self.od_config = od_config\n"
        "self.device = get_local_device()\n"
        "model = od_config.model\n"
        "self.weights_sources = [\n"
    )
    for name, (_, role) in roles.items():
        if role == "dit":
            text += (
                "    DiffusersPipelineLoader.ComponentSource(\n"
                "        model_or_path=model,\n"
                f'        subfolder="{name}",\n'
                "        revision=od_config.revision,\n"
                f'        prefix="{name}.",\n'
                "        fall_back_to_pt=True,\n"
                "    ),\n"
            )
    text += ']\n\npretrained = {"revision": od_config.revision, "local_files_only": os.path.isdir(model)}\n'
    if features.prefetch:
        folders = ", ".join(f'"{name}"' for name, (_, role) in roles.items() if role != "dit")
        text += f"subfolders = [{folders}]\nprefetch_subfolders(model, subfolders, **pretrained)\n"
    return text


CONFIG_PARTS = {"T5GemmaEncoder": "encoder"}
"""Encoders that are published under the config of the whole model: the part of it that their constructor takes."""


def _load(name: str, dotted_class: str, role: str, transformer: str, features: TargetFeatures) -> str:
    class_name = dotted_class.rsplit(".", 1)[1]
    if role == "dit":
        config = "od_config.tf_model_config"
        text = ""
        if name != "transformer":
            config = "config"
            text = (
                f'config = get_hf_file_to_dict("{name}/config.json", model, od_config.revision) or {{}}\n'
                "config = TransformerConfig.from_dict(config)\n"
            )
        return (
            f"{text}self.{name} = {transformer}(\n"
            "    od_config=od_config,\n"
            "    quant_config=od_config.quantization_config,\n"
            f"    **get_transformer_config_kwargs({config}, {transformer}),\n"
            ")\n"
        )
    if role not in ("encoder", "vae", "other"):
        return f'self.{name} = {class_name}.from_pretrained(model, subfolder="{name}", **pretrained)\n'
    if features.prefetch and features.prefetch_wrapper:
        return (
            f"self.{name} = from_pretrained_with_prefetch(\n"
            f"    {class_name}.from_pretrained,\n"
            "    model,\n"
            f'    subfolder="{name}",\n'
            "    prefetch_list=subfolders,\n"
            f"{_config_part(name, class_name)}"
            "    torch_dtype=od_config.dtype,\n"
            "    **pretrained,\n"
            ").to(self.device)\n"
        )
    return (
        f"self.{name} = {class_name}.from_pretrained(\n"
        f'    model,\n    subfolder="{name}",\n'
        f"{_config_part(name, class_name)}"
        "    torch_dtype=od_config.dtype,\n    **pretrained\n"
        ").to(self.device)\n"
    )


def _config_part(name: str, class_name: str) -> str:
    if class_name not in CONFIG_PARTS:
        return ""
    return (
        f'    config=AutoConfig.from_pretrained(model, subfolder="{name}", **pretrained).{CONFIG_PARTS[class_name]},\n'
    )
