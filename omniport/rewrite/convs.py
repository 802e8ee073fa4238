"""Convolutions whose channels the ranks share: vLLM has no such layers, so the port brings them."""

from __future__ import annotations

import libcst as cst

from omniport.plan.model import TransformerPlan
from omniport.rewrite.paths import module_paths
from omniport.rewrite.syntax import with_keywords
from omniport.source.transform import transform

_LAYERS = {
    "column": "ColumnParallelConv2d",
    "depthwise": "ColumnParallelConv2d",
    "row": "RowParallelConv2d",
    "scattered": "RowParallelConv2d",
}

COLUMN = '''
class ColumnParallelConv2d(nn.Conv2d):
    """Convolution of which each tensor-parallel rank computes its share of the output channels.

    A depthwise one (``groups``) takes the channels of the rank.  ``parts``: equal runs of channels, each sharded by
    itself.
    """

    def __init__(self, in_channels: int, out_channels: int, *args, groups: int = 1, parts: int = 1, **kwargs):
        self.parts, self.tp_size = parts, get_tensor_model_parallel_world_size()
        share = divide(out_channels, parts * self.tp_size) * parts
        depthwise = groups == in_channels
        super().__init__(share if depthwise else in_channels, share, *args, groups=share if depthwise else 1, **kwargs)
        for parameter in self.parameters():
            set_weight_attrs(parameter, {"weight_loader": self.weight_loader})

    def weight_loader(self, parameter: nn.Parameter, loaded_weight: torch.Tensor) -> None:
        rank = get_tensor_model_parallel_rank()
        runs = [part.chunk(self.tp_size)[rank] for part in loaded_weight.chunk(self.parts)]
        default_weight_loader(parameter, torch.cat(runs))
'''

ROW = '''
class RowParallelConv2d(nn.Conv2d):
    """Convolution over the input channels that each tensor-parallel rank holds, summed over the ranks."""

    def __init__(self, in_channels: int, out_channels: int, *args, input_is_parallel: bool = True, **kwargs):
        self.tp_size = get_tensor_model_parallel_world_size()
        super().__init__(divide(in_channels, self.tp_size), out_channels, *args, **kwargs)
        self.input_is_parallel = input_is_parallel
        set_weight_attrs(self.weight, {"weight_loader": sharded_weight_loader(1)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.input_is_parallel:
            x = x.chunk(self.tp_size, dim=1)[get_tensor_model_parallel_rank()]
        whole = tensor_model_parallel_all_reduce(self._conv_forward(x, self.weight, None))
        return whole if self.bias is None else whole + self.bias.view(-1, 1, 1)
'''


def conv_helpers(plan: TransformerPlan) -> str:
    """The layers that the port needs."""
    used = {_LAYERS[conv.role] for conv in plan.convs}
    return (COLUMN if _LAYERS["column"] in used else "") + (ROW if _LAYERS["row"] in used else "")


def rewrite_convs(node: cst.ClassDef, plan: TransformerPlan) -> cst.ClassDef:
    """A class whose constructor makes the layers that the plan names."""
    roles = {conv.path: conv for conv in plan.convs if conv.path.partition(".")[0] == node.name.value}
    if not roles:
        return node
    calls: dict[cst.Call, tuple[str, list[tuple[str, str]]]] = {}
    for call, path in module_paths(node).items():
        conv = roles.get(f"{node.name.value}.{path}")
        if conv is not None:
            parts = [("parts", str(conv.parts))] if conv.parts > 1 else []
            whole = [("input_is_parallel", "False")] if conv.role == "scattered" else []
            calls[call] = (_LAYERS[conv.role], parts + whole)
    result = transform(node, _Convs(calls))
    assert isinstance(result, cst.ClassDef)
    return result


class _Convs(cst.CSTTransformer):
    def __init__(self, calls: dict[cst.Call, tuple[str, list[tuple[str, str]]]]) -> None:
        self.calls = calls

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if original_node not in self.calls:
            return updated_node
        name, keywords = self.calls[original_node]
        return with_keywords(updated_node.with_changes(func=cst.Name(name)), keywords)
