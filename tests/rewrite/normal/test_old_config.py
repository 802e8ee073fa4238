"""A constructor that goes on with an outdated config does so in a port, too, and calls no ``deprecate``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from omniport.analyse.normalise import normalise
from omniport.rewrite.normal.old_config import drop_deprecations
from omniport.source.tree import SourceTree
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

DROP = each(lambda node, _: drop_deprecations(node))

SOURCE = """from torch import nn

from .utils import deprecate


class Inner(nn.Module):
    def __init__(self, dim: int, norm_type: str = "plain"):
        super().__init__()
        self.norm = nn.RMSNorm(dim) if norm_type == "ada" else nn.LayerNorm(dim)

    def forward(self, x):
        return self.norm(x)


class Root(nn.Module):
    def __init__(self, dim: int = 4, steps: int | None = None, norm_type: str = "plain"):
        super().__init__()
        if norm_type == "plain" and steps is not None:
            message = "outdated"
            deprecate("norm_type", "1.0.0", message)
            {act}
        self.inner = Inner(dim, norm_type=norm_type)

    def forward(self, x, old=None):
        if old is not None:
            deprecate("old", "1.0.0", "gone")
            x = old
        return self.inner(x)
"""


def classes(tmp_path: Path, act: str) -> dict[str, str]:
    package = tmp_path / "diffusers"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "0"\n')
    (package / "utils.py").write_text("def deprecate(*args):\n    raise ValueError(args)\n")
    (package / "m.py").write_text(SOURCE.replace("{act}", act))
    tree = SourceTree.locate(tmp_path)
    code = normalise(tree, tree.find_class("Root"), "Root", {"norm_type": "ada"}).form.code
    return {n.name: ast.unparse(n) for n in ast.parse(code).body if isinstance(n, ast.ClassDef)}


def test_what_an_outdated_config_means_stays(tmp_path: Path) -> None:
    root = classes(tmp_path, 'norm_type = "ada"')["Root"]
    assert "if norm_type == 'plain' and steps is not None:\n            norm_type = 'ada'\n" in root
    assert "deprecate" not in root and "outdated" not in root
    assert "old is not None" not in root  # callers of diffusers call nothing in a deprecated way


@pytest.mark.parametrize("act", ["pass", 'logger.warning("twice")'])
def test_a_branch_that_only_warns_goes(tmp_path: Path, act: str) -> None:
    root = classes(tmp_path, act)["Root"]
    assert "steps is not None" not in root and "deprecate" not in root


def test_only_the_call_goes() -> None:
    check_transformed(
        DROP,
        """
        class A(nn.Module):
            def __init__(self, a):
                if a:
                    deprecate("a", "1.0.0", "gone")
                    self.a = 2
                if not a:
                    deprecate("b", "1.0.0", "gone")
        """,
        """
        class A(nn.Module):
            def __init__(self, a):
                if a:
                    self.a = 2
                if not a:
                    pass
        """,
    )


@pytest.mark.parametrize(
    "body",
    ["self.a = a", "self.a = deprecate(a)", "warn(a)"],  # a value that is used stays
)
def test_kept(body: str) -> None:
    check_noop(DROP, f"class A(nn.Module):\n    def __init__(self, a):\n        {body}\n")


def test_a_forward_is_not_looked_at() -> None:
    check_noop(DROP, "class A(nn.Module):\n    def forward(self, a):\n        deprecate(a)\n        return a\n")
