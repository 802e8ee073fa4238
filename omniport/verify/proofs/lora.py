"""``lora``: vLLM-Omni's LoRA manager wraps every linear on the blocks' tokens, and adds what merging would add."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from torch import nn

from omniport.verify.proofs import Pipeline, Proof, Subject, distance, on_several_tokens, run, unequal

RANK, ALPHA = 4, 8

EXPERTS = ".experts."
"""vLLM's loader takes what has this in its name for a part of a fused layer of experts, and knows no other."""


def prove(subject: Subject) -> Proof:
    """Load an adapter for every linear, compare with merged weights, and take it away again."""
    from vllm.lora.request import LoRARequest
    from vllm_omni.diffusion.lora.manager import DiffusionLoRAManager

    model = subject.build()
    name, inputs = next(iter(subject.calls.items()))
    plain: dict[str, nn.Module] = {path: m for path, m in model.named_modules() if isinstance(m, nn.Linear)}
    on_tokens = on_several_tokens(plain)
    base = run(model, inputs)
    linears, left, experts = _linears(model, subject.weights)
    if not linears:
        return Proof(None, ("no linear of the port takes adapters",), "")
    adapter = _adapter(linears, subject.weights)
    merged = run(subject.build_with(_merged(subject.weights, adapter)), inputs)
    pipeline = Pipeline(model)
    with tempfile.TemporaryDirectory(prefix="omniport-lora-") as folder:
        _save(adapter, Path(folder))
        manager = DiffusionLoRAManager(pipeline, torch.device("cpu"), torch.float32)
        manager.set_active_adapter(LoRARequest(lora_name="proof", lora_int_id=1, lora_path=folder))
    adapted = run(model, inputs)
    error = distance(adapted, merged)
    problems = unequal(f"{name}, against merged weights", error)
    changed = distance(adapted, base)
    if not changed > 100 * error:
        problems.append(f"the adapter changes the output by {changed:.0e} only")
    manager.set_active_adapter(None)
    if not (back := distance(run(model, inputs), base)) <= error + 1e-6:
        problems.append(f"without the adapter the output is off by {back:.0e}")
    if inside := [path for path in left if path in on_tokens and path.split(".")[0] in _lists(model)]:
        problems.append(f"{len(inside)} linears of the blocks take no adapter: {', '.join(inside[:3])}")
    total = len(linears) + len(left) + len(experts)
    detail = (
        f"{len(linears)} of {total} linears adapted in {len(manager._lora_modules)} layers, output off by {changed:.0e}"
    )
    if experts:
        detail += f"; the {len(experts)} of experts take none"
    return Proof(error, tuple(problems), detail)


def _lists(model: nn.Module) -> list[str]:
    return [name for name, child in model.named_children() if isinstance(child, nn.ModuleList)]


def _linears(model: nn.Module, weights: dict[str, torch.Tensor]) -> tuple[list[str], list[str], list[str]]:
    """Checkpoint names of the linears that take adapters, of the others, and of those of experts."""
    from vllm.model_executor.layers.linear import LinearBase

    fused: dict[str, list[str]] = {}
    for into, part, _ in getattr(model, "stacked_params_mapping", []):
        fused.setdefault(into.strip("."), []).append(part.strip("."))
    taking, left, experts = [], [], []
    for path, module in model.named_modules():
        above, _, last = path.rpartition(".")
        parts = next((ps for into, ps in fused.items() if path.endswith(into)), [last])
        names = [f"{above}.{part}" if above else part for part in parts]
        if EXPERTS in path:
            experts += names
        elif isinstance(module, LinearBase):
            taking += [name for name in names if f"{name}.weight" in weights]
        elif isinstance(module, nn.Linear):
            left.append(path)
    return taking, left, experts


def _adapter(linears: list[str], weights: dict[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """A and B of every linear, small enough to leave the numbers of the model in their range."""
    random = torch.Generator().manual_seed(0)
    adapter = {}
    for name in linears:
        out, into = weights[f"{name}.weight"].shape
        a = torch.randn(RANK, into, generator=random) / into**0.5
        b = torch.randn(out, RANK, generator=random) * 0.02
        adapter[name] = (a, b)
    return adapter


def _merged(
    weights: dict[str, torch.Tensor], adapter: dict[str, tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    merged = dict(weights)
    for name, (a, b) in adapter.items():
        merged[f"{name}.weight"] = weights[f"{name}.weight"] + ALPHA / RANK * (b @ a)
    return merged


def _save(adapter: dict[str, tuple[torch.Tensor, torch.Tensor]], folder: Path) -> None:
    """A checkpoint as peft writes it."""
    from safetensors.torch import save_file

    tensors = {}
    for name, (a, b) in adapter.items():
        tensors[f"base_model.model.transformer.{name}.lora_A.weight"] = a
        tensors[f"base_model.model.transformer.{name}.lora_B.weight"] = b
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = sorted({name.rpartition(".")[2] for name in adapter})
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": targets, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
