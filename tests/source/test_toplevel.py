"""Finding top-level statements without parsing gives what parsing gives, over the whole reference package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from omniport.source.toplevel import Definitions, import_statements
from omniport.source.tree import SourceTree


def parsed_definitions(text: str) -> dict[str, str]:
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = ast.dump(node, include_attributes=True)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = ast.dump(node, include_attributes=True)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = ast.dump(node, include_attributes=True)
    return found


def check(text: str) -> None:
    fast = {name: ast.dump(node, include_attributes=True) for name, node in Definitions(text).items()}
    assert fast == parsed_definitions(text)
    slow = [ast.dump(n) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert sorted(ast.dump(n) for n in import_statements(text)) == sorted(slow)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1\n",
        'x = f("[#" + "(" \'#\', "\\"(")  # (\ny = 2\n',
        'X = """\nclass Fake:\n    pass\n"""\nclass Real:\n    pass\n',
        "@decorated(\n    1\n)\n@again\ndef f():\n    return 1\n",
        "class A:\n    pass\n\n\nclass A:\n    x = 1\n",
        "t = {\n'a': 1,\n}\ndef f(\n    a,\n):\n    return a\n",
        "if True:\n    import os\nelse:\n    from a.b import (\n        c,\n        d as e,\n    )\n",
        "x: int = 3\ny: dict[str, int] = {}\nif x == y: pass\n",
        '"""Doc.\n\nimport nothing from nowhere\n"""\nimport os.path as p, sys\n',
    ],
)
def test_small(text: str) -> None:
    check(text)


def test_the_transformers_of_diffusers(diffusers: SourceTree) -> None:
    files = sorted((diffusers.root / "models").rglob("*.py")) + sorted(
        (diffusers.root / "pipelines" / "flux").glob("*.py")
    )
    assert len(files) > 100
    wrong: list[tuple[Path, str]] = []
    for file in files:
        try:
            check(file.read_text("utf-8"))
        except AssertionError as error:
            wrong.append((file, str(error)[:200]))
    assert wrong == []
