"""``check --fix`` mends all files or none, whatever stops it."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.check import fix
from omniport.check.engine import check
from omniport.errors import OmniportError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / f"pipeline_{name}.py").write_text("import re\n\nx = re.compile('a')\n")
        (tmp_path / f"pipeline_{name}.py").chmod(0o640)
    return tmp_path


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {p.name: (p.read_text("utf-8"), p.stat().st_mode) for p in folder.iterdir()}


def test_all_files_are_mended_with_their_modes(folder: Path) -> None:
    before = contents(folder)
    assert fix.write(fix.fixed_texts(check([folder]).findings)) == 3
    after = contents(folder)
    assert after.keys() == before.keys() and all("import regex as re" in text for text, _ in after.values())
    assert {mode for _, mode in after.values()} == {mode for _, mode in before.values()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device", "x")])
@pytest.mark.parametrize("step", range(6))
def test_what_stops_it_leaves_every_file_as_it_was(
    folder: Path, error: BaseException | type[BaseException], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = fix.fixed_texts(check([folder]).findings)
    before = contents(folder)
    steps = 0
    real = {"chmod": Path.chmod, "replace": Path.replace}

    def stopping(name: str):  # type: ignore[no-untyped-def]
        def call(self: Path, *arguments: object) -> object:
            nonlocal steps
            steps += 1
            if steps == step + 1:
                raise error
            return real[name](self, *arguments)  # type: ignore[arg-type]

        return call

    for name in real:
        monkeypatch.setattr(Path, name, stopping(name))
    with pytest.raises((KeyboardInterrupt, OmniportError)):
        fix.write(texts)
    monkeypatch.undo()
    assert contents(folder) == before
