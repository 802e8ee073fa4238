"""The closure of a class: complete, in order, word for word; what nothing explains is an error."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from omniport.custom.code import read_code
from omniport.custom.slice import Slice, cut
from omniport.errors import UnsupportedError


def sliced(root: Path, files: dict[str, str], file: str = "model.py", name: str = "Model") -> Slice:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8")
    tree = read_code(root)
    return cut(tree, next(f for f in tree.files if f.path == file), name)


def names(found: Slice) -> list[str]:
    return [name for piece in found.pieces for name in piece.names]


def test_what_is_not_needed_stays(tmp_path: Path) -> None:
    found = sliced(tmp_path, {"model.py": "UNUSED = 1\ndef other(): pass\nclass Model:\n    size = 2\n"})
    assert names(found) == ["Model"]
    assert found.foreign == ()


def test_functions_constants_and_bases_come_first(tmp_path: Path) -> None:
    model = "from layers import Base\nSIZE = 3\ndef f(x):\n    return x + SIZE\nclass Model(Base):\n    y = f(1)\n"
    found = sliced(tmp_path, {"model.py": model, "layers.py": "import math\nclass Base:\n    z = math.pi\n"})
    assert names(found)[-1] == "Model"
    assert set(names(found)) == {"Base", "SIZE", "f", "Model"}
    assert names(found).index("SIZE") < names(found).index("f")
    assert [f.line() for f in found.foreign] == ["import math"]
    scope: dict[str, object] = {}
    exec(compile(found.text(), "slice", "exec"), scope)  # our own text
    assert scope["Model"].y == 4  # type: ignore[attr-defined]


def test_a_method_of_the_same_name_hides_no_function(tmp_path: Path) -> None:
    model = "def rope(x):\n    return x\nclass Model:\n    def rope(self, x):\n        return rope(x)\n"
    assert names(sliced(tmp_path, {"model.py": model})) == ["rope", "Model"]


def test_locals_and_arguments_are_not_needed(tmp_path: Path) -> None:
    model = "def x(): pass\nclass Model:\n    def f(self, x):\n        y = [x for x in x]\n        return y\n"
    assert names(sliced(tmp_path, {"model.py": model})) == ["Model"]


def test_two_definitions_of_a_name_are_told_apart(tmp_path: Path) -> None:
    files = {
        "model.py": "from a import Block as A\nfrom b import use\nclass Model:\n    first = A\n    second = use\n",
        "a.py": "class Block:\n    value = 1\n",
        "b.py": "class Block:\n    value = 2\ndef use():\n    return Block.value\n",
    }
    found = sliced(tmp_path, files)
    scope: dict[str, object] = {}
    exec(compile(found.text(), "slice", "exec"), scope)  # our own text
    model = scope["Model"]
    assert (model.first.value, model.second()) == (1, 2)  # type: ignore[attr-defined]
    assert len(found.renamed) == 1


def test_a_guarded_import_is_brought_whole(tmp_path: Path) -> None:
    guard = "try:\n    import flash\n    FLASH = True\nexcept ImportError:\n    FLASH = False\n"
    found = sliced(tmp_path, {"model.py": guard + "class Model:\n    f = FLASH\n"})
    assert found.pieces[0].text.startswith("try:")
    ast.parse(found.text())


def test_state_that_is_built_up_is_brought_whole(tmp_path: Path) -> None:
    model = "LAYERS = {}\nLAYERS.update(a=1)\nLAYERS['b'] = 2\nclass Model:\n    layers = LAYERS\n"
    scope: dict[str, object] = {}
    exec(compile(sliced(tmp_path, {"model.py": model}).text(), "slice", "exec"), scope)  # our own text
    assert scope["Model"].layers == {"a": 1, "b": 2}  # type: ignore[attr-defined]


def test_loggers_of_the_repository_become_vllms(tmp_path: Path) -> None:
    files = {
        "model.py": "from tools import log\nclass Model:\n    def f(self):\n        log.info('x')\n",
        "tools/log.py": "import loguru\ndef info(text): loguru.info(text)\n",
    }
    found = sliced(tmp_path, files)
    assert "log = init_logger(__name__)" in found.text()
    assert [f.module for f in found.foreign] == ["vllm.logger"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"model.py": "class Model:\n    x = nowhere\n"}, "nothing in the file defines it"),
        (
            {"model.py": "from tools import ops\nclass Model:\n    x = ops.f()\n", "tools/ops.py": "def f(): pass\n"},
            "used as a namespace",
        ),
        ({"model.py": "from a import gone\nclass Model:\n    x = gone\n", "a.py": "y = 1\n"}, "does not define gone"),
        (
            {
                "model.py": "from a import f\nfrom torch import nn\nclass Model(nn.Module):\n    x = f\n",
                "a.py": "from other import nn\ndef f():\n    return nn\n",
            },
            "nn means",
        ),
    ],
)
def test_what_nothing_explains_is_refused(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        sliced(tmp_path, files)
