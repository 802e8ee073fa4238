"""A forward that calls the layers of a model of another package is counted; one that does not is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.custom.code import read_code
from omniport.custom.release import other_loops
from omniport.custom.slice import cut

HEAD = "import torch\nfrom torch import nn\nfrom transformers import LlamaModel, PreTrainedModel\n\n\n"
LOOP = """\
class Tower(LlamaModel):
    def forward(self, x):
        for layer in self.layers:
            x = layer(x)[0]
        return x


class Net(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.tower = Tower(config)

    def forward(self, x):
        return self.tower(x)
"""


def left(tmp_path: Path, text: str) -> list[tuple[str, str, int]]:
    (tmp_path / "model.py").write_text(HEAD + text)
    tree = read_code(tmp_path)
    found = other_loops(cut(tree, tree.files[0], "Net"))
    return [(loop.base, loop.why.file, loop.why.line) for loop in found]


def test_the_loop_is_counted_where_it_stands(tmp_path: Path) -> None:
    assert left(tmp_path, LOOP) == [("LlamaModel", "model.py", 7)]


def test_a_base_named_with_its_package_is_one_too(tmp_path: Path) -> None:
    text = LOOP.replace("Tower(LlamaModel)", "Tower(transformers.LlamaModel)")
    assert left(tmp_path, f"import transformers\n\n\n{text}") == [("LlamaModel", "model.py", 10)]
    text = LOOP.replace("Tower(LlamaModel)", "Tower(transformers.PreTrainedModel)")
    assert left(tmp_path, f"import transformers\n\n\n{text}") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Tower(LlamaModel)", "Tower(nn.Module)"),
        ("Tower(LlamaModel)", "Tower(PreTrainedModel)"),
        ("def forward(self, x):\n        for", "def loop(self, x):\n        for"),
    ],
)
def test_what_keeps_to_its_base_is_not(tmp_path: Path, old: str, new: str) -> None:
    assert old in LOOP
    assert left(tmp_path, LOOP.replace(old, new)) == []
