"""What the heavy process has ready before it forks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from omniport.verify import preload

SOURCE = """\
import torch.nn as nn
from diffusers.image_processor import VaeImageProcessor
from vllm_omni.diffusion.models.other.pipeline_other import Other
from .here import there
import json

def forward():
    from vllm_omni.diffusion.layers.rope import RotaryEmbedding
"""


def test_the_modules_of_the_libraries_that_a_port_names(tmp_path: Path) -> None:
    (tmp_path / "port.py").write_text(SOURCE)
    found = preload.library_modules(tmp_path / "port.py")
    assert found == {"torch.nn", "diffusers.image_processor", "vllm_omni.diffusion.layers.rope"}


@pytest.mark.parametrize(("name", "text"), [("port.json", "import torch"), ("port.py", "import torch.nn as (")])
def test_what_is_no_python_names_nothing(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert preload.library_modules(tmp_path / name) == set()


def test_a_module_that_cannot_be_imported_is_left_to_the_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Given:
        def sources(self) -> list[Path]:
            return [tmp_path / "port.py"]

    (tmp_path / "port.py").write_text("import broken_library.part\nimport whole_library\n")
    (tmp_path / "broken_library").mkdir()
    (tmp_path / "broken_library" / "__init__.py").write_text("")
    (tmp_path / "broken_library" / "part.py").write_text("raise ValueError('not here')\n")
    (tmp_path / "whole_library.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(preload, "LIBRARIES", ("broken_library", "whole_library"))
    preload.of_ports([Given()])  # type: ignore[list-item]
    assert "whole_library" in sys.modules and "broken_library.part" not in sys.modules


def test_the_bytecode_of_a_port_is_kept_and_follows_its_source(tmp_path: Path) -> None:
    """In a process of its own: it changes where Python looks."""
    code = (
        "import sys; from pathlib import Path; from omniport.verify.preload import keep_bytecode\n"
        f"keep_bytecode(Path({str(tmp_path / 'kept')!r})); sys.path.insert(0, {str(tmp_path)!r})\n"
        "import a_port; print(a_port.VALUE)"
    )
    for value in ("1", "22"):
        (tmp_path / "a_port.py").write_text(f"VALUE = {value}\n")
        ran = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
        assert ran.stdout == f"{value}\n", ran.stderr
        assert [path.name.partition(".")[0] for path in (tmp_path / "kept").rglob("a_port.*.pyc")] == ["a_port"]
    assert not (tmp_path / "__pycache__").exists()
