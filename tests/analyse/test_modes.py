"""A config string that chooses between code is folded to the values that configs have; any other string stays open."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from omniport.analyse.modes import MODES, modes_of
from omniport.analyse.normalise import normalise
from omniport.errors import UnsupportedError
from omniport.source.tree import SourceTree

SOURCE = """import torch
from torch import nn


class Inner(nn.Module):
    def __init__(self, dim: int, kind: str | None = None):
        super().__init__()
        self.lin = nn.Linear(dim, dim)
        if kind is None:
            self.norm = None
        elif kind == "layer":
            self.norm = nn.LayerNorm(dim)
        elif kind == "rms":
            self.norm = nn.RMSNorm(dim)
        else:
            raise ValueError(kind)
        if kind is not None and dim is not None:
            self.second = nn.LayerNorm(dim)
        else:
            self.second = None

    def forward(self, x: torch.Tensor):
        x = self.lin(x)
        if self.second is not None:
            x = self.second(x)
        return self.norm(x) if self.norm is not None else x


class Root(nn.Module):
    def __init__(self, dim: int = 4, {parameter} = {default}):
        super().__init__()
        self.inner = Inner(dim, {name})

    def forward(self, x: torch.Tensor):
        return self.inner(x)
"""


def constructors(
    tmp_path: Path, name: str, annotation: str, default: str, config: dict[str, object]
) -> tuple[str, str]:
    package = tmp_path / "diffusers"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "0"\n')
    text = SOURCE.format(parameter=f"{name}: {annotation}", default=default, name=name)
    (package / "m.py").write_text(text)
    tree = SourceTree.locate(tmp_path)
    code = normalise(tree, tree.find_class("Root"), "Root", config).form.code
    found = {n.name: n for n in ast.parse(code).body if isinstance(n, ast.ClassDef)}
    return ast.unparse(found["Inner"].body[0]), ast.unparse(found["Root"].body[0])


def test_the_default_of_a_selector_is_all_there_is(tmp_path: Path) -> None:
    inner, root = constructors(tmp_path, "norm_type", "str", "'rms'", {})
    assert "kind" not in inner
    assert "self.norm = nn.RMSNorm(dim)" in inner
    assert "if norm_type != 'rms':\n        raise ValueError" in root


def test_the_config_in_hand_adds_its_value(tmp_path: Path) -> None:
    inner, root = constructors(tmp_path, "norm_type", "str", "'rms'", {"norm_type": "layer"})
    assert "if kind == 'layer':" in inner
    assert "else:\n        self.norm = nn.RMSNorm(dim)" in inner
    assert "raise" not in inner
    assert "if norm_type not in ('rms', 'layer'):\n        raise ValueError" in root


def test_none_and_one_string_leave_one_condition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mode = MODES["SD3Transformer2DModel"]["qk_norm"]
    monkeypatch.setitem(MODES, "Root", {"qk_norm": type(mode)((None, "rms"), "test")})
    inner, _ = constructors(tmp_path, "qk_norm", "str | None", "None", {})
    assert "if kind is None:\n        self.norm = None\n    else:\n        self.norm = nn.RMSNorm(dim)" in inner
    assert "if kind is not None:\n        self.second" in inner  # `and dim is not None` always holds
    assert "'layer'" not in inner and "raise" not in inner


@pytest.mark.parametrize(
    ("name", "annotation", "default"),
    [("rope_type", "str", "'rms'"), ("norm_type", "str | None", "None"), ("norm_type", "str", "'rms' + ''")],
)
def test_other_strings_stay_open(tmp_path: Path, name: str, annotation: str, default: str) -> None:
    inner, root = constructors(tmp_path, name, annotation, default, {})
    assert inner.count("kind ==") == 2 and "raise ValueError(kind)" in inner
    assert "raise" not in root


def test_a_config_value_of_another_kind_is_not_taken_over() -> None:
    assert modes_of("Any", {"norm_type": "rms"}, {"norm_type": ["a"]})["norm_type"].values == ("rms",)
    assert modes_of("Any", {"norm_type": 3}, {}) == {}


def test_a_value_that_no_port_serves_is_refused_even_where_it_is_published() -> None:
    root = "Kandinsky5Transformer3DModel"
    assert modes_of(root, {}, {"attention_type": "regular"})["attention_type"].values == ("regular",)
    with pytest.raises(UnsupportedError, match="attention_type='nabla': sparse attention takes"):
        modes_of(root, {}, {"attention_type": "nabla"})
