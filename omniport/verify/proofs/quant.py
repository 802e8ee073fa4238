"""``quant``: a quantisation method is asked about every linear that runs on the blocks' tokens, by its own path.

Linears of one vector per sample (modulation) are left as they are: they are small, and everything depends on them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from omniport.verify.proofs import Proof, Subject, distance, on_several_tokens, run, unequal


def prove(subject: Subject) -> Proof:
    """Build the transformer with a configuration that quantises nothing and notes what it is asked."""
    from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
    from vllm.model_executor.layers.quantization.base_config import QuantizationConfig

    asked: dict[int, str] = {}

    class Noting(QuantizationConfig):
        """Leaves every layer as it is."""

        def get_name(self) -> Any:
            return "noting"

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]

        def get_supported_act_dtypes(self) -> list[torch.dtype]:
            return [torch.float32]

        @classmethod
        def get_min_capability(cls) -> int:
            return 0

        @staticmethod
        def get_config_filenames() -> list[str]:
            return []

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Noting:
            return cls()

        def get_quant_method(self, layer: nn.Module, prefix: str) -> Any:
            asked[id(layer)] = prefix
            return UnquantizedLinearMethod() if isinstance(layer, LinearBase) else None

    name, inputs = next(iter(subject.calls.items()))
    expected = run(subject.build(), inputs)
    before = subject.config.quantization_config
    subject.config.quantization_config = Noting()
    try:
        model = subject.build()
        linears: dict[str, nn.Module] = {
            path: m for path, m in model.named_modules() if isinstance(m, LinearBase | nn.Linear)
        }
        on_tokens = on_several_tokens(linears)
        error = distance(run(model, inputs), expected)
    finally:
        subject.config.quantization_config = before
    problems = unequal(name, error)
    lists = {child for child, module in model.named_children() if isinstance(module, nn.ModuleList)}
    inside = [path for path in on_tokens if path.split(".")[0] in lists]
    if unknown := [path for path in inside if id(linears[path]) not in asked]:
        problems.append(f"{len(unknown)} linears of the blocks are not asked about: {', '.join(unknown[:3])}")
    wrong = {p: asked[id(m)] for p, m in linears.items() if id(m) in asked and asked[id(m)] != p}
    if wrong:
        path, prefix = next(iter(wrong.items()))
        problems.append(f"{len(wrong)} linears are asked about by another name: {path} as {prefix or 'nothing'}")
    found = sum(id(module) in asked for module in linears.values())
    return Proof(error, tuple(problems), f"{found} of {len(linears)} linears can be quantised, each by its own path")
