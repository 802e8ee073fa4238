"""Methods that nothing names are not parsed, and the rest of the class is what it would be with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import libcst as cst
import pytest

from omniport.analyse import specialise
from omniport.analyse.normalise import normalise
from omniport.analyse.reach import droppable, unnamed
from omniport.source.slice import class_without, definition
from omniport.source.syntax import code
from omniport.source.tree import SourceTree

TEXT = '''import torch
from torch import nn


class Base(nn.Module):
    def inherited(self):
        return self.far()

    def far(self):
        return 1


class Call:
    def __call__(self, attn, x):
        return attn.asked(x)


class Block(Base):
    scale = 2

    def __init__(self):
        super().__init__()

    # of the one below
    def first(self, x):
        return self.second(x)
        # still of the one above

    def second(self, x):
        return x

    # of the next

    def asked(self, x):
        """Not 'alone'."""
        return x

    @staticmethod
    def plain(x):
        return x

    # of what closes it
    def last(self):
        return 3

    def forward(self, x):
        return self.first(x) + self.inherited()
'''


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    root = tmp_path / "diffusers"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "blocks.py").write_text(TEXT)
    return SourceTree(root, "0")


def test_what_no_word_on_the_way_names(tree: SourceTree) -> None:
    module = tree.module("diffusers.blocks")
    assert module is not None
    assert unnamed(tree, module, "Block", None) == {"asked", "last"}
    assert unnamed(tree, module, "Block", (module, "Call")) == {"last"}
    assert unnamed(tree, module, "Base", None) == {"inherited", "far"}
    assert "plain" not in droppable(module.outline("Block").members)


@pytest.mark.parametrize("methods", [{"first"}, {"asked", "second"}, {"last"}, {"first", "second", "asked", "last"}])
def test_the_rest_of_a_class_is_as_it_would_be(tree: SourceTree, methods: set[str]) -> None:
    module = tree.module("diffusers.blocks")
    assert module is not None
    single = frozenset(droppable(module.outline("Block").members))
    assert lines(class_without(module, "Block", single, frozenset(methods))) == lines(without(module, "Block", methods))


def test_the_attention_of_diffusers(diffusers: SourceTree) -> None:
    module = diffusers.module("diffusers.models.attention_processor")
    assert module is not None
    names = frozenset(droppable(module.outline("Attention").members))
    for method in names:
        assert lines(class_without(module, "Attention", names, frozenset({method}))) == lines(
            without(module, "Attention", {method})
        )
    assert len(names) > 10 and "fuse_projections" in names  # under torch.no_grad


def test_a_class_of_such_methods_alone(tree: SourceTree) -> None:
    module = tree.module("diffusers.blocks")
    assert module is not None
    single = frozenset(droppable(module.outline("Base").members))
    assert single == {"inherited", "far"}
    assert lines(class_without(module, "Base", single, frozenset({"far"}))) == lines(without(module, "Base", {"far"}))


def without(module: object, name: str, methods: set[str]) -> cst.ClassDef:
    whole = definition(module, name, cst.ClassDef)  # type: ignore[arg-type]
    body = [m for m in whole.body.body if not (isinstance(m, cst.FunctionDef) and m.name.value in methods)]
    return whole.with_changes(body=whole.body.with_changes(body=body))


def lines(node: cst.ClassDef) -> list[str]:
    return [line for line in code(node).splitlines() if line.strip()]


def test_a_method_that_a_helper_reads_is_parsed_after_all(
    reference: SourceTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word of the helper alone names it: the class is taken whole once its reader is inlined."""
    root = tmp_path / "diffusers"
    shutil.copytree(reference.root, root)
    name = "MiniTransformer2DModel"
    path = root.parent / reference.find_class(name).file
    text = path.read_text("utf-8")
    at = text.rindex("\n\n", 0, text.index("    def forward(", text.index(f"class {name}"))) + 2  # decorators are there
    helper = "def _doubled(model, x):\n    return model.doubled_by(x)\n\n\n"
    method = "    def doubled_by(self, x):\n        y = x * 2\n        return y\n\n"
    text = text[:at] + method + text[at:]
    end = text.index(":\n", text.index(") ->", text.index("    def forward(", at))) + 2
    text = text[:end] + "        hidden_states = _doubled(self, hidden_states)\n" + text[end:]
    start = text.index("\nclass ") + 1
    path.write_text(text[:start] + helper + text[start:], "utf-8")
    changed = SourceTree(root, reference.version)
    form = normalise(changed, changed.find_class(name), name).form
    assert "def doubled_by(self, x)" in form.code and "self.doubled_by(hidden_states)" in form.code
    monkeypatch.setattr(specialise.Closure, "lacks", lambda *_: False)  # the broken twin
    assert "def doubled_by" not in normalise(changed, changed.find_class(name), name).form.code
