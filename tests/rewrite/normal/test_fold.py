"""Decided conditions are taken, constants written out, and nothing else changes: on whole small programs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from omniport.analyse.normalise import normalise
from omniport.source.tree import SourceTree

HEAD = """import torch
import torch.nn.functional as F
from torch import nn


class Inner(nn.Module):
    def __init__(self, dim: int, flag: bool = False, kind: str = "a", table=None):
        super().__init__()
        self.lin = nn.Linear(dim, dim)
        self.flag = flag
        self.table = table
        self.kind = kind

    def forward(self, x: torch.Tensor, mask=None, scale: float = 1.0):
        {body}
        return self.lin(x)


class Root(nn.Module):
    def __init__(self, dim: int = 4, maybe: int | None = None):
        super().__init__()
        self.inner = Inner({arguments})
        self.maybe = maybe

    def forward(self, x: torch.Tensor, mask: torch.Tensor = None):
        return self.inner({call})
"""


def forward(tmp_path: Path, body: str, arguments: str = "dim", call: str = "x") -> str:
    package = tmp_path / "diffusers"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "0"\n')
    (package / "m.py").write_text(HEAD.format(body=body, arguments=arguments, call=call))
    tree = SourceTree.locate(tmp_path)
    code = normalise(tree, tree.find_class("Root"), "Root").form.code
    cls = next(n for n in ast.parse(code).body if isinstance(n, ast.ClassDef) and n.name == "Inner")
    function = next(n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "forward")
    return ast.unparse(function)


@pytest.mark.parametrize(
    ("body", "call"),
    [
        ("x = x * 2 if mask is not None else x", "x, mask"),  # the root's mask may be None or not
        ("if x.dtype == torch.float16:\n            x = x.clip(-1, 1)", "x"),
        ("if x.shape[0] > 1:\n            x = x * 2", "x"),
        ("if x.shape[0] in (1, 2):\n            x = x * 2", "x"),
        ("if scale > 1.0:\n            x = x * 2", "x, scale=x.shape[0]"),
        ("if torch.any(x):\n            x = x * 2", "x"),
    ],
)
def test_open_conditions_stay(tmp_path: Path, body: str, call: str) -> None:
    assert "if " in forward(tmp_path, body, call=call)


@pytest.mark.parametrize(
    ("body", "arguments", "call", "expected"),
    [
        ("if mask is not None:\n            x = x + mask", "dim", "x", "return self.lin(x)"),
        ("if mask is not None:\n            x = x + mask", "dim", "x, x", "x = x + mask"),
        ("if self.flag:\n            x = x * 2", "dim, flag=True", "x", "x = x * 2"),
        ("if not self.flag:\n            x = x * 2", "dim, flag=True", "x", "return self.lin(x)"),
        ("x = x * scale", "dim", "x", "x = x * 1.0"),
        ("x = F.gelu(x, approximate=self.kind)", "dim, kind='tanh'", "x", "approximate='tanh'"),
        ("if self.kind in ('a', 'b'):\n            x = x + 7", "dim", "x", "x = x + 7"),
        ("x = x if self.table is None else self.table(x)", "dim", "x", "return self.lin(x)"),
        ("if self.training:\n            x = x * 3", "dim", "x", "return self.lin(x)"),
        ("if x.dtype in _FLASH_ATTENTION_BACKENDS:\n            x = x * 3", "dim", "x", "return self.lin(x)"),
        ("if x.dtype not in ():\n            x = x * 3", "dim", "x", "x = x * 3"),
        ("if hasattr(self, 'missing'):\n            x = x * 3", "dim", "x", "return self.lin(x)"),
        ("kw = mask or {}\n        x = torch.cat([x], **kw)", "dim", "x", "torch.cat([x])"),
        ("for _ in range(2):\n            if mask is None:\n                x = x + 9", "dim", "x", "x = x + 9"),
    ],
)
def test_decided_conditions_are_taken(tmp_path: Path, body: str, arguments: str, call: str, expected: str) -> None:
    text = forward(tmp_path, body, arguments, call)
    assert expected in text
    assert "if " not in text and "None" not in text


def test_a_fact_that_only_one_call_has_is_no_fact(tmp_path: Path) -> None:
    text = forward(tmp_path, "if mask is not None:\n            x = x + mask", call="self.inner(x, x)")
    assert "if mask is not None" in text


def test_a_constant_that_changes_in_a_loop_stays(tmp_path: Path) -> None:
    text = forward(tmp_path, "n = 0\n        for _ in range(3):\n            x = x + n\n            n = n + 1")
    assert "x = x + n" in text


def test_a_side_that_is_a_decided_flag_goes(tmp_path: Path) -> None:
    text = forward(tmp_path, "if mask is not None or self.flag:\n            x = x * 2", call="x, mask")
    assert "if mask is not None:\n" in text


def test_a_side_that_is_decided_beside_a_value_stays(tmp_path: Path) -> None:
    text = forward(tmp_path, "x = self.lin(mask or self.flag)", call="x, mask")
    assert "mask or False" in text  # which gives mask itself
