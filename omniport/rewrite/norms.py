"""Norms over a width whose heads the ranks share: statistics are summed over the ranks, weights are sharded.

Query and key that are normalised one after the other share one all-reduce.
"""

from __future__ import annotations

import libcst as cst

from omniport.plan.model import TransformerPlan
from omniport.rewrite.syntax import assignment, code, names_in, self_attribute, statements

SUBJECT = "norm across ranks "

#: What the plan says of a norm -> the layer that takes its place.
LAYERS = {"rms": "ShardedRMSNorm", "layer": "ShardedLayerNorm"}

#: vLLM's kernel, which takes rows that are slices of longer ones.
FUSED = "fused_rms_norm"

_TOGETHER = "norm_together"

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


def norm_helpers(plan: TransformerPlan) -> str:
    """The layers that the port needs."""
    used = set(sharded_norms(plan).values())
    return (RMS_NORM if used else "") + ("\n" + LAYER_NORM if LAYERS["layer"] in used else "")


class JoinNorms(cst.CSTTransformer):
    """``q = self.norm_q(q)`` and, next, ``k = self.norm_k(k)`` of one class become one call for both."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body: list[cst.BaseStatement] = []
        for line in updated_node.body:
            joined = self._joined(body[-1], line) if body else None
            if joined is None:
                body.append(line)
            else:
                body[-1] = joined
        return updated_node if len(body) == len(updated_node.body) else updated_node.with_changes(body=body)

    def _joined(self, first: cst.BaseStatement, second: cst.BaseStatement) -> cst.BaseStatement | None:
        one, two = self._call(first), self._call(second)
        if one is None or two is None or one[0] == two[0] or one[0] in names_in(cst.parse_expression(two[2])):
            return None
        pairs = ", ".join(f"(self.{norm}, {value})" for _, norm, value in (one, two))
        (line,) = statements(f"{one[0]}, {two[0]} = {_TOGETHER}({pairs})")
        if isinstance(line, cst.SimpleStatementLine) and isinstance(first, cst.SimpleStatementLine):
            return line.with_changes(leading_lines=first.leading_lines)
        return None

    def _call(self, line: cst.BaseStatement) -> tuple[str, str, str] | None:
        """Target, norm and argument of a line ``name = self.norm(value)``."""
        pair = assignment(line)
        if pair is None or not isinstance(pair[0], cst.Name) or not isinstance(pair[1], cst.Call):
            return None
        name = self_attribute(pair[1].func)
        if name not in self.names or len(pair[1].args) != 1:
            return None
        return pair[0].value, name, code(pair[1].args[0].value)
