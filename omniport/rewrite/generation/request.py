"""One request at a time: ``forward(req: OmniDiffusionRequest) -> DiffusionOutput``.

Such a request holds a list of prompts under one set of sampling parameters, so a pipeline that runs a batch of
requests as one call runs the prompts of a request as one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.rewrite.generation.edit import Replace, removed, the_class, with_class, with_function, with_imports
from omniport.rewrite.syntax import code, dotted, expression

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures

_FIELD = '''
def prompt_field(prompt: OmniPromptType, name: str) -> Any:
    """A field of the prompt, or of its additional information; None where neither has it."""
    if isinstance(prompt, str):
        return None
    value = prompt.get(name)
    if value is None:
        value = (prompt.get("additional_information") or {}).get(name)
    if isinstance(value, list):
        return value[0] if value else None
    return value
'''

_TENSORS = '''
def prompt_tensors(prompts: list[OmniPromptType], name: str) -> torch.Tensor | None:
    """The field of every prompt as one tensor; None where no prompt has it."""
    found = [prompt_field(prompt, name) for prompt in prompts]
    if all(value is None for value in found):
        return None
    if any(value is None for value in found):
        raise ValueError(f"some prompts of the request have {name} and some have not")
    return torch.stack(found, dim=0)
'''

_LATENTS = 'req.collate_request_tensors("latents", None)'


def needed(features: TargetFeatures) -> bool:
    return not features.request_batch


def older(module: cst.Module, features: TargetFeatures) -> tuple[cst.Module, list[str]]:
    module = removed(module, ["supports_request_batch"])
    node = the_class(module)
    body = [s for s in node.body.body if not (isinstance(s, cst.FunctionDef) and s.name.value == "_runs_together")]
    changed = node.with_changes(body=node.body.with_changes(body=body)).visit(_Forward())
    assert isinstance(changed, cst.ClassDef)
    module = with_class(module, node, changed)
    replace = Replace(
        {"req.sampling_params_list[0]": "req.sampling_params", _LATENTS: "params.latents"},
        {
            "req.get_prompt_field": lambda given: f"prompt_field({given['0']}, {given['1']})",
            "req.collate_prompt_fields": lambda given: f"prompt_tensors({given['0']}, {given['1']})",
        },
    )
    module = module.visit(replace)
    text = module.code
    imports = ["from vllm_omni.diffusion.request import OmniDiffusionRequest"]
    if "prompt_tensors(" in text:
        module = with_function(module, _TENSORS)
    if "prompt_field(" in module.code:
        module = with_function(module, _FIELD)
        imports += ["from typing import Any", "from vllm_omni.inputs.data import OmniPromptType"]
    return with_imports(module, imports), []


class _Forward(cst.CSTTransformer):
    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        if original_node.name.value != "forward":
            return updated_node
        params = [
            p.with_changes(annotation=cst.Annotation(cst.Name("OmniDiffusionRequest"))) if p.name.value == "req" else p
            for p in updated_node.params.params
        ]
        return updated_node.with_changes(
            params=updated_node.params.with_changes(params=params),
            returns=cst.Annotation(cst.Name("DiffusionOutput")),
        )

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If | cst.RemovalSentinel:
        return cst.RemoveFromParent() if "self._runs_together(req)" in code(original_node.test) else updated_node

    def leave_IfExp(self, original_node: cst.IfExp, updated_node: cst.IfExp) -> cst.BaseExpression:
        return updated_node.body if code(original_node.test) == "req.num_reqs == 1" else updated_node

    def leave_Return(self, original_node: cst.Return, updated_node: cst.Return) -> cst.Return:
        value = original_node.value
        one = isinstance(value, cst.List) and [code(e.value) for e in value.elements] == ["output"]
        split = isinstance(value, cst.Call) and dotted(value.func) == "split_diffusion_output_by_request"
        return updated_node.with_changes(value=expression("output")) if one or split else updated_node

    def leave_SimpleString(self, original_node: cst.SimpleString, updated_node: cst.SimpleString) -> cst.SimpleString:
        if original_node.value == '"""Generate the outputs of every request of the batch."""':
            return updated_node.with_changes(value='"""Generate the outputs of every prompt of the request."""')
        return updated_node
