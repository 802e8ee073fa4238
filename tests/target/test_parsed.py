"""Trees of texts are read once, and no text that is no program leaves one."""

from pathlib import Path

import pytest

from omniport.target.parsed import parsed
from omniport.target.resolve import resolve_imports


def test_equal_texts_have_one_tree() -> None:
    assert parsed("x = 1\n") is parsed("\n".join(["x = 1", ""]))
    assert parsed("x = 1\n") is not parsed("x = 2\n")
    assert parsed("\ufeffx = 1\n").body


def test_what_is_no_program_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(SyntaxError):
            parsed("def (")


@pytest.mark.parametrize("quote", ['"""', "'''"])
def test_a_definition_within_a_docstring_binds_nothing(tmp_path: Path, quote: str) -> None:
    package = tmp_path / "toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    text = f"{quote}An example:\n\ndef shown(): ...\n{quote}\n\n\ndef real(): ...\n"
    (package / "told.py").write_text(text)
    found = resolve_imports({"port.py": "from toy.told import real, shown\n"}, package)
    assert [(m.name, m.reason) for m in found.missing] == [("toy.told.shown", "toy.told has no shown")]
    assert found.resolved == 1
