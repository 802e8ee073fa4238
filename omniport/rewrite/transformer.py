"""The port's transformer file, from the normal form and the plan alone."""

from __future__ import annotations

import re
from collections.abc import Callable

import libcst as cst

from omniport.errors import refusing
from omniport.plan.model import TransformerPlan
from omniport.rewrite.attention import rewrite_attention
from omniport.rewrite.axis_tests import settle_axis_tests
from omniport.rewrite.cached_blocks import cached_blocks
from omniport.rewrite.convs import conv_helpers, rewrite_convs
from omniport.rewrite.decorated import comments_first
from omniport.rewrite.experts import expert_helpers, rewrite_experts
from omniport.rewrite.fused_norm import fuse_norms
from omniport.rewrite.heads import rewrite_heads
from omniport.rewrite.hoist import hoist_functions
from omniport.rewrite.host_tables import place_tables
from omniport.rewrite.join_norms import JoinNorms
from omniport.rewrite.key_masks import key_masks
from omniport.rewrite.keyed_attention import CLASS as KEYED
from omniport.rewrite.keyed_attention import HELPER as KEYED_LAYER
from omniport.rewrite.keyed_attention import PAD, PAD_HELPER, forget_masks, forgetting
from omniport.rewrite.layers import PACK_INPUT, Constructor, check_complete, linears_of, parallel_classes
from omniport.rewrite.lean_rotation import lean_rotations
from omniport.rewrite.lists import drop_dropout, gather_lists
from omniport.rewrite.masked_attention import CLASS as MASKED
from omniport.rewrite.masked_attention import HELPER as MASKED_LAYER
from omniport.rewrite.modulation import GATED, fuse_modulation
from omniport.rewrite.modulation import HELPER as GATED_HELPER
from omniport.rewrite.norm_arguments import name_norm_arguments
from omniport.rewrite.normal.leading_lines import close_docstrings
from omniport.rewrite.norms import FUSED as FUSED_NORM
from omniport.rewrite.norms import norm_helpers, sharded_norms
from omniport.rewrite.optional import settle_optional
from omniport.rewrite.padded_attention import CLASS as PADDED
from omniport.rewrite.padded_attention import HELPER as PADDED_LAYER
from omniport.rewrite.patch_conv import patch_convolutions
from omniport.rewrite.perturbed import perturb
from omniport.rewrite.pipeline.remarks import without_remarks
from omniport.rewrite.pipeline.unread_parts import with_unread_parts
from omniport.rewrite.precision import keep_unquantised
from omniport.rewrite.prune import prune
from omniport.rewrite.qk_rope import join_rotations
from omniport.rewrite.returns import return_values
from omniport.rewrite.rms_norm import ALIAS as NORM
from omniport.rewrite.rms_norm import rewrite_rms_norms
from omniport.rewrite.root import rewrite_root
from omniport.rewrite.sequence import helpers, split_forward
from omniport.rewrite.size_tables import keep_tables
from omniport.rewrite.slices import rewrite_slices, slice_helpers
from omniport.rewrite.stages import share_blocks
from omniport.rewrite.syntax import imported_names
from omniport.rewrite.widths import CHECK, check_widths
from omniport.source.normal import NormalForm
from omniport.source.syntax import code
from omniport.source.transform import transform
from omniport.target.features import DEFAULT, TargetFeatures

#: vLLM-Omni's ``Attention`` in a port that has a class of that name.
ALIAS = "OmniAttention"

