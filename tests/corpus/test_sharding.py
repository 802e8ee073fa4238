"""What is said of tensor parallelism: the share of the blocks, and the collectives of a block."""

from __future__ import annotations

import pytest

from omniport.corpus.results import SHARE, ClassResult, CorpusReport, StageResult
from omniport.corpus.sharding import sharding_lines
from omniport.corpus.shares import block_share, per_block
from omniport.verify.meter import CollectiveCounter, Reading


def report(*measures: dict[str, float]) -> CorpusReport:
    classes = tuple(
        ClassResult(f"C{at}", "c.py", (StageResult("tp2", "ok", measures=found),)) for at, found in enumerate(measures)
    )
    return CorpusReport(classes, ("tp2",), {}, "2026-01-01", 1.0)


def test_the_page_counts_the_shares_that_are_small_enough() -> None:
    counts = {"reduces": 2.0, "gathers": 0.5, "token gathers": 0}
    text = "\n".join(sharding_lines(report(counts | {"share": 0.5}, counts | {"share": SHARE + 1e-3}, counts, {})))
    assert "1 of 2 classes hold at most 0.52" in text
    assert "| C0 | 0.500 | 2 | 0.5 | 0 |" in text and "| C2 | size not known |" in text and "C3" not in text
    assert not list(sharding_lines(report({})))


def test_collectives_are_counted_for_each_call_of_a_block() -> None:
    reading = Reading(block_calls=4, collectives={"all_reduce": 8, "all_gather": 2}, token_gathers=1)
    assert per_block(reading) == {"reduces": 2.0, "gathers": 0.5, "token gathers": 1}


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
    assert counter.counts["all_gather"] == 2 and counter.token_gathers == 0
    counter.__torch_dispatch__(Gather(), (), (torch.zeros(2, 5, 6),))
    assert counter.token_gathers == 1
