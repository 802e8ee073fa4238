"""What is said of tensor parallelism: the share of the blocks, and the collectives of a block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from omniport.corpus.results import SHARE, ClassResult, CorpusReport, StageResult
from omniport.corpus.sharding import sharding_lines, sharding_page
from omniport.corpus.shares import block_share, per_block
from omniport.verify.block_meter import BlockCall, surplus, too_much
from omniport.verify.meter import CollectiveCounter, Meter, Reading


def report(*measures: dict[str, float]) -> CorpusReport:
    classes = tuple(
        ClassResult(
            f"C{at}",
            "c.py",
            (StageResult("tp2", "ok", figure=4e-7, measures=found), StageResult("tp4", "refused", "2 heads")),
        )
        for at, found in enumerate(measures)
    )
    return CorpusReport(classes, ("tp2", "tp4"), {}, "2026-01-01", 1.0)


COUNTS = {
    "reduces least": 2.0, "reduces": 3.0, "norms": 1.0, "cut": 0.0, "gathers": 1.0, "outside": 4.0,
    "token gathers": 0.0,
}  # fmt: skip


def test_the_page_counts_the_shares_that_are_small_enough() -> None:
    shares = report(COUNTS | {"share": 0.5, "hand share": 0.75}, COUNTS | {"share": SHARE + 1e-3}, COUNTS, {})
    text = "\n".join(sharding_lines(shares))
    assert "1 of 2 classes hold at most 0.52" in text
    assert "| C0 | 4e-07 | refused | 0.500 | 0.750 | 2 to 3 | 1 | 0 | 1 | yes | 4 |" in text
    assert "| C2 | 4e-07 | refused | size not known |  | 2 to 3" in text and "C3" not in text
    assert not list(sharding_lines(report({})))


def test_the_page_counts_the_classes_and_names_what_does_not_run() -> None:
    text = "\n".join(sharding_page(report(COUNTS, COUNTS)))
    assert "- tp2: 2 of 2 classes" in text and "- tp4: 0 of 2 classes" in text
    assert "- **C1**, tp4, refused: 2 heads" in text and "C1**, tp2" not in text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"extra": 1.0}, "1 too many"), ({"token gathers": 2.0}, "2 of tokens"), ({"extra": 0.0}, "yes")],
)
def test_the_page_says_what_is_too_much(wrong: dict[str, float], said: str) -> None:
    text = "\n".join(sharding_lines(report(COUNTS | wrong)))
    assert f"| {said} | 4 |" in text and (said == "yes") == ("1 of 1 classes do" in text)


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of one rank, whose collectives are dispatched as those of many."""
    torch = pytest.importorskip("torch")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.verify
@pytest.mark.parametrize(("sums", "extra"), [(1, 0), (2, 1)])
def test_an_all_reduce_that_no_layer_implies_is_found(alone: None, sums: int, extra: int) -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class RowParallelLinear(nn.Linear):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            y = super().forward(x)
            for _ in range(sums):
                torch.distributed.all_reduce(y)
            return y

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed = RowParallelLinear(4, 4)
            self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), RowParallelLinear(4, 4)) for _ in range(3)])

        def forward(self, x: Any) -> Any:
            x = self.embed(x)
            for block in self.blocks:
                x = block(x)
            return x

    net = Net()
    with torch.no_grad(), Meter(net) as meter:
        net(torch.ones(2, 3, 4))
    found = per_block(meter.reading)
    assert (found["reduces least"], found["reduces"], found["outside"]) == (sums, sums, sums)
    assert len(meter.reading.block_collectives) == 3 and surplus(meter.reading.block_collectives) == extra


def test_norms_and_cut_rows_are_implied_too() -> None:
    calls = [BlockCall(reduces=3, outputs=2, norms=1), BlockCall(reduces=4, gathers=1, outputs=2, norms=1, cut=1)]
    reading = Reading(collectives={"all_reduce": 9}, token_gathers=1, block_collectives=calls)
    assert surplus(calls) == 0 and too_much(calls, 0) == []
    assert per_block(reading) == {
        "reduces least": 3, "reduces": 4, "norms": 1, "cut": 1, "gathers": 1, "outside": 2, "token gathers": 1,
    }  # fmt: skip
    more = [*calls, BlockCall(reduces=2, outputs=1)]
    assert surplus(more) == 1
    assert too_much(more, 0) == ["a call of a block makes 1 all-reduces that no layer implies"]
    assert too_much(calls, 2) == ["2 gathers of tensors that hold tokens"]


@pytest.mark.parametrize(("kept", "share"), [(8, 1.0), (4, 0.5)])
def test_the_share_is_of_the_blocks_alone(kept: int, share: float) -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, width: int = 8) -> None:
            super().__init__()
            self.head = torch.nn.Linear(1000, 1000)
            self.blocks = torch.nn.ModuleList([torch.nn.Linear(8, width, bias=False) for _ in range(3)])

    assert block_share(lambda: Net(kept), Net, {"width": 8}) == share
    assert block_share(lambda: Net(kept), Net, {"width": "wide"}) is None, "a config that builds no reference"


def test_gathers_of_tokens_are_told_from_those_of_vectors() -> None:
    torch = pytest.importorskip("torch")

    class Gather:
        @staticmethod
        def name() -> str:
            return "c10d::_allgather_base_"

        def __call__(self, *args: object, **kwargs: object) -> None:
            return None

    counter = CollectiveCounter()
    counter.__torch_dispatch__(Gather(), (), (torch.zeros(2, 6),))
    counter.__torch_dispatch__(Gather(), (), (torch.zeros(2, 1, 6),))
    assert counter.counts["all_gather"] == 2 and counter.gathered == [1]
    counter.__torch_dispatch__(Gather(), (), (torch.zeros(2, 5, 6),))
    assert counter.gathered == [1, 5]


@pytest.mark.verify
@pytest.mark.parametrize(("rows", "found"), [(4, 0), (7, 1), (9, 1)])
def test_a_gather_of_as_many_rows_as_tokens_is_one_of_tokens(rows: int, found: int) -> None:
    torch = pytest.importorskip("torch")
    meter = Meter(torch.nn.Linear(2, 2))
    for query, key in ((24, 7), (24, 24)):
        meter._on_attention(meter._transformer, (torch.zeros(1, query, 2, 4), torch.zeros(1, key, 2, 4)), {})
    meter._counter.gathered = [rows]
    meter._counter.__enter__()  # type: ignore[no-untyped-call]
    meter.__exit__(None, None, None)
    assert meter.reading.token_gathers == found