#: name -> the module a port imports it from.  Only names that the written code uses are imported.
IMPORTS: dict[str, str] = {
    "Iterable": "collections.abc",
    "replace": "dataclasses",
    "lru_cache": "functools",
    "islice": "itertools",
    "F": "torch.nn",
    "apply_rotary_emb": "diffusers.models.embeddings",
    "ForwardPattern": "cache_dit",
    "CachedAdapter": "cache_dit.caching.cache_adapters.cache_adapter",
    "CachedBlocks_Pattern_Base": "cache_dit.caching.cache_blocks.pattern_base",
    "divide": "vllm.distributed",
    "get_pp_indices": "vllm.distributed.utils",
    "get_tensor_model_parallel_rank": "vllm.distributed",
    "get_tensor_model_parallel_world_size": "vllm.distributed",
    "tensor_model_parallel_all_reduce": "vllm.distributed",
    FUSED_NORM: "vllm._custom_ops",
    "Conv3dLayer": "vllm.model_executor.layers.conv",
    "RMSNorm": "vllm.model_executor.layers.layernorm",
    NORM: "vllm.model_executor.layers.layernorm",
    "ColumnParallelLinear": "vllm.model_executor.layers.linear",
    "MergedColumnParallelLinear": "vllm.model_executor.layers.linear",
    "QKVParallelLinear": "vllm.model_executor.layers.linear",
    "ReplicatedLinear": "vllm.model_executor.layers.linear",
    "RowParallelLinear": "vllm.model_executor.layers.linear",
    "QuantizationConfig": "vllm.model_executor.layers.quantization",
    "default_weight_loader": "vllm.model_executor.model_loader.weight_utils",
    "sharded_weight_loader": "vllm.model_executor.model_loader.weight_utils",
    "PPMissingLayer": "vllm.model_executor.models.utils",
    "maybe_prefix": "vllm.model_executor.models.utils",
    "set_weight_attrs": "vllm.model_executor.utils",
    "IntermediateTensors": "vllm.sequence",
    "AttentionMetadata": "vllm_omni.diffusion.attention.backends.abstract",
    "Attention": "vllm_omni.diffusion.attention.layer",
    ALIAS: "vllm_omni.diffusion.attention.layer",
    "indexed_gate": "vllm_omni.diffusion.layers.indexed_modulation",
    "fused_qk_rope": "vllm_omni.diffusion.layers.fused_qk_rope",
    "fused_qk_rope_supported": "vllm_omni.diffusion.layers.fused_qk_rope",
    "CacheDiTAdapterConfig": "vllm_omni.diffusion.cache.cachedit",
    "OmniDiffusionConfig": "vllm_omni.diffusion.data",
    "get_pipeline_parallel_rank": "vllm_omni.diffusion.distributed.parallel_state",
    "get_pipeline_parallel_world_size": "vllm_omni.diffusion.distributed.parallel_state",
    "is_pipeline_first_stage": "vllm_omni.diffusion.distributed.parallel_state",
    "is_pipeline_last_stage": "vllm_omni.diffusion.distributed.parallel_state",
    "get_sequence_parallel_world_size": "vllm_omni.diffusion.distributed.parallel_state",
    "sp_gather": "vllm_omni.diffusion.distributed.sp_sharding",
    "SequenceParallelInput": "vllm_omni.diffusion.distributed.sp_plan",
    "SequenceParallelOutput": "vllm_omni.diffusion.distributed.sp_plan",
    "get_forward_context": "vllm_omni.diffusion.forward_context",
    "get_sp_shard_original_seq_len": "vllm_omni.diffusion.forward_context",
    "is_forward_context_available": "vllm_omni.diffusion.forward_context",
    "safe_quant_config": "vllm_omni.quantization.component_config",
}


@refusing("writing the transformer")
def render_transformer(
    normal: NormalForm,
    plan: TransformerPlan,
    *,
    header: str,
    attributes: tuple[str, ...],
    separate_cfg: bool,
    features: TargetFeatures = DEFAULT,
    stages: bool = False,
) -> str:
    """Write ``<name>_transformer.py`` (valid Python, to be formatted by ``emit``).

    Args:
        normal: the reference transformer in normal form.
        plan: what was decided about it.
        header: comment block that the file starts with, the reference's copyright lines.
        attributes: constructor parameters the pipeline reads off the transformer.
        separate_cfg: whether a step calls the transformer twice, once for each branch of classifier-free guidance.
        features: what the target has.
        stages: whether the pipeline lets ranks share the blocks, if the plan says how and the target can.

    Raises:
        UnsupportedError: the normal form holds a construct that the rewrite does not know.
    """
    module = _module(normal)
    module = _each_class(module, lambda node: split_forward(node, plan) if node.name.value == normal.root else node)
    module = _each_class(module, lambda node: drop_dropout(gather_lists(settle_axis_tests(node, plan))))
    classes = {node.name.value: node for node in module.body if isinstance(node, cst.ClassDef)}
    parallel = parallel_classes(classes, plan, normal.root)
    imported = imported_names(module)
    layer = ALIAS if "Attention" in classes else "Attention"

    def rewrite(node: cst.ClassDef) -> cst.ClassDef:
        if linears_of(plan, node.name.value):
            check_complete(node, plan)
        node = rewrite_experts(check_widths(node, plan), plan)
        node = keep_unquantised(_visit(node, Constructor(node, plan, parallel, normal.root, classes)), plan)
        if norms := {n.partition(".")[2] for n in sharded_norms(plan) if n.partition(".")[0] == node.name.value}:
            node = _visit(node, JoinNorms(node, norms))
        node = rewrite_slices(rewrite_heads(rewrite_convs(node, plan), plan), plan)
        node = rewrite_attention(node, plan, layer, MASKED if features.local_attention else layer, imported)
        return rewrite_root(node, plan, attributes, separate_cfg) if node.name.value == normal.root else node

    module = hoist_functions(prune(_each_class(module, rewrite), normal.root))
    module, norm = rewrite_rms_norms(module, plan, imported)
    module, rotate = join_rotations(module, imported) if features.qk_rope else (module, "")
    module, lean = lean_rotations(module, imported)
    module = patch_convolutions(module, imported)
    fused = fuse_modulation(module, imported, gate_kernel=features.gate_kernel)
    module, fused_norm = fuse_norms(name_norm_arguments(fused, imported), imported)
    module = return_values(settle_optional(module, normal.root))
    module = key_masks(
        _each_class(module, lambda node: comments_first(close_docstrings(node))),
        normal.root,
        layer,
        cross=features.fa_cross_mask,
    )
    if stages and features.pipeline_parallel and plan.stages is not None:
        module = share_blocks(module, plan.stages, normal.root)
    module, tables, kept = keep_tables(module, plan, normal.root, {*imported, *classes})
    root = normal.root
    module = _each_class(module, lambda node: place_tables(node, plan, kept) if node.name.value == root else node)
    module, context = perturb(module, plan, normal.root)
    module = _each_class(module, lambda node: forget_masks(node, module) if node.name.value == root else node)
    module = _each_class(module, unread_unnamed)
    return _assemble(module, plan, header, norm + fused_norm + rotate + lean + tables + context, layer)


