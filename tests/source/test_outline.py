"""The outline of a class says what parsing the class says, over the whole reference package."""

from __future__ import annotations

import ast

import pytest

from omniport.errors import OmniportError
from omniport.source.outline import outline
from omniport.source.toplevel import Definitions
from omniport.source.tree import SourceTree


def dumped(node: ast.AST) -> str:
    return ast.dump(node, include_attributes=True)


def check(text: str, name: str) -> None:
    """Bases and members as parsing the whole gives them, positions included."""
    cls = next(n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == name)
    found = outline(Definitions(text), name)
    assert [dumped(base) for base in found.bases] == [dumped(base) for base in cls.bases]
    methods = {n.name: dumped(n) for n in cls.body if isinstance(n, ast.FunctionDef)}
    assigned = {
        n.targets[0].id: dumped(n) for n in cls.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)
    }
    kept = {key: dumped(n) for key, n in found.members.items() if isinstance(n, ast.FunctionDef | ast.Assign)}
    assert kept == assigned | methods
    assert {key for key in found.members if found.members.is_function(key)} == set(methods)


@pytest.mark.parametrize(
    "text",
    [
        "class A(B, c.D):\n    x = 1\n\n    def f(self):\n        y = 2\n        return y\n",
        "class A(\n    B,  # a base :\n    metaclass=M,\n):\n    # first\n    @property\n    def f(self): return 1\n",
        'class A:\n    """Doc.\n\n    x = 1\n    """\n\n    def f(self):\n        """\n    def g(self):\n"""\n',
        "@dataclass\nclass A:\n    x: int\n    y = x = 3\n    if y:\n        z = 1\n\n\ndef f(): pass\n",
        "class A:\n\tx = 1\n\tclass B:\n\t\ty = 2\n\tdef f(\n\t\tself,\n\t): return 1\n",
        "class A:  # noqa\n    t = {\n        'x': 1,\n    }\n# comment\n    u = 2\n",
    ],
)
def test_small(text: str) -> None:
    check(text, "A")


def test_a_body_on_the_line_of_its_class() -> None:
    found = outline(Definitions("class A(B): x = 1\n"), "A")
    assert [ast.unparse(base) for base in found.bases] == ["B"] and list(found.members) == ["x"]


def test_what_is_no_class() -> None:
    module = Definitions("def f(): pass\nx = 1\nasync def g(): pass\n")
    assert module.is_function("f") and not module.is_class("f") and not module.is_function("x")
    assert not module.is_function("g") and not module.is_function("missing")
    with pytest.raises(KeyError):
        outline(module, "f")


def test_a_head_that_does_not_parse() -> None:
    with pytest.raises(OmniportError, match="3"):
        outline(Definitions("x = 1\n\nclass A(B C):\n    pass\n"), "A")


def test_the_classes_of_diffusers(diffusers: SourceTree) -> None:
    seen = 0
    for folder in ("models", "pipelines/flux", "pipelines/wan", "pipelines/sana", "loaders", "schedulers"):
        for file in sorted((diffusers.root / folder).rglob("*.py")):
            text = file.read_text("utf-8")
            for node in ast.parse(text).body:
                if isinstance(node, ast.ClassDef):
                    check(text, node.name)
                    seen += 1
    assert seen > 700
