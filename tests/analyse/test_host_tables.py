"""Tables of rotary embeddings that lie on the host are found, and go to the device once, in the root's forward."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import libcst as cst
import pytest

from omniport.analyse import host_tables
from omniport.analyse.host_tables import SUBJECT
from omniport.plan.model import Decision, TransformerPlan, Why
from omniport.rewrite.host_tables import place_tables
from omniport.source.tree import SourceTree

ROPE = """
import torch
from torch import nn


class Rope(nn.Module):
    def __init__(self, dim: int, theta: float = 10000.0):
        super().__init__()
        self.dim = dim
        self.theta = theta

    def forward(self, x: torch.Tensor):
        length = x.shape[1] // 2
        freqs = torch.outer(torch.arange(length), 1.0 / self.theta ** torch.arange(0, self.dim, 2))
        return (freqs.cos(), freqs.sin())
"""

ROOT = """
class Root(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.rope = Rope(dim)

    def forward(self, x, tables=None):
        if tables is None:
            tables = self.rope(x)
        for block in self.blocks:
            x = block(x, tables)
        return x
"""


def found(tmp_path: Path, rope: str = ROPE, root: str = ROOT) -> list[Decision]:
    package = tmp_path / "diffusers"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "rope.py").write_text(rope)
    (node,) = ast.parse(root).body
    assert isinstance(node, ast.ClassDef)
    return host_tables.host_tables(SourceTree(package, "1.0"), node, {"Rope": "diffusers.rope"})


def test_tables_that_are_made_from_sizes_alone_lie_on_the_host(tmp_path: Path) -> None:
    (decision,) = found(tmp_path)
    assert (decision.subject, decision.value) == (f"{SUBJECT} rope", "Rope")
    assert (decision.why.file, decision.why.line) == ("diffusers/rope.py", 6)


def test_the_device_of_a_tensor_made_there_is_the_host(tmp_path: Path) -> None:
    rope = ROPE.replace("        return", "        more = torch.arange(2, device=freqs.device)\n        return")
    assert found(tmp_path, rope)


def test_a_function_that_would_take_a_device_makes_them_too(tmp_path: Path) -> None:
    function = (
        "\n\ndef tables(n, device=None):\n    def both(a):\n        return a\n    a = torch.arange(n)\n    return {}\n"
    )
    body = ROPE.replace("freqs = torch.outer(", "freqs = tables(length)  # torch.outer(").replace(
        "(freqs.cos(), freqs.sin())", "freqs"
    )
    assert found(tmp_path, body + function.format("a, both(a)"))
    assert not found(tmp_path, body + function.format("both(a)"))  # one tensor, not a tuple
    assert not found(tmp_path, body + function.format("a, both(a)").replace("device=None", "where=None"))


ELSEWHERE = [
    ("torch.arange(length)", "torch.arange(length, device=x.device)"),
    ("freqs.cos()", "freqs.cos().to(x)"),
    ("freqs.cos()", "freqs.cos().cuda()"),
    ("torch.arange(length)", 'torch.arange(length, device="cuda")'),
    ("torch.arange(length)", "x[0]"),  # on the device of the input
    ("self.theta = theta", "self.theta = nn.Parameter(torch.ones(1))"),
    ("self.theta = theta", 'self.register_buffer("theta", theta)'),
    ("nn.Module", "Base"),
    ("(freqs.cos(), freqs.sin())", "freqs"),
]


@pytest.mark.parametrize(("old", "new"), ELSEWHERE)
def test_other_tables_are_not_said_to(tmp_path: Path, old: str, new: str) -> None:
    assert old in ROPE and not found(tmp_path, ROPE.replace(old, new))


def test_a_module_that_does_more_or_is_called_otherwise_is_left_alone(tmp_path: Path) -> None:
    for old, new in [
        ("self.rope(x)", "self.rope(x, 2)"),
        ("self.rope(x)", "self.rope(y)"),
        ("Rope(dim)", "Other(dim)"),
    ]:
        assert not found(tmp_path, root=ROOT.replace(old, new))


def test_without_the_proof_every_module_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_tables, "_on_host", lambda *_: True)
    assert all(found(tmp_path, ROPE.replace(old, new)) for old, new in ELSEWHERE)


@pytest.mark.parametrize(
    ("module", "name", "arguments", "host"),
    [
        ("transformer_glm_image", "GlmImageRotaryPosEmbed", (16, 2), True),
        ("transformer_cogview4", "CogView4RotaryPosEmbed", (16, 2, (8, 8)), True),
        ("transformer_hunyuan_video", "HunyuanVideoRotaryPosEmbed", (2, 1, [4, 6, 6]), False),
    ],
)
def test_what_is_said_of_diffusers_is_so(
    diffusers: SourceTree, module: str, name: str, arguments: tuple[object, ...], host: bool
) -> None:
    torch = pytest.importorskip("torch")
    source = diffusers.module(f"diffusers.models.transformers.{module}")
    assert source is not None and host_tables._on_host(diffusers, source, source.class_def(name)) is host
    rope = getattr(importlib.import_module(source.name), name)(*arguments)
    sizes = (1, 4, 8, 8) if host else (1, 4, 2, 8, 8)
    tables = rope(torch.empty(sizes, device="meta"))
    assert isinstance(tables, tuple) and {table.device.type for table in tables} == {"cpu" if host else "meta"}


def placed(*subjects: str) -> tuple[cst.ClassDef, cst.ClassDef]:
    root = cst.ensure_type(cst.parse_module(ROOT).body[0], cst.ClassDef)
    decisions = tuple(Decision(subject, "Rope", Why("because")) for subject in subjects)
    empty = ()
    plan = TransformerPlan(
        "Root", "m", empty, empty, empty, empty, empty, empty, empty, empty, empty, empty, decisions=decisions
    )
    return root, place_tables(root, plan)


def test_they_go_to_the_device_of_the_input_where_they_are_made() -> None:
    root, new = placed(f"{SUBJECT} rope")
    expected = "tables = tuple(table.to(x.device) for table in self.rope(x))"
    before, after = cst.Module([root]).code, cst.Module([new]).code
    assert after == before.replace("tables = self.rope(x)", expected) and expected in after


@pytest.mark.parametrize("subjects", [(), (f"{SUBJECT} other",), ("import Rope",)])
def test_nothing_else_moves(subjects: tuple[str, ...]) -> None:
    root, new = placed(*subjects)
    assert new.deep_equals(root)