def _module(normal: NormalForm) -> cst.Module:
    """The normal form as a tree."""
    if not normal.classes:
        return cst.parse_module(normal.code)
    head = cst.parse_module(normal.head)
    first = normal.classes[0]
    first = first.with_changes(leading_lines=(*head.footer, *first.leading_lines))
    return head.with_changes(body=(*head.body, first, *normal.classes[1:]), footer=())


def _each_class(module: cst.Module, change: Callable[[cst.ClassDef], cst.ClassDef]) -> cst.Module:
    body = [change(item) if isinstance(item, cst.ClassDef) else item for item in module.body]
    return module.with_changes(body=body)


def unread_unnamed(node: cst.ClassDef) -> cst.ClassDef:
    """The class with ``_`` for the parts of unpacked values that a method does not read."""
    old = list(node.body.body)
    new = [with_unread_parts(m) if isinstance(m, cst.FunctionDef) and m.name.value != "__init__" else m for m in old]
    same = all(a is b for a, b in zip(old, new, strict=True))
    return node if same else node.with_changes(body=node.body.with_changes(body=new))


def _visit(node: cst.ClassDef, transformer: cst.CSTTransformer) -> cst.ClassDef:
    result = transform(node, transformer)
    assert isinstance(result, cst.ClassDef)
    return result


def _assemble(module: cst.Module, plan: TransformerPlan, header: str, more: str, layer: str) -> str:
    """Header, imports, helpers, those in ``more`` as well, and classes."""
    at = next((i for i, item in enumerate(module.body) if isinstance(item, cst.ClassDef | cst.FunctionDef)), 0)
    packed = any(linear.role == "row" and linear.packed for linear in plan.linears)
    head = code(cst.Module(list(module.body[:at])))
    classes = without_remarks(code(cst.Module(list(module.body[at:]))))
    experts = expert_helpers(plan)
    checks = CHECK if "check_divisible(" in experts + classes else ""
    layers = (
        checks
        + experts
        + norm_helpers(plan, module)
        + slice_helpers(plan)
        + conv_helpers(plan)
        + (PACK_INPUT if packed else "")
    )
    gated = GATED_HELPER if f"{GATED}(" in classes else ""
    more += MASKED_LAYER.format(base=layer) if f"{MASKED}(" in classes else ""
    padded = f"{PADDED}(" in classes
    keyed = padded or f"{KEYED}(" in classes
    more += KEYED_LAYER.format(base=layer) if keyed else ""
    more += PAD_HELPER if f"{PAD}(" in classes else ""
    more += forgetting(module)
    more += PADDED_LAYER.format(base=KEYED) if padded else ""
    rest = layers + helpers(plan, classes) + more + gated + cached_blocks(plan) + "\n\n" + classes
    words = _words(rest)
    own = {item.name.value for item in module.body if isinstance(item, cst.ClassDef | cst.FunctionDef)}
    own |= {*imported_names(module), *([] if keyed else ["replace", "lru_cache"])}
    wanted = [(name, source) for name, source in IMPORTS.items() if name in words - own]
    spelled = {ALIAS: f"Attention as {ALIAS}", NORM: f"RMSNorm as {NORM}", "F": "functional as F"}
    spelled[FUSED_NORM] = f"rms_norm as {FUSED_NORM}"
    imports = "".join(f"from {source} import {spelled.get(name, name)}\n" for name, source in wanted)
    imports += "import regex as re\n" if "re.search(" in classes else ""
    start = f"{header.rstrip()}\n\n" if header.strip() else ""
    return f"{start}{imports}{head.lstrip()}\n{rest}"


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))
