"""Constructor values in the forms that repositories keep them in, each with its line; none is guessed."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from omniport.custom.code import read_code
from omniport.custom.configs import Configs, find
from omniport.plan.custom import Candidate

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"
MODEL = "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, width, heads=2, depth=1): pass\n"
BACKBONE = Candidate("backbone", "Net", "net.py", 2, 9, ())
VALUES = {"width": 8, "heads": 4}


def found(root: Path, files: dict[str, str]) -> Configs:
    for name, text in {"net.py": MODEL, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return find(read_code(root), BACKBONE)


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("a.json", '{\n "seed": 1,\n "width": 8,\n "heads": 4}', 3),
        ("a.json", '{"seed": 1,\n "model": {"width": 8, "heads": 4}}', 2),
        ("a.yaml", "seed: 1\nwidth: 8\nheads: 4\n", 2),
        ("a.yml", "model:\n  arch:\n    width: 8\n    heads: 4\n", 3),
        ("a.py", "CONFIG = {\n    'width': 8,\n    'heads': 4,\n}\n", 2),
        ("a.py", "CONFIG = dict(type='Net',\n  width=8,\n  heads=4)\n", 2),
        ("a.py", "from easydict import EasyDict\nc = EasyDict()\nc.other = 1\nc.width = 8\nc.heads = 4\n", 4),
        ("a.py", "from x import NetParams\nall = {'net-dev': NetParams(width=8, heads=4)}\n", 2),
        ("a.py", "from net import Net\ndef build():\n    return Net(\n        width=8, heads=4)\n", 4),
        ("scripts/a.py", "CONFIG = {'width': 8, 'heads': 4}\n", 1),
    ],
)
def test_forms(file: str, text: str, line: int, tmp_path: Path) -> None:
    configs = found(tmp_path, {file: text})
    assert configs.chosen is not None
    assert configs.chosen.values == VALUES
    entry = configs.chosen.entries[0]
    assert (entry.key, entry.file, entry.line) == ("width", file, line)
    assert "8" in (tmp_path / file).read_text("utf-8").splitlines()[line - 1]


@pytest.mark.parametrize(
    "text",
    [
        '{"heads": 4, "depth": 2}',  # without what the constructor needs
        '{"width": 8}',
        '[{"width": 8, "heads": 4}]',
        '{"width": 8, "width": 8, "heads": 4}',
        "",
    ],
)
def test_what_is_no_set_of_values(text: str, tmp_path: Path) -> None:
    assert found(tmp_path, {"a.json": text}).dicts == ()


def test_of_several_that_differ_none_is_chosen(tmp_path: Path) -> None:
    one, other = json.dumps(VALUES), json.dumps({**VALUES, "heads": 2})
    assert found(tmp_path, {"a.json": one, "b.json": one}).chosen is not None
    configs = found(tmp_path, {"b.json": other})
    assert [d.name for d in configs.dicts] == ["A_CONFIG", "B_CONFIG"]
    assert configs.chosen is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.py", "W = 8\nC = dict(width=8, heads=W)\n"),
        ("a.yaml", "width: 8\nheads: ${other.heads}\n"),
        ("a.json", '{"width": 8, "heads": Infinity}'),
    ],
)
def test_a_value_that_is_no_literal_is_named_and_not_taken(file: str, text: str, tmp_path: Path) -> None:
    configs = found(tmp_path, {file: text})
    assert [why.reason for why in configs.dicts[0].skipped] == ["heads is no literal"]
    assert configs.chosen is None


def test_a_change_behind_the_reading_is_named(tmp_path: Path) -> None:
    load = "import json\ndef load():\n    config = json.load(open('a.json'))\n    config['heads'] = 2\n"
    configs = found(tmp_path, {"a.json": json.dumps(VALUES), "load.py": load})
    assert [(why.file, why.line) for why in configs.changes] == [("load.py", 4)]
    assert configs.chosen is None


@pytest.mark.parametrize(
    "text",
    ["width: &a 8\nheads: *a\n", "width: !!python/object/apply:os.system ['x']\nheads: 1\n", "\0", "a: [\n"],
)
def test_hostile_yaml(text: str, tmp_path: Path) -> None:
    assert found(tmp_path, {"a.yaml": text}).chosen is None


def test_code_is_data(tmp_path: Path) -> None:
    configs = found(tmp_path, {"a.json": json.dumps({"width": "__import__('os')", "heads": "\u202e\n"})})
    assert configs.chosen is not None
    for entry in configs.chosen.entries:
        assert entry.text.isascii()
        assert isinstance(ast.parse(entry.text, mode="eval").body, ast.Constant)


def test_values_equal_those_of_the_source() -> None:
    from omniport.custom import read_repository

    root = FIXTURES / "fusion"
    backbone = read_repository(root).backbone
    assert backbone is not None
    for found_dict in find(read_code(root), backbone).dicts:
        assert found_dict.values == json.loads((root / found_dict.entries[0].file).read_text("utf-8"))
