"""The cache adapter of a port stands in a module of its own."""

from __future__ import annotations

import ast

import pytest

from omniport.emit.format import format_files
from omniport.emit.split import split_cached_blocks
from omniport.rewrite.cached_blocks import ADAPTER, BLOCKWISE, CLASSES

HEAD = """\
import torch
from cache_dit.caching.cache_adapters.cache_adapter import CachedAdapter
from cache_dit.caching.cache_blocks.pattern_base import CachedBlocks_Pattern_Base
from torch import nn

"""
MODEL = f"""

class Root(nn.Module):
    adapter = {ADAPTER}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x
"""


def names(code: str) -> list[str]:
    return [node.name for node in ast.parse(code).body if isinstance(node, ast.ClassDef)]


def test_the_adapter_is_imported_from_its_module() -> None:
    model, adapter = split_cached_blocks(HEAD + BLOCKWISE + MODEL)
    assert names(model) == ["Root"] and names(adapter) == list(CLASSES)
    files, findings = format_files({"m.py": model, "cached_blocks.py": adapter}, None)
    assert not findings
    assert f"from .cached_blocks import {ADAPTER}\n" in files["m.py"] and "CachedAdapter\n" not in files[
        "m.py"
    ].replace(ADAPTER, "")
    lines = {line for line in BLOCKWISE.splitlines() if line.strip()}
    assert lines <= set(files["cached_blocks.py"].splitlines())


def test_a_file_without_it_is_left_alone() -> None:
    assert split_cached_blocks(HEAD + MODEL) == (HEAD + MODEL, "")


@pytest.mark.parametrize("missing", CLASSES)
def test_a_module_without_one_of_the_classes_is_noticed(missing: str) -> None:
    _, adapter = split_cached_blocks(HEAD + BLOCKWISE.replace(f"class {missing}(", "class Other(") + MODEL)
    assert names(adapter) != list(CLASSES)
