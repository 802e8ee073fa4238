"""cache-dit: the declaration comes from where the tree has it, and goes where the tree registers functions instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.rewrite.cached_blocks import CLASSES
from omniport.rewrite.generation.edit import removed
from omniport.rewrite.syntax import dotted, expression

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures

_ATTRIBUTE = "_cache_dit_adapter_config"
NEWEST = "vllm_omni.diffusion.cache.cachedit"


def needed(features: TargetFeatures) -> bool:
    return features.cachedit_module != NEWEST


def older(module: cst.Module, features: TargetFeatures) -> tuple[cst.Module, list[str]]:
    if not features.cachedit_module:
        return _without_adapter(removed(module, [_ATTRIBUTE])), []
    return module.visit(_Import(features.cachedit_module)), []


def _without_adapter(module: cst.Module) -> cst.Module:
    """Without the classes that only the declaration names."""
    return module.with_changes(
        body=[s for s in module.body if not (isinstance(s, cst.ClassDef) and s.name.value in CLASSES)]
    )


class _Import(cst.CSTTransformer):
    def __init__(self, module: str) -> None:
        self.module = module

    def leave_ImportFrom(self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom) -> cst.ImportFrom:
        if original_node.module is None or dotted(original_node.module) != NEWEST:
            return updated_node
        return updated_node.with_changes(module=expression(self.module))
