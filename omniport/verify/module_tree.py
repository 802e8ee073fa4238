"""The modules of a port's transformer at published size, with what ranks share and where tokens are split.

The transformer is built on the meta device, without memory for its weights.  What is read are the layers that are
there, not what a plan says of them.  Runs in a forked child.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.verify import checkpoint, engine
from omniport.verify.forks import Rank
from omniport.verify.port import Port
from omniport.verify.results import ModuleNode, SplitPoint

#: class that a layer is or derives from -> its role; the first that fits
_ROLES = (
    ("QKVParallelLinear", "qkv"),
    ("MergedColumnParallelLinear", "merged"),
    ("ColumnParallelLinear", "column"),
    ("RowParallelLinear", "row"),
    ("ReplicatedLinear", "replicated"),
    ("ColumnParallelConv2d", "column"),
    ("RowParallelConv2d", "row"),
    ("Linear", "replicated"),
    ("Embedding", "replicated"),
)

ATTENTION = ("vllm_omni.diffusion.attention.layer", "Attention")


def published(port: Port, work: Path, rank: Rank, order: Sequence[str]) -> ModuleNode:
    """The tree of the port's transformer, built with its published configuration; ``order`` is that of the calls."""
    torch.set_num_threads(1)
    config = engine.make_config(port, work / "checkpoint", rank, {})
    config.tf_model_config.params.clear()
    config.tf_model_config.params.update(checkpoint.published_config(port))
    with engine.bare_worker(config, rank), torch.device("meta"):
        return tree_of(engine.build_transformer(port, config), order)


def tree_of(model: nn.Module, order: Sequence[str] = ()) -> ModuleNode:
    """The tree below ``model``; equal siblings in a row are one node, what holds nothing is left out.

    ``order`` names children of ``model`` in the order they are to stand in; the others follow.
    """
    plan = {name: _splits(entry) for name, entry in (getattr(model, "_sp_plan", None) or {}).items()}
    tree = _node("", "", model, plan)
    places = {name: place for place, name in enumerate(order)}
    children = sorted(tree.children, key=lambda child: places.get(child.name, len(places)))
    return replace(tree, name=type(model).__name__, children=tuple(children))


@contextmanager
def first_calls(model: nn.Module) -> Iterator[list[str]]:
    """The names of the model's children in the order of their first calls; a list is called with its first member."""
    order: list[str] = []
    handles = []
    for name, child in model.named_children():

        def note(module: nn.Module, args: Any, name: str = name) -> None:
            if name not in order:
                order.append(name)

        members = child.children() if isinstance(child, (nn.ModuleList, nn.ModuleDict)) else [child]
        handles += [member.register_forward_pre_hook(note) for member in members]
    try:
        yield order
    finally:
        for handle in handles:
            handle.remove()


def _node(name: str, path: str, module: nn.Module, plan: dict[str, tuple[SplitPoint, ...]]) -> ModuleNode:
    kind = kind_of(module)
    children: list[ModuleNode] = []
    if kind in ("", "norm"):
        for key, child in module.named_children():
            node = _node(key, f"{path}.{key}" if path else key, child, plan)
            if children and key.isdigit() and _equal(children[-1], node):
                children[-1] = replace(children[-1], count=children[-1].count + 1)
            elif node.parameters or node.splits or node.kind == "attention" or node.children:
                children.append(node)
    return ModuleNode(
        name=name,
        class_name=type(module).__name__,
        kind=kind,
        count=1,
        parameters=sum(p.numel() for p in module.parameters()),
        splits=plan.get(path, ()),
        children=tuple(children),
    )


def kind_of(module: nn.Module) -> str:
    """The role of a layer, by its classes and by how it was built."""
    if any((cls.__module__, cls.__name__) == ATTENTION for cls in type(module).__mro__):
        return "attention"
    names = {cls.__name__ for cls in type(module).__mro__}
    role = next((role for cls, role in _ROLES if cls in names), "")
    if role == "column" and getattr(module, "gather_output", False):
        return "gathered"
    if role == "row" and getattr(module, "input_is_parallel", True) is False:
        return "scattered"
    if role in ("column", "row", "qkv", "merged") and getattr(module, "disable_tp", False):
        return "replicated"
    if not role and "Norm" in type(module).__name__:
        return "norm"
    if not role and any("Conv" in name for name in names):
        return "replicated"
    return role


def _equal(one: ModuleNode, other: ModuleNode) -> bool:
    return replace(one, name="", count=1) == replace(other, name="", count=1)


def _splits(entry: Any) -> tuple[SplitPoint, ...]:
    """The tensors of an entry of ``_sp_plan``; several that are split alike, such as cos and sin, are one."""
    points = []
    for key, value in entry.items() if isinstance(entry, dict) else [("output", entry)]:
        what = getattr(value, "shard_group", None) or (f"output {key}" if isinstance(key, int) else str(key))
        if hasattr(value, "gather_dim"):
            points.append(SplitPoint("gather", what, value.gather_dim, True))
        else:
            points.append(SplitPoint("split", what, value.split_dim, bool(getattr(value, "split_output", False))))
    return tuple(dict.fromkeys(points))
