"""What a rank holds of the layers: matrices of the blocks, without tables, norms and what the plan leaves whole."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from omniport.verify.layer_weights import layer_weights, planned_whole  # noqa: E402

pytestmark = pytest.mark.verify


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 2)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(4)
        self.table = nn.Embedding(100, 4)
        self.scale = nn.Parameter(torch.zeros(6, 4))
        self.parts = nn.ModuleList([Inner(), Inner()])
        self.conv = nn.Conv1d(4, 4, 3)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1000, 4)
        self.blocks = nn.ModuleList([Block(), Block()])


def test_matrices_of_the_blocks_are_counted() -> None:
    assert layer_weights(Net(), ()) == 2 * (32 + 2 * 8 + 48)


@pytest.mark.parametrize(
    ("whole", "less"),
    [(("Block.proj",), 64), (("Inner.gate",), 32), (("Block.parts.*.gate",), 32), (("Block.parts.0.gate",), 16)],
)
def test_what_the_plan_leaves_whole_is_not(whole: tuple[str, ...], less: int) -> None:
    assert layer_weights(Net(), whole) == layer_weights(Net(), ()) - less


@pytest.mark.parametrize("whole", ["Other.proj", "Block.pro", "Block.proj.weight.x", "Net.embed", "Block.norm"])
def test_other_paths_leave_nothing_out(whole: str) -> None:
    assert layer_weights(Net(), (whole,)) == layer_weights(Net(), ())


def test_a_tied_matrix_counts_once() -> None:
    net = Net()
    net.blocks[1].proj.weight = net.blocks[0].proj.weight
    assert layer_weights(net, ()) == layer_weights(Net(), ()) - 32


def test_the_plan_names_replicated_linears_alone() -> None:
    linears = [{"path": "A.x", "role": "replicated"}, {"path": "A.y", "role": "column"}]
    assert planned_whole({"transformer": {"linears": linears}}) == ("A.x",)
    assert planned_whole({}) == ()
