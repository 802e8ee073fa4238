"""Hostile and broken repositories: read as text, nothing run, what cannot be read is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from omniport.custom import read_repository
from omniport.custom.code import read_code
from omniport.errors import OmniportError

MODEL = "class A:\n    pass\n"


def test_nothing_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    poison = f"open({str(marker)!r}, 'w').write('x')\n"
    package = tmp_path / "repo" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(poison, "utf-8")
    (package / "model.py").write_text(poison + MODEL, "utf-8")
    read_repository(tmp_path / "repo")
    assert not marker.exists()


def test_a_byte_order_mark_and_a_declared_encoding_are_python(tmp_path: Path) -> None:
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbf" + MODEL.encode())
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nname = '\xe9'\n" + MODEL.encode())
    tree = read_code(tmp_path)
    assert [file.path for file in tree.files] == ["bom.py", "latin.py"]
    assert not tree.notes


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"class A(:\n", "not valid Python"),
        (b"name = '\xff'\n", "not valid Python"),
        (b"x = " + b"(" * 20_000 + b")" * 20_000, ""),
        (b"a = 1\0\n", ""),
        (b"#" * (3 << 20), "larger than"),
    ],
)
def test_what_is_no_python_becomes_a_note(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "good.py").write_text(MODEL, "utf-8")
    (tmp_path / "bad.py").write_bytes(content)
    tree = read_code(tmp_path)
    assert [file.path for file in tree.files] == ["good.py"]
    assert [note.file for note in tree.notes] == ["bad.py"]
    assert tree.notes[0].reason.startswith(reason)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(MODEL, "utf-8")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "passwd.py").symlink_to("/etc/passwd")
    tree = read_code(tmp_path)
    assert [file.path for file in tree.files] == ["good.py"]
    assert [note.file for note in tree.notes] == ["passwd.py"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(MODEL, "utf-8")
    os.mkfifo(tmp_path / "pipe.py")
    assert [note.reason for note in read_code(tmp_path).notes] == ["no regular file"]


def test_no_code_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OmniportError, match="no Python file"):
        read_repository(tmp_path)
    with pytest.raises(OmniportError, match="no folder"):
        read_repository(tmp_path / "absent")


def test_of_two_modules_the_nearer_one_is_meant(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "layers.py").write_text(f"class Layer:\n    where = {folder!r}\n", "utf-8")
        (tmp_path / folder / "model.py").write_text("from layers import Layer\n", "utf-8")
    tree = read_code(tmp_path)
    for file in tree.files:
        if file.path.endswith("model.py"):
            found = tree.resolve(file, "Layer")
            assert found is not None
            assert found.file.path == file.path.replace("model", "layers")


def test_imports_that_go_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from b import Layer\n", "utf-8")
    (tmp_path / "b.py").write_text("from a import Layer\n", "utf-8")
    tree = read_code(tmp_path)
    assert tree.resolve(tree.files[0], "Layer") is None


def test_classes_of_training_are_no_architecture(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "model.py").write_text(MODEL, "utf-8")
    (tmp_path / "model.py").write_text("class B:\n    pass\n", "utf-8")
    assert [str(ref) for ref in read_code(tmp_path).classes()] == ["model.py:B"]
