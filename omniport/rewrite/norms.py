"""Norms over a width whose heads the ranks share: statistics are summed over the ranks, weights are sharded.

Those of one attention share one all-reduce (:mod:`omniport.rewrite.join_norms`).
"""

from __future__ import annotations

import libcst as cst

from omniport.plan.model import TransformerPlan
from omniport.rewrite.syntax import dotted
from omniport.source.syntax import constant
from omniport.source.walk import of_kind

SUBJECT = "norm across ranks "

#: What the plan says of a norm -> the layer that takes its place.
LAYERS = {"rms": "ShardedRMSNorm", "layer": "ShardedLayerNorm"}

#: vLLM's kernel, which takes rows that are slices of longer ones.
FUSED = "fused_rms_norm"

#: Where every norm is one over root mean squares, of a weight and a given epsilon.
PLAIN = '''
class ShardedRMSNorm(nn.Module):
    """RMS norm over a width of which each tensor-parallel rank holds its share of the heads."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size // get_tensor_model_parallel_world_size()))
        set_weight_attrs(self.weight, {"weight_loader": sharded_weight_loader(0)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return norm_together((self, x))[0]

    def alone(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` where one rank has the whole width; the kernel reads a slice in place."""
        if not x.is_cuda or torch.compiler.is_compiling():
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        rows = x.reshape(-1, x.shape[-1])
        normed = torch.empty_like(rows, memory_format=torch.contiguous_format)
        fused_rms_norm(normed, rows, self.weight, self.eps)
        return normed.view(x.shape)

    def scale(self, x: torch.Tensor, mean_square: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` by the mean square of the whole width."""
        return (x.float() * torch.rsqrt(mean_square + self.eps)).to(x.dtype) * self.weight


def norm_together(*pairs: tuple[ShardedRMSNorm, torch.Tensor]) -> list[torch.Tensor]:
    """Normalise tensors ``[batch, tokens, width of this rank]`` by their norms, with one all-reduce for all."""
    ranks = get_tensor_model_parallel_world_size()
    if ranks == 1:
        return [norm.alone(x) for norm, x in pairs]
    squares = torch.cat([x.float().square().mean(-1, keepdim=True) for _, x in pairs], dim=1)
    means = tensor_model_parallel_all_reduce(squares) / ranks
    return [norm.scale(x, part) for (norm, x), part in zip(pairs, means.split([x.shape[1] for _, x in pairs], dim=1))]
'''

RMS_NORM = '''
class ShardedRMSNorm(nn.Module):
    """RMS norm over a width of which each tensor-parallel rank holds its share of the heads."""

    centered = False

    def __init__(self, size: int, eps: float | None = None, elementwise_affine: bool = True, bias: bool = False):
        super().__init__()
        self.eps = eps
        size //= get_tensor_model_parallel_world_size()
        self.weight = nn.Parameter(torch.ones(size)) if elementwise_affine else None
        self.bias = nn.Parameter(torch.zeros(size)) if elementwise_affine and bias else None
        for parameter in self.parameters():
            set_weight_attrs(parameter, {"weight_loader": sharded_weight_loader(0)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return norm_together((self, x))[0]

    def alone(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` where one rank has the whole width; the kernel reads a slice in place."""
        if x.is_cuda and self.weight is not None and self.eps is not None and not torch.compiler.is_compiling():
            rows = x.reshape(-1, x.shape[-1])
            normed = torch.empty_like(rows, memory_format=torch.contiguous_format)
            fused_rms_norm(normed, rows, self.weight, self.eps)
            normed = normed.view(x.shape)
        else:
            normed = F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        return normed if self.bias is None else normed + self.bias

    def scale(self, x: torch.Tensor, mean: torch.Tensor, mean_square: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` by the statistics of the whole width."""
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        variance = mean_square - mean.square() if self.centered else mean_square
        shifted = x.float() - mean if self.centered else x.float()
        normed = (shifted * torch.rsqrt(variance + eps)).to(x.dtype)
        if self.weight is not None:
            normed = normed * self.weight
        return normed if self.bias is None else normed + self.bias


def norm_together(*pairs: tuple[ShardedRMSNorm, torch.Tensor]) -> list[torch.Tensor]:
    """Normalise tensors ``[batch, tokens, width of this rank]`` by their norms, with one all-reduce for all."""
    if get_tensor_model_parallel_world_size() == 1:
        return [norm.alone(x) for norm, x in pairs]
    statistics = [torch.stack([x.float().mean(-1), x.float().square().mean(-1)], dim=-1) for _, x in pairs]
    lengths = [x.shape[1] for _, x in pairs]
    whole = tensor_model_parallel_all_reduce(torch.cat(statistics, dim=1)) / get_tensor_model_parallel_world_size()
    parts = [part.unsqueeze(-1).unbind(2) for part in whole.split(lengths, dim=1)]
    return [norm.scale(x, *part) for (norm, x), part in zip(pairs, parts)]
'''

LAYER_NORM = '''
class ShardedLayerNorm(ShardedRMSNorm):
    """Layer norm over a width of which each tensor-parallel rank holds its share of the heads."""

    centered = True

    def __init__(self, size: int, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True):
        super().__init__(size, eps, elementwise_affine, bias)

    def alone(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
'''


def sharded_norms(plan: TransformerPlan) -> dict[str, str]:
    """``Class.attribute`` of the norms across heads -> the name of their layer."""
    return {
        d.subject.removeprefix(SUBJECT): LAYERS[str(d.value)] for d in plan.decisions if d.subject.startswith(SUBJECT)
    }


def norm_helpers(plan: TransformerPlan, module: cst.Module) -> str:
    """The layers that the port, whose classes ``module`` holds, needs."""
    used = set(sharded_norms(plan).values())
    if not used:
        return ""
    if used == {LAYERS["rms"]} and all(map(_plain, of_kind(module, cst.Call))):
        return PLAIN
    return RMS_NORM + ("\n" + LAYER_NORM if LAYERS["layer"] in used else "")


def _plain(call: cst.Call) -> bool:
    """Whether a call builds no such norm, or one of a width and an epsilon alone."""
    if dotted(call.func) not in LAYERS.values():
        return True
    names = [arg.keyword.value if arg.keyword is not None else "" for arg in call.args]
    return names in (["", ""], ["", "eps"]) and constant(call.args[1].value) is not None
