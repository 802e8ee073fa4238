"""Specialisations that come to the same text are one class; one condition that is settled otherwise makes two."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.analyse.normalise import normalise
from omniport.source.tree import SourceTree

SOURCE = """import torch
from torch import nn


class Part(nn.Module):
    def __init__(self, dim: int, number{annotation}, flag: bool = False):
        super().__init__()
        {own}
        self.flag = flag

    def forward(self, x: torch.Tensor, more: torch.Tensor | None = None):
        if self.flag:
            x = x + 1
        if more is not None:
            x = x + more
        return self.linear(x){forward}


class Root(nn.Module):
    def __init__(self, dim: int = 4, open: int = 3):
        super().__init__()
        {parts}

    def forward(self, x: torch.Tensor, y: torch.Tensor):
        {calls}
        return x
"""
LINEAR = "self.linear = nn.Linear(dim, number * dim)"
CALLS = "x = self.first(x)\n        x = self.second(x)"


def normal(
    tmp_path: Path,
    parts: list[str],
    *,
    own: str = LINEAR,
    forward: str = "",
    calls: str = CALLS,
    annotation: str = ": int",
) -> str:
    package = tmp_path / "diffusers"
    package.mkdir()
    (package / "__init__.py").touch()
    names = ("first", "second", "third")
    lines = "\n        ".join(f"self.{name} = {part}" for name, part in zip(names, parts, strict=False))
    (package / "m.py").write_text(
        SOURCE.format(own=own, parts=lines, calls=calls, forward=forward, annotation=annotation)
    )
    tree = SourceTree.locate(tmp_path)
    return normalise(tree, tree.find_class("Root"), "Root", {}).form.code


def classes(text: str) -> list[str]:
    return [line.split()[1].partition("(")[0] for line in text.splitlines() if line.startswith("class ")]


@pytest.mark.parametrize("second", ["Part(dim, 3)", "Part(dim, open)", "Part(dim, number=3, flag=False)"])
def test_a_number_that_differs_stays_a_parameter(tmp_path: Path, second: str) -> None:
    text = normal(tmp_path, ["Part(dim, 2)", second])
    assert classes(text) == ["Part", "Root"]
    assert "nn.Linear(dim, number * dim)" in text and "Part(dim, 2)" in text and "flag" not in text


def test_so_does_one_that_an_attribute_holds(tmp_path: Path) -> None:
    own = "self.number = number\n        self.linear = nn.Linear(dim, self.number * dim)"
    text = normal(tmp_path, ["Part(dim, 2)", "Part(dim, 3)"], own=own, forward=" * self.number")
    assert classes(text) == ["Part", "Root"]
    assert "self.linear(x) * self.number" in text


def test_a_number_that_nothing_reads_makes_no_second_class(tmp_path: Path) -> None:
    text = normal(tmp_path, ["Part(dim, 2)", "Part(dim, 3)"], own="self.linear = nn.Linear(dim, dim)")
    assert classes(text) == ["Part", "Root"]
    assert "number" not in text


def test_several_are_one(tmp_path: Path) -> None:
    calls = f"{CALLS}\n        x = self.third(x)"
    text = normal(tmp_path, ["Part(dim, 2)", "Part(dim, open)", "Part(dim, 5)"], calls=calls)
    assert classes(text) == ["Part", "Root"]


def test_what_is_never_given_to_one_is_given_to_the_other(tmp_path: Path) -> None:
    text = normal(tmp_path, ["Part(dim, 2)", "Part(dim, 3)"], calls="x = self.first(x)\n        x = self.second(x, y)")
    assert len(classes(text)) == 3
    assert text.count("x = x + more") == 1


def test_a_flag_that_differs_makes_two(tmp_path: Path) -> None:
    text = normal(tmp_path, ["Part(dim, 2)", "Part(dim, 2, flag=True)"])
    assert len(classes(text)) == 3
    assert text.count("x = x + 1") == 1


def test_a_number_that_settles_a_condition_makes_two(tmp_path: Path) -> None:
    own = f"{LINEAR}\n        if number > 2:\n            self.linear = nn.Linear(dim, dim, bias=False)"
    text = normal(tmp_path, ["Part(dim, 2)", "Part(dim, 3)"], own=own)
    assert len(classes(text)) == 3


def test_a_number_beside_none_makes_two(tmp_path: Path) -> None:
    own = "number = dim if number is None else number\n        self.linear = nn.Linear(dim, number * dim)"
    text = normal(tmp_path, ["Part(dim, 2)", "Part(dim, None)"], own=own, annotation=": int | None")
    assert len(classes(text)) == 3


def test_a_number_that_another_name_holds_makes_two(tmp_path: Path) -> None:
    own = "self.size = number\n        self.linear = nn.Linear(dim, self.size * dim)"
    text = normal(tmp_path, ["Part(dim, 2)", "Part(dim, 3)"], own=own)
    assert len(classes(text)) == 3
