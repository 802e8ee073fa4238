"""What a port declares: the features of vLLM-Omni that its source says it has."""

from __future__ import annotations

import ast
import re

from omniport.check.port import Port
from omniport.check.source import class_attributes, constant, keyword

#: features in the order of the docs' columns -> their headings there
FEATURES = {
    "cache-dit": "Cache-DiT",
    "sequence-parallel": "SP (Ulysses & Ring)",
    "cfg-parallel": "CFG-Parallel",
    "tensor-parallel": "Tensor-Parallel",
    "hsdp": "HSDP",
    "layerwise-offload": "CPU Offload (Layerwise)",
    "quantization": "Quantization",
    "step-execution": "Step Execution",
}
_SHARDED = ("ColumnParallelLinear", "MergedColumnParallelLinear", "QKVParallelLinear", "RowParallelLinear")
_CFG = ("predict_noise_maybe_with_cfg", "predict_noise_with_multi_branch_cfg", "get_classifier_free_guidance")
_SP = re.compile(r"_sp_shard_depth|sequence_parallel_size|get_sequence_parallel|sp_shard|get_sp_group")
_STEPS = re.compile(r"\bSupportsStepExecution\b|\bsupports_step_execution\b.*= True|def denoise_step\(")

#: features that vLLM-Omni can also give a port from outside, by its class name or an enabler
FROM_OUTSIDE = frozenset({"cache-dit", "quantization"})


def declared(port: Port) -> frozenset[str]:
    """The features that a port declares, by the attributes and calls that vLLM-Omni reads them from."""
    attributes: dict[str, list[ast.expr | None]] = {}
    for file in port.files:
        for cls in file.nodes(ast.ClassDef):
            for name, value in class_attributes(cls).items():
                attributes.setdefault(name, []).append(value)
    found = {
        "cache-dit": "_cache_dit_adapter_config" in attributes,
        "sequence-parallel": any(not _empty(v) for v in attributes.get("_sp_plan", ()))
        or any(_SP.search(file.text) for file in port.files),
        "cfg-parallel": any(file.mentions(name) for file in port.files for name in _CFG),
        "tensor-parallel": _shards(port),
        "hsdp": any(not _empty(v) for v in attributes.get("_hsdp_shard_conditions", ())),
        "layerwise-offload": any(not _empty(v) for v in attributes.get("_layerwise_offload_blocks_attrs", ())),
        "quantization": any(file.mentions("quant_config=") for file in port.files),
        "step-execution": any(_STEPS.search(file.text) for file in port.files),
    }
    return frozenset(name for name, there in found.items() if there)


def _shards(port: Port) -> bool:
    return any(
        constant(keyword(call, "disable_tp")) is not True
        for file in port.files
        if any(file.mentions(name) for name in _SHARDED)
        for call in file.calls(*_SHARDED)
    )


def _empty(value: ast.expr | None) -> bool:
    return isinstance(value, ast.List | ast.Tuple | ast.Dict) and not ast.unparse(value).strip("[](){}")
