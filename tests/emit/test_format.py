"""Generated files are fixed and formatted under the tree's own settings."""

import sys
from pathlib import Path

import pytest

from omniport.emit.format import format_files, ruff_settings
from omniport.errors import OmniportError

MESSY = (
    "import vllm_omni.x\nimport torch\nimport os\nfrom typing import Optional\n"
    "def f(x: Optional[int])->int:\n    return  torch.y(vllm_omni.x , x)\n"
)


def test_own_settings():
    files, findings = format_files({"vllm_omni/a.py": MESSY, "b.py": "x = 'y'\n"}, None)
    assert files["vllm_omni/a.py"] == (
        "import torch\n\nimport vllm_omni.x\n\n\ndef f(x: int | None) -> int:\n    return torch.y(vllm_omni.x, x)\n"
    )
    assert files["b.py"] == 'x = "y"\n'
    assert findings == ()
    assert format_files(files, None) == (files, ())


def test_settings_of_the_tree(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert ruff_settings(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text(
        "[tool.ruff.format]\nquote-style = 'single'\n[tool.ruff.lint]\nselect = []\n"
    )
    settings = ruff_settings(tmp_path)
    assert settings == tmp_path / "pyproject.toml"
    files, _ = format_files({"a.py": 'import os\nx = "y"\n'}, settings)
    assert files == {"a.py": "import os\n\nx = 'y'\n"}
    (tmp_path / "ruff.toml").write_text("line-length = 20\n")
    assert ruff_settings(tmp_path) == tmp_path / "ruff.toml"
    assert ruff_settings(None) is None


def test_what_cannot_be_fixed_is_told():
    _, findings = format_files({"pkg/a.py": "def f():\n    return undefined\n\n\ntype(1) == type(2)\n"}, None)
    assert {(f.path, f.line, f.code) for f in findings} == {("pkg/a.py", 2, "F821"), ("pkg/a.py", 5, "E721")}


def test_broken_settings_are_named(tmp_path: Path):
    (tmp_path / "ruff.toml").write_text("line-length = 'x'\n")
    with pytest.raises(OmniportError, match=r"ruff\.toml"):
        format_files({"a.py": "x = 1\n"}, tmp_path / "ruff.toml")
    with pytest.raises(OmniportError, match="cannot format"):
        format_files({"a.py": "def (\n"}, None)


def test_ruff_of_another_place_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert format_files({"a.py": "x  = 1\n"}, None)[0] == {"a.py": "x = 1\n"}


def test_no_ruff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import ruff

    def gone():
        raise FileNotFoundError

    monkeypatch.setattr(ruff, "find_ruff_bin", gone)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OmniportError, match="ruff is not installed"):
        format_files({"a.py": "x = 1\n"}, None)


def test_long_lines_are_broken_or_excused(tmp_path: Path):
    (tmp_path / "ruff.toml").write_text("line-length = 40\n[lint]\nselect = ['E']\n")
    long = "x" * 60
    words = "word " * 12
    text = f'A = "{long}"\n\n\ndef f(a, b):\n    """Text.\n\n    {words}end\n    """\n'
    text += "    return g(a, b, a, b, a, b, a, b, a, b)\n"
    files, findings = format_files({"a.py": text}, tmp_path / "ruff.toml")
    assert findings == ()
    assert f'A = "{long}"  # noqa: E501\n' in files["a.py"]
    assert f'    {words}end\n    """  # noqa: E501\n' in files["a.py"]
    assert files["a.py"].count("noqa") == 2
    assert format_files(files, tmp_path / "ruff.toml") == (files, ())


def test_the_layout_is_not_switched_off():
    text = "class A:\n    # fmt: off\n    x = 1\n\n    def f( self ):\n        return  1\n"
    files, _ = format_files({"a.py": text}, None)
    assert files["a.py"] == "class A:\n    x = 1\n\n    def f(self):\n        return 1\n"
