"""``[tool.omniport]``: read with limits, and refused by name where it is not what it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.check.config import Settings, find_settings
from omniport.errors import OmniportError
from omniport.strict_toml import LIMIT, read_toml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.omniport\n", "not valid TOML"),
        ("tool = 1\n[tool.omniport]\n", "not valid TOML"),
        ('[tool]\n# [tool.omniport\nomniport = "x"\n', "must be a table"),
        ("[tool.omniport]\nslect = []\n", "no setting 'slect'"),
        ('[tool.omniport]\nselect = "OP101"\n', "must be a list of codes"),
        ("[tool.omniport]\nper-file-ignores = []\n", "must be a table of patterns"),
        ("#" * (LIMIT + 1), "larger than"),
        ("[tool.omniport]\nselect = " + "[" * 5000 + "]" * 5000, "nested too deep|not valid TOML"),
    ],
)
def test_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(OmniportError, match=message):
        find_settings(tmp_path)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.omniport]\n# \xff\n")
    with pytest.raises(OmniportError, match="not UTF-8"):
        find_settings(tmp_path)


def test_the_nearest_table_counts(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.omniport]\nignore = ["OP101"]\n')
    below = tmp_path / "a"
    below.mkdir()
    (below / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert find_settings(below) == Settings(ignore=("OP101",))


def test_the_mark_saves_the_parser(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("this is no TOML")
    assert read_toml(file, mark="[tool.omniport") == {}
    with pytest.raises(OmniportError):
        read_toml(file)
