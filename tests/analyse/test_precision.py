"""What stays in float32, and which tables come with the checkpoint."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from omniport.analyse.precision import KEPT, TABLE, kept_names
from omniport.check.engine import check
from omniport.errors import UnsupportedError
from omniport.plan.model import Decision
from omniport.port import analyse_transformer
from omniport.rewrite.transformer import render_transformer
from omniport.source.tree import SourceTree

MODEL = """
import torch
from torch import nn
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin


class Table(nn.Module):
    def __init__(self, dim: int, size: int = 0):
        super().__init__()
        keep = size > 0
        self.register_buffer("places", torch.arange(dim).float(), persistent=keep)

    def forward(self, x):
        return x + self.places.to(x.dtype)


class Block(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, dim)
        self.lin = nn.Linear(dim, dim)
        {deep}

    def forward(self, hidden_states):
        return hidden_states + self.lin(self.norm(hidden_states)) + self.gate(hidden_states)


class Base(ModelMixin, ConfigMixin):
    {base}


class Root({parent}):
    {own}

    @register_to_config
    def __init__(self, channels: int = 4, depth: int = 2, size: int = 7):
        {init}
        self.table = Table({table})
        self.blocks = nn.ModuleList([Block(channels) for _ in range(depth)])

    def forward(self, hidden_states, return_dict: bool = True):
        hidden_states = self.table(hidden_states){cast}
        for block in self.blocks:
            hidden_states = block(hidden_states)
        return (hidden_states,)
"""
Port = Callable[..., tuple[tuple[Decision, ...], str]]
PARTS = {
    "own": "_keep_in_fp32_modules = ['norm', 'gate']",
    "base": "pass",
    "parent": "ModelMixin, ConfigMixin",
    "table": "channels, size",
    "cast": "",
    "deep": "",
    "init": "super().__init__()",
}


@pytest.fixture
def port(tmp_path: Path) -> Port:
    def make(**parts: str) -> tuple[tuple[Decision, ...], str]:
        models = tmp_path / "diffusers" / "models"
        models.mkdir(parents=True)
        for folder in (models.parent, models):
            (folder / "__init__.py").write_text("")
        (models / "root.py").write_text(MODEL.format(**{**PARTS, **parts}))
        analysis = analyse_transformer(SourceTree(models.parent, "0"), "Root")
        text = render_transformer(analysis.normal, analysis.plan, header="", attributes=(), separate_cfg=False)
        return analysis.plan.decisions, ast.unparse(ast.parse(text))

    return make


def test_what_the_reference_keeps_is_kept(port: Port) -> None:
    decisions, text = port()
    assert kept_names(decisions) == ["norm", "gate"]
    why = next(d.why for d in decisions if d.subject == KEPT)
    assert why.file.endswith("root.py") and why.line == 35
    assert "_keep_in_fp32_modules = ['norm', 'gate']" in text
    assert "_hsdp_preserve_parameter_dtypes = True" in text
    assert "parameter.data = parameter.data.float()" in text


TWINS = {
    "as written": ("", "", 0),
    "nothing reads it": ("self._keep_in_fp32_modules", "()", 1),
    "HSDP casts": ("_hsdp_preserve_parameter_dtypes = True", "pass", 1),
}


@pytest.mark.parametrize(("part", "instead", "findings"), TWINS.values(), ids=TWINS)
def test_a_port_that_forgets_is_found(port: Port, tmp_path: Path, part: str, instead: str, findings: int) -> None:
    _, text = port()
    assert part in text
    (tmp_path / "port").mkdir()
    (tmp_path / "port" / "root_transformer.py").write_text(text.replace(part, instead) if part else text)
    assert len(check([tmp_path / "port"], select=("OP104",)).findings) == findings


def test_a_base_class_may_say_so(port: Port) -> None:
    base = "_keep_in_fp32_modules = ['norm']\n\n    def __init__(self):\n        super().__init__()"
    decisions, _ = port(own="pass", base=base, parent="Base", init="super(Base, self).__init__()")
    assert kept_names(decisions) == ["norm"]


@pytest.mark.parametrize("own", ["pass", "_keep_in_fp32_modules = None", "_keep_in_fp32_modules = []"])
def test_nothing_kept(port: Port, own: str) -> None:
    decisions, text = port(own=own)
    assert not kept_names(decisions)
    assert "fp32" not in text and "_hsdp_preserve" not in text


def test_names_that_are_no_literal_are_refused(port: Port) -> None:
    with pytest.raises(UnsupportedError, match=r"root\.py:35: _keep_in_fp32_modules is no literal: \[SOME\]"):
        port(own="_keep_in_fp32_modules = [SOME]")


def test_a_dtype_read_off_the_first_parameter_is_refused(port: Port) -> None:
    with pytest.raises(UnsupportedError, match="reads its dtype off its first parameter"):
        port(cast=".to(self.dtype)")


@pytest.mark.parametrize("table", ["channels, size", "channels, 7", "channels, size=size"])
def test_a_table_of_the_checkpoint_has_its_precision(port: Port, table: str) -> None:
    decisions, text = port(table=table)
    assert {d.subject: d.value for d in decisions if d.subject.startswith(TABLE)} == {f"{TABLE}table": "places"}
    assert "self.table.to(torch.get_default_dtype())" in text


@pytest.mark.parametrize("table", ["channels", "channels, 0", "channels, size=0"])
def test_a_table_that_no_checkpoint_has_is_left(port: Port, table: str) -> None:
    decisions, text = port(table=table)
    assert not [d for d in decisions if d.subject.startswith(TABLE)]
    assert "get_default_dtype" not in text


def test_a_table_below_a_child_is_refused(port: Port) -> None:
    with pytest.raises(UnsupportedError, match="Table, which is no child of the root, keeps places"):
        port(deep="self.inner = Table(dim, 3)")
