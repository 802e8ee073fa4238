"""Source that is no program, is enormous, or looks like what the passes search for and is something else."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from omniport.errors import InternalError, OmniportError, UnsupportedError, refusing
from omniport.port import analyse_transformer
from omniport.source.reading import MAX_NESTING, SOURCE_LIMIT, parse, parse_cst, read_source
from omniport.source.tree import SourceTree


@pytest.fixture
def tree(tmp_path: Path):  # type: ignore[no-untyped-def]
    """``tree(text)``: a package ``diffusers`` whose only model is in ``text``."""

    def build(text: str | bytes) -> SourceTree:
        models = tmp_path / "diffusers" / "models"
        models.mkdir(parents=True, exist_ok=True)
        (tmp_path / "diffusers" / "__init__.py").write_text('__version__ = "1.0"\n')
        (models / "__init__.py").touch()
        (models / "model.py").write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
        return SourceTree.locate(tmp_path)

    return build


MODEL = """from torch import nn


class Model(nn.Module):
    def __init__(self, dim: int = 4):
        super().__init__()
"""
FORWARD = "        self.proj = nn.Linear(dim, dim)\n\n    def forward(self, x):\n        return self.proj(x)\n"

DEEP = {
    "brackets": "x = " + "(" * 10_000 + "1" + ")" * 10_000,
    "signs": "x = " + "-" * 10_000 + "1",
    "not": "x = " + "not " * 10_000 + "1",
    "sum": "x = " + "1 + " * 10_000 + "1",
    "attributes": "x = a" + ".b" * 10_000,
    "calls": "x = a" + "()" * 10_000,
    "and": "x = " + "a and " * 10_000 + "b",
    "elif": "if a:\n    pass\n" + "elif b:\n    pass\n" * 10_000,
    "lambda": "x = " + "lambda: " * 10_000 + "1",
    "choice": "x = " + "1 if a else " * 10_000 + "2",
}


@pytest.mark.parametrize("name", DEEP)
def test_what_nests_ten_thousand_deep_is_refused_and_the_process_lives(name: str) -> None:
    command = (
        "import sys\nfrom omniport.errors import OmniportError\nfrom omniport.source.reading import parse_cst\n"
        "try:\n    parse_cst(sys.stdin.read(), 'm.py')\nexcept OmniportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", command], input=DEEP[name], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-300:]
    assert done.stdout.startswith("m.py:1") and len(done.stdout) < 200


def test_what_real_source_nests_is_read() -> None:
    text = "x = " + "(" * (MAX_NESTING - 10) + "1" + ",)" * (MAX_NESTING - 10)
    assert parse_cst(text, "m.py").code == text
    with pytest.raises(OmniportError, match="nested deeper"):
        parse("x = " + "[" * MAX_NESTING + "]" * MAX_NESTING, "m.py")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x = 'caf\xe9'\n", r"m.py:1: not utf-8"),
        (b"x = 1\ny = '\xff'\n", r"m.py:2: not utf-8"),
        (b"# -*- coding: klingon -*-\n", "m.py:1: not readable"),
        (b"# coding: rot13\nk = 1\n", "m.py:1: not readable"),
        (b"x = 1\0\n", r"m.py:1: holds the character '\\x00'"),
        (b"x = 1\n\x0cy = 2\n", "m.py:2: holds the character"),
        ("x = 1\n\ny = '\u2028'\n".encode(), "m.py:3: holds the character"),
        (b"x" * (SOURCE_LIMIT + 1), "larger than"),
    ],
)
def test_text_that_is_none_is_refused_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "m.py").write_bytes(data)
    with pytest.raises(OmniportError, match=message):
        read_source(tmp_path / "m.py", "m.py")


@pytest.mark.parametrize("data", [b"# coding: latin-1\nx = 'caf\xe9'\n", "\ufeffx = 'café'\r\n".encode()])
def test_declared_encodings_and_marks_are_read_as_python_reads_them(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.py").write_bytes(data)
    assert read_source(tmp_path / "m.py", "m.py").endswith("x = 'café'\n")


def test_a_missing_file_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(OmniportError, match="cannot be read"):
        read_source(tmp_path / "m.py", "m.py")


def test_a_hundred_thousand_lines_take_seconds(tree) -> None:  # type: ignore[no-untyped-def]
    filler = "".join(f"def helper_{n}(x):\n    y = x + {n}\n    return y\n\n\n" for n in range(20_000))
    start = time.process_time()
    found = analyse_transformer(tree(filler + MODEL + FORWARD), "Model")
    assert found.plan.class_name == "Model" and "helper_" not in found.normal.code
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MODEL + "        self.x = (\n", "model.py:\\d+: not valid Python"),
        (MODEL + "        pass\n", "forward"),
        ("class Model:\n    forward = None\n", "Model"),
        ("Model = 3\n'''\nclass Model:\n'''\n", "Model"),
        (MODEL + FORWARD.replace("self.proj(x)", "-" * 3000 + "x"), "nested deeper"),
        ("import nowhere\n\n\nclass Model(nowhere.Base):\n    pass\n", "Model"),
        ("class Model(Model):\n    pass\n", "Model"),
    ],
)
def test_a_model_of_another_form_is_one_message(tree, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OmniportError, match=message) as caught:
        analyse_transformer(tree(text), "Model")
    assert not isinstance(caught.value, InternalError)


@pytest.mark.parametrize(
    "text",
    [
        MODEL + FORWARD + "\n\nclass Attention:\n    processor = 3\n    to_q = to_k = None\n",
        MODEL + "        self.attn = dim\n        self.processor = print\n" + FORWARD,
        MODEL + "        self.transformer_blocks = dim\n" + FORWARD,
        "torch = 3\n" + MODEL + FORWARD,
        MODEL.replace("dim: int", "config: int") .replace("(dim", "(config") + FORWARD.replace("dim", "config"),
    ],
)  # fmt: skip
def test_names_that_passes_look_for_with_other_meanings_do_no_harm(tree, text: str) -> None:  # type: ignore[no-untyped-def]
    try:
        code = analyse_transformer(tree(text), "Model").normal.code
    except OmniportError as error:
        assert not isinstance(error, InternalError), error
    else:
        compile(code, "model.py", "exec")


def test_a_form_that_no_pass_knows_becomes_one_message_with_its_cause() -> None:
    @refusing("reading the model")
    def broken(value: int) -> int:
        return [1][value]

    @refusing("reading the model")
    def named() -> None:
        raise UnsupportedError("this construct", "m.py", 3)

    assert broken(0) == 1
    with pytest.raises(InternalError, match="reading the model: .*IndexError in test_hostile_source.py") as caught:
        broken(5)
    assert isinstance(caught.value.__cause__, IndexError)
    with pytest.raises(UnsupportedError, match="m.py:3: this construct"):
        named()
