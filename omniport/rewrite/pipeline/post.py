"""The post-process function: the reference's processor, rebuilt in the engine process from ``vae/config.json``."""

from __future__ import annotations

import libcst as cst

from omniport.analyse.pipeline_output import is_postprocess
from omniport.errors import UnsupportedError
from omniport.plan.model import PipelinePlan
from omniport.rewrite.pipeline.blocks import Block, Statement, statements, suite
from omniport.rewrite.pipeline.facts import decision
from omniport.rewrite.pipeline.walk import attributes
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import walk


class _Local(cst.CSTTransformer):
    """``self.vae.config.x`` to ``vae_config["x"]``, ``self.x`` to ``x``."""

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        if dotted(original_node.value) == "self.vae.config":
            return cst.parse_expression(f'vae_config["{original_node.attr.value}"]')
        if dotted(original_node.value) == "self":
            return cst.Name(original_node.attr.value)
        return updated_node


def post_process(plan: PipelinePlan, init: cst.FunctionDef, postprocess: cst.Call, file: str) -> str:
    """Source of ``get_<name>_post_process_func``; ``init`` is the reference's constructor, folded.

    Raises:
        UnsupportedError: the processor is built from more than the VAE's config and constants.
    """
    chosen = decision(plan.decisions, "processor")
    assert chosen is not None
    lines = _construction(str(chosen.value), init, file)
    given = "".join(f", {code(a.with_changes(comma=cst.MaybeSentinel.DEFAULT))}" for a in postprocess.args[1:])
    method = code(postprocess.func).removeprefix("self.")
    config = ""
    if any("vae_config[" in line for line in lines):
        config = '    vae_config = get_hf_file_to_dict("vae/config.json", od_config.model, od_config.revision) or {}\n'
    body = "".join(f"    {line}\n" for line in lines)
    return (
        f"def {plan.post_process}(od_config: OmniDiffusionConfig):\n"
        '    """Build the function that turns decoded tensors into what the request asks for."""\n'
        f"{config}{body}\n"
        "    def post_process_func(\n"
        "        images: torch.Tensor, sampling_params: OmniDiffusionSamplingParams | None = None\n"
        "    ):\n"
        '        output_type = getattr(sampling_params, "output_type", None) or od_config.output_type\n'
        f"        return {method}(images{given})\n\n"
        "    return post_process_func\n"
    )


def _construction(attribute: str, init: cst.FunctionDef, file: str) -> list[str]:
    stores = {name: value for statement in suite(init.body) for name, value in _stored(statement).items()}
    lines: list[str] = []

    def build(name: str) -> None:
        if name not in stores:
            raise UnsupportedError(f"the processor is built from self.{name}, which the engine process has not", file)
        value = stores[name]
        for needed in attributes(value):
            if needed != "vae":
                build(needed)
        new = transform(value, _Local())
        for inner in walk(new):
            if isinstance(inner, cst.Name) and inner.value in ("self", "vae"):
                raise UnsupportedError(f"the processor is built from {code(value)}", file)
        line = f"{name} = {code(new)}"
        if line not in lines:
            lines.append(line)

    build(attribute)
    return lines


def _stored(node: Statement) -> dict[str, cst.BaseExpression]:
    found: dict[str, cst.BaseExpression] = {}
    if isinstance(node, cst.SimpleStatementLine):
        for small in node.body:
            if isinstance(small, cst.Assign) and len(small.targets) == 1:
                name = dotted(small.targets[0].target) or ""
                if name.startswith("self.") and name.count(".") == 1:
                    found[name[5:]] = small.value
    return found


def find_postprocess(block: Block) -> tuple[Statement, cst.Call] | None:
    """The statement of the reference that post-processes, and its call."""
    for node in statements(block):
        if isinstance(node, cst.SimpleStatementLine) and isinstance(node.body[0], cst.Assign):
            value = node.body[0].value
            if isinstance(value, cst.Call) and is_postprocess(value):
                return node, value
    return None
