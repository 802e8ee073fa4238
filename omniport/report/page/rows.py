"""The module tree as rows for a picture or for text: chains of single children in one row."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.records import dataclass
from omniport.verify.results import ModuleNode, SplitPoint

#: role of a layer -> what two ranks do with it
WORDS = {
    "column": "output over the ranks",
    "qkv": "fused q, k, v: heads over the ranks",
    "merged": "fused: output over the ranks",
    "gathered": "output over the ranks, gathered",
    "row": "input over the ranks, all-reduce",
    "scattered": "each rank takes its part of the input, all-reduce",
    "replicated": "whole on every rank",
    "attention": "attention layer: each rank its heads",
}


@dataclass(frozen=True)
class Row:
    """One line of the tree; ``last`` says of each level whether it is the last child there."""

    name: str
    class_name: str
    kind: str
    count: int
    parameters: int
    splits: tuple[SplitPoint, ...]
    last: tuple[bool, ...]
    shared: bool  # sequence parallelism: it runs on a rank's share of the tokens

    @property
    def depth(self) -> int:
        return len(self.last)


def rows(tree: ModuleNode) -> list[Row]:
    """The rows below and with ``tree``, from top to bottom."""
    return list(_rows(tree, "", (), _shared(tree)))


def _shared(tree: ModuleNode) -> set[int]:
    """Children of the root between the split and the gather, by place; empty where not both are there."""
    first = next((i for i, child in enumerate(tree.children) if _holds(child, "split")), None)
    gathers = [i for i, child in enumerate(tree.children) if _holds(child, "gather")]
    if any(split.kind == "split" for split in tree.splits):
        first = 0
    return set(range(first, max(gathers) + 1)) if first is not None and gathers else set()


def _holds(node: ModuleNode, kind: str) -> bool:
    return any(split.kind == kind for split in node.splits) or any(_holds(child, kind) for child in node.children)


def _rows(node: ModuleNode, prefix: str, last: tuple[bool, ...], shared: set[int]) -> Iterator[Row]:
    name, classes, count, splits = prefix + node.name, [node.class_name], node.count, list(node.splits)
    while len(node.children) == 1 and (not node.kind or node.kind == "norm") and node.count == 1:
        (node,) = node.children
        name = f"{name}.{node.name}" if node.count == 1 else f"{name}.{_range(node)}"
        classes = [node.class_name] if classes[-1] in ("ModuleList", "Sequential") else [*classes, node.class_name]
        splits, count = [*splits, *node.splits], count * node.count
    yield Row(
        name=name,
        class_name=" › ".join(classes),
        kind=node.kind,
        count=count,
        parameters=node.parameters * count,
        splits=tuple(splits),
        last=last,
        shared=-1 in shared,
    )
    for i, child in enumerate(node.children):
        inside = {-1} if -1 in shared or (not last and i in shared) else set()
        yield from _rows(child, "", (*last, i == len(node.children) - 1), inside)


def _range(node: ModuleNode) -> str:
    return f"{node.name}…{int(node.name) + node.count - 1}" if node.name.isdigit() else node.name
