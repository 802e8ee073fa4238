"""Numbers are filled in on the device: the same tensor, without a copy from the host."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.filled import with_numbers_filled
from omniport.source.syntax import code
from tests.pipeline.helpers import function


def run(line: str) -> str:
    source = (
        f"def diffuse(self, g: float, k: int, m: float | None, x):\n    for t in x:\n        {line}\n    return x\n"
    )
    return code(with_numbers_filled(function(source))).strip().splitlines()[2].strip()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("s = torch.tensor([g], device=d)", "s = torch.full([1], g, device=d)"),
        ("s = torch.tensor([k], device=self.device) if y else None",
         "s = torch.full([1], k, device=self.device) if y else None"),
        ("s = torch.tensor([0.0], device=d)", "s = torch.full([1], 0.0, device=d)"),
    ],
)  # fmt: skip
def test_a_number_is_filled_in(before: str, after: str) -> None:
    assert run(before) == after


@pytest.mark.parametrize(
    "line",
    [
        "s = torch.tensor([x], device=d)",  # may be a tensor
        "s = torch.tensor([m], device=d)",
        "s = torch.tensor([g, g], device=d)",
        "s = torch.tensor(g, device=d)",
        "s = torch.tensor([g])",  # on the host
        "s = torch.tensor([g], dtype=d)",
        "s = torch.tensor([g], device=d, dtype=k)",
        "g = torch.tensor([g], device=d)",  # no number in the next round
    ],
)
def test_other_forms_stay(line: str) -> None:
    assert run(line) == line


def test_no_line_no_change() -> None:
    node = function("def diffuse(self, g: float):\n    return torch.full([1], g)\n")
    assert with_numbers_filled(node) is node


@pytest.mark.verify
@pytest.mark.parametrize("number", [3.5, 3, 0.1, True])
def test_the_tensors_are_equal(number: float) -> None:
    """Of the same type, too, and not with another number, so that this can fail."""
    torch = pytest.importorskip("torch")
    line = "s = torch.tensor([g], device=d)"
    seen = []
    for text in (line, run(line), run(line).replace("[1], g", "[1], g + 1.0")):
        names = {"torch": torch, "g": number, "d": "cpu"}
        exec(text, names)
        seen.append(names["s"])
    assert seen[0].dtype == seen[1].dtype and torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
