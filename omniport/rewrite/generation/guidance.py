"""Both predictions on every rank, where the tree's mixin gives them to the first one alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.rewrite.generation.edit import methods, the_class, with_class, with_imports, with_method
from omniport.rewrite.syntax import code, dotted

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures

_MIXIN = "CFGParallelMixin"

_BOTH = '''
def predict_noise_maybe_with_cfg(
    self, do_true_cfg, true_cfg_scale, positive_kwargs, negative_kwargs, cfg_normalize=False
):
    """Predict with guidance, one branch a rank under CFG parallelism; every rank gets the combined prediction."""
    if not do_true_cfg:
        return self.predict_noise(**positive_kwargs)
    if get_classifier_free_guidance_world_size() > 1:
        kwargs = positive_kwargs if get_classifier_free_guidance_rank() == 0 else negative_kwargs
        local = self.predict_noise(**kwargs)
        several = isinstance(local, tuple)
        gathered = [
            get_cfg_group().all_gather(part, separate_tensors=True) for part in (local if several else (local,))
        ]
        positive, negative = (tuple(parts[rank] for parts in gathered) for rank in (0, 1))
        if not several:
            positive, negative = positive[0], negative[0]
    else:
        positive, negative = self.predict_noise(**positive_kwargs), self.predict_noise(**negative_kwargs)
    return self.combine_cfg_noise(positive, negative, true_cfg_scale, cfg_normalize)
'''

_STEP = '''
def scheduler_step_maybe_with_cfg(self, noise_pred, t, latents, do_true_cfg):
    """Every rank has the combined prediction, so each steps by itself."""
    return self.scheduler_step(noise_pred, t, latents)
'''

_STATE = "vllm_omni.diffusion.distributed.parallel_state"


def needed(features: TargetFeatures) -> bool:
    return not features.cfg_all_ranks


def older(module: cst.Module, features: TargetFeatures) -> tuple[cst.Module, list[str]]:
    node = the_class(module)
    if "self.predict_noise_with_multi_branch_cfg(" in code(node):
        raise UnsupportedError(
            "this vLLM-Omni's guidance mixin has no predict_noise_with_multi_branch_cfg, and the pipeline has more "
            "than two branches a step"
        )
    if not any(dotted(base.value) == _MIXIN for base in node.bases):
        return module, []
    changed = node.visit(_Plain())
    assert isinstance(changed, cst.ClassDef)
    own = methods(node)
    made = with_method(changed, "predict_noise_maybe_with_cfg", _BOTH)
    if "scheduler_step_maybe_with_cfg" not in own and "self.scheduler_step_maybe_with_cfg(" in code(node):
        made = with_method(made, "scheduler_step_maybe_with_cfg", _STEP)
    names = "get_cfg_group, get_classifier_free_guidance_rank, get_classifier_free_guidance_world_size"
    return with_imports(with_class(module, node, made), [f"from {_STATE} import {names}"]), []


class _Plain(cst.CSTTransformer):
    """The port's own ``combine_cfg_noise`` gets each prediction as ``predict_noise`` returns it, not in a tuple."""

    def __init__(self) -> None:
        self.inside = False

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        self.inside = node.name.value == "combine_cfg_noise"
        return self.inside

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        self.inside = False
        return updated_node

    def leave_Subscript(self, original_node: cst.Subscript, updated_node: cst.Subscript) -> cst.BaseExpression:
        text = code(original_node)
        if self.inside and text in ("positive_noise_pred[0]", "negative_noise_pred[0]"):
            return updated_node.value
        return updated_node
