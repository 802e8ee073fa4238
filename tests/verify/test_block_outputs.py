"""Errors by block, and the tree of modules: what a report is drawn from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from omniport.verify.block_outputs import errors, recorded
from omniport.verify.module_tree import first_calls, kind_of, tree_of
from omniport.verify.results import BlockError, ModuleNode, SplitPoint


class Block(nn.Module):
    def __init__(self, wrong: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.proj = nn.Linear(4, 4)
        self.act = nn.SiLU()
        self.wrong = wrong

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + self.act(self.proj(self.norm(x))), x + self.wrong


class Model(nn.Module):
    _sp_plan: dict[str, object] = {}

    def __init__(self, wrong: tuple[float, ...] = (0.0, 0.0, 0.0)) -> None:
        super().__init__()
        self.out = nn.Linear(4, 2)
        self.blocks = nn.ModuleList(Block(w) for w in wrong)
        self.split = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.split(x)
        for block in self.blocks:
            x, _ = block(x)
        return self.out(x)


def run(folder: Path, name: str, *wrong: float, length: int = 5) -> Path:
    torch.manual_seed(1)
    model = Model(wrong or (0.0, 0.0, 0.0))
    x = torch.randn(1, length, 4)
    with torch.inference_mode(), recorded(model) as found:
        model(x)
    torch.save({"even": found}, folder / name)
    assert not any(block._forward_hooks for block in model.blocks)
    return folder / name


def test_equal_blocks_have_no_error(tmp_path: Path) -> None:
    found = errors(run(tmp_path, "port"), run(tmp_path, "reference"))
    assert found == [BlockError("even", f"blocks.{i}", 0.0) for i in range(3)]


def test_a_wrong_block_is_where_the_errors_begin(tmp_path: Path) -> None:
    """The broken twin: the second block is off in its second output alone."""
    found = [row.error for row in errors(run(tmp_path, "port", 0.0, 1e-2, 0.0), run(tmp_path, "reference"))]
    assert found[0] == found[2] == 0.0 and found[1] is not None and found[1] > 1e-3


def test_blocks_that_differ_in_shape_or_are_missing_have_no_error(tmp_path: Path) -> None:
    other = errors(run(tmp_path, "port", length=6), run(tmp_path, "reference"))
    assert [row.error for row in other] == [None] * 3
    fewer = errors(run(tmp_path, "port", 0.0, 0.0), run(tmp_path, "reference"))
    assert [row.error for row in fewer][2] is None


def test_the_tree_joins_equal_blocks_and_stands_in_the_order_of_the_calls() -> None:
    model = Model()
    with torch.inference_mode(), first_calls(model) as order:
        model(torch.randn(1, 5, 4))
    assert order == ["split", "blocks", "out"]
    tree = tree_of(model, order)
    assert [child.name for child in tree.children] == ["blocks", "out"]  # what holds nothing is left out
    (block,) = tree.children[0].children
    assert (block.name, block.class_name, block.count) == ("0", "Block", 3)
    assert [(c.name, c.kind) for c in block.children] == [("norm", "norm"), ("proj", "replicated")]
    assert tree.parameters == sum(p.numel() for p in model.parameters())


def test_a_different_block_is_a_row_of_its_own() -> None:
    model = Model()
    model.blocks[1].proj = nn.Linear(4, 4, bias=False)
    assert [(c.name, c.count) for c in tree_of(model).children[1].children] == [("0", 1), ("1", 1), ("2", 1)]


def test_split_points_are_those_of_the_plan() -> None:
    class Input:
        split_dim, split_output, shard_group = 1, True, "tokens"

    class Output:
        gather_dim, shard_group = 1, None

    model = Model()
    model._sp_plan = {"split": {0: Input(), 1: Input()}, "out": Output()}
    tree = tree_of(model, ["split", "blocks", "out"])
    assert tree.children[0].splits == (SplitPoint("split", "tokens", 1, True),)
    assert tree.children[2].splits == (SplitPoint("gather", "output", 1, True),)
    assert ModuleNode.from_data({**vars(tree), "children": []}).name == "Model"


@pytest.mark.parametrize(
    ("name", "attributes", "kind"),
    [
        ("QKVParallelLinear", {}, "qkv"),
        ("ColumnParallelLinear", {}, "column"),
        ("ColumnParallelLinear", {"gather_output": True}, "gathered"),
        ("RowParallelLinear", {}, "row"),
        ("RowParallelLinear", {"input_is_parallel": False}, "scattered"),
        ("ColumnParallelLinear", {"disable_tp": True}, "replicated"),
        ("SomeRMSNorm", {}, "norm"),
        ("Whatever", {}, ""),
    ],
)
def test_the_role_of_a_layer_is_that_of_its_class(name: str, attributes: dict[str, bool], kind: str) -> None:
    layer = type(name, (nn.Module,), {})()
    for key, value in attributes.items():
        setattr(layer, key, value)
    assert kind_of(layer) == kind
