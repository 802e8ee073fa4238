"""Modules whose tables sizes alone decide are found; those that read more, keep more or are written into are not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from omniport.analyse import size_tables
from omniport.analyse.size_tables import SUBJECT
from omniport.plan.model import Decision
from omniport.source.tree import SourceTree

ROPE = """
import torch
from torch import nn


class Rope(nn.Module):
    def __init__(self, dim: int, theta: float = 10000.0):
        super().__init__()
        self.dim = dim
        self.register_buffer("freqs", make(dim, theta), persistent=False)

    def forward(self, x: torch.Tensor, fps: int | None = None):
        freqs = torch.outer(torch.arange(x.shape[1] // 2, device=x.device), self.freqs)
        return freqs.cos(), freqs.sin()
"""

PORT = """
class Block(nn.Module):
    def forward(self, x, tables):
        query, key = self.to_qkv(x)
        query[:, 2:] = rotate(query[:, 2:], tables)
        cos, sin = tables
        return query * cos.unsqueeze(0)

class Root(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.rope = Rope(dim)

    def forward(self, x, fps=None):
        tables = self.rope(x, fps)
        for block in self.blocks:
            x = block(x, tables)
        return x
"""

ROTATE = """
def rotate(x, tables):
    cos, sin = tables
    out = x * cos
    out[1:] = out[1:] * sin
    return out
"""


def found(tmp_path: Path, rope: str = ROPE, port: str = PORT, rotate: str = ROTATE) -> list[Decision]:
    package = tmp_path / "diffusers"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "rope.py").write_text(rope + rotate)
    classes = [node for node in ast.parse(port).body if isinstance(node, ast.ClassDef)]
    imported = {"Rope": "diffusers.rope", "rotate": "diffusers.rope"}
    return size_tables.size_tables(SourceTree(package, "1.0"), classes, imported)


def test_tables_that_sizes_decide_are_found(tmp_path: Path) -> None:
    (decision,) = found(tmp_path)
    assert decision.subject == f"{SUBJECT} rope"
    assert decision.value == "Rope(x: torch.Tensor, fps: int | None=None)"
    assert (decision.why.file, decision.why.line) == ("diffusers/rope.py", 6)


def test_names_of_what_is_given_at_once_are_followed_too(tmp_path: Path) -> None:
    two = PORT.replace("tables = self.rope", "cos, sin = self.rope").replace("block(x, tables)", "block(x, (cos, sin))")
    assert found(tmp_path, port=two)
    assert not found(tmp_path, port=two.replace("        for", "        sin *= 2\n        for"))


OTHERS = [
    ("x.shape[1] // 2", "int(x[0, 0])"),  # reads an entry
    ("x.shape[1] // 2", "len(positions(x))"),  # hands it on
    ("fps: int", "fps: torch.Tensor"),  # if it is read
    (", fps: int | None = None", ", *sizes"),
    (", persistent=False", ""),  # a checkpoint fills it
    ("self.dim = dim", "self.dim = nn.Parameter(torch.ones(dim))"),
    ("self.dim = dim", "self.dim = nn.Linear(dim, dim)"),
    ("return freqs.cos()", "self.freqs = freqs\n        return freqs.cos()"),
    ("return freqs.cos()", "self.kept[x.shape] = freqs\n        return freqs.cos()"),
    ("torch.arange(", "torch.randn("),
    ("(nn.Module)", "(Base)"),
    ("    def forward", "    @other\n    def forward"),
]


@pytest.mark.parametrize(("old", "new"), OTHERS)
def test_other_modules_are_not(tmp_path: Path, old: str, new: str) -> None:
    rope = ROPE.replace("torch.arange(x.shape", "torch.arange((fps or 1) * x.shape")
    assert found(tmp_path, rope) and old in rope and not found(tmp_path, rope.replace(old, new))


CALLS = [
    ("tables = self.rope(x, fps)", "tables = self.rope(x, fps)\n        more = self.rope(x[:, 1:], fps)"),
    ("tables = self.rope(x, fps)", "tables = rotate(self.rope(x, fps))"),
    ("Rope(dim)", "Other(dim)"),
]


@pytest.mark.parametrize(("old", "new"), CALLS)
def test_a_module_that_is_called_otherwise_is_not(tmp_path: Path, old: str, new: str) -> None:
    assert old in PORT and not found(tmp_path, port=PORT.replace(old, new))


WRITES = [
    ("cos, sin = tables\n", "cos, sin = tables\n        cos += 1\n"),
    ("cos, sin = tables\n", "cos, sin = tables\n        cos[0] = 1\n"),
    ("cos, sin = tables\n", "cos, sin = (table.float() for table in tables)\n        sin.mul_(2)\n"),
    ("cos, sin = tables\n", "cos, sin = tables\n        torch.mul(cos, 2, out=sin)\n"),
    ("cos, sin = tables\n", "cos, sin = tables\n        one, two = cos.chunk(2)\n        two[0] = 1\n"),
    ("block(x, tables)", "block(x, tables=[t[None] for t in tables])\n            tables[0].zero_()"),
    ("block(x, tables)", "self.run(block, x, tables)\n\n    def run(self, block, x, given):\n        given[0][:] = 1"),
]


@pytest.mark.parametrize(("old", "new"), WRITES)
def test_tables_that_something_may_write_into_are_not(tmp_path: Path, old: str, new: str) -> None:
    assert old in PORT and not found(tmp_path, port=PORT.replace(old, new))


def test_what_cannot_be_called_so_is_not_asked(tmp_path: Path) -> None:
    other = "class Other(nn.Module):\n    def forward(self, x, y{}):\n        y[0] = 1\n\n"
    assert found(tmp_path, port=other.format(", z") + PORT)
    for more in ("", ", z=None", ", *z", ", **z"):
        assert not found(tmp_path, port=other.format(more) + PORT)
    assert found(tmp_path, port=PORT.replace("return x", "x[0] = 1\n        return x"))  # the root does not call itself


def test_words_of_a_dict_are_not_written_into_its_tensors(tmp_path: Path) -> None:
    new = 'words = {"tables": tables}\n        words[WHERE] = None\n        for block'
    assert found(tmp_path, port=PORT.replace("for block", new.replace("WHERE", '"x"')))
    assert not found(tmp_path, port=PORT.replace("for block", new.replace("WHERE", "0")))


def test_a_function_of_the_reference_may_write_into_them(tmp_path: Path) -> None:
    assert not found(tmp_path, rotate=ROTATE.replace("out = x * cos", "out = x * cos.neg_()"))
    assert found(tmp_path, rotate=ROTATE.replace("out = x * cos", "out = x.neg_() * cos"))


def test_without_the_proofs_all_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_tables, "written_into", lambda *_: False)
    assert all(found(tmp_path, port=PORT.replace(old, new)) for old, new in WRITES)
    monkeypatch.setattr(size_tables, "_by_size", lambda _: True)
    assert all(found(tmp_path, ROPE.replace(old, new)) for old, new in OTHERS)


@pytest.mark.parametrize(
    ("module", "name", "by_size"),
    [
        ("transformer_glm_image", "GlmImageRotaryPosEmbed", True),
        ("transformer_wan", "WanRotaryPosEmbed", True),
        ("transformer_cosmos", "CosmosRotaryPosEmbed", True),
        ("transformer_ltx", "LTXVideoRotaryPosEmbed", False),  # coordinates are a tensor
        ("transformer_flux", "FluxPosEmbed", False),  # positions are
        ("transformer_wan", "WanTimeTextImageEmbedding", False),
    ],
)
def test_modules_of_diffusers(diffusers: SourceTree, module: str, name: str, by_size: bool) -> None:
    source = diffusers.module(f"diffusers.models.transformers.{module}")
    assert source is not None and size_tables._by_size(source.class_def(name)) is by_size
