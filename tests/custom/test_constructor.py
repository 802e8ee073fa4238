"""The parameters that a constructor shows are those that torch makes; what it does not show is an error."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from omniport.custom.code import read_code
from omniport.custom.constructor import Parameters, parameters_of
from omniport.custom.slice import cut
from omniport.errors import UnsupportedError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"


PAINTER = {"channels": 4, "width": 8, "heads": 2, "depth": 2, "layer": "plain"}


def read(root: Path, file: str, name: str, arguments: dict[str, Any]) -> Parameters:
    tree = read_code(root)
    return parameters_of(cut(tree, next(f for f in tree.files if f.path == file), name), arguments)


def of(tmp_path: Path, body: str, **arguments: Any) -> Parameters:
    """Of a class ``M`` whose constructor has this body."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    text = (
        "import torch\nfrom torch import nn\n\n\nclass M(nn.Module):\n"
        f"    def __init__(self, a=1, b=2, **more):\n        super().__init__()\n{lines}\n"
    )
    (tmp_path / "m.py").write_text(text, "utf-8")
    return read(tmp_path, "m.py", "M", arguments)


@pytest.mark.verify
@pytest.mark.parametrize(
    ("repository", "file", "name", "arguments"),
    [
        ("fusion", "duet/modules/stack.py", "StackModel", {"width": 32, "heads": 4, "depth": 3}),
        (
            "fusion",
            "duet/modules/fusion.py",
            "DuetModel",
            {"video_config": {"width": 64, "depth": 1}, "audio_config": {"width": 32}},
        ),
        ("root_files", "toy/autoencoder.py", "AutoEncoder", {}),
        ("root_files", "toy/model.py", "Painter", {"config": PAINTER}),
        ("packed", "model.py", "PackedModel", {}),
    ],
)  # fmt: skip
def test_equal_to_torch(repository: str, file: str, name: str, arguments: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    found = read(FIXTURES / repository, file, name, arguments)
    sys.path.insert(0, str(FIXTURES / repository))
    try:
        cls = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
    finally:
        sys.path.remove(str(FIXTURES / repository))
        sys.modules.pop("model", None)
    given = {k: SimpleNamespace(**v) if k == "config" else v for k, v in arguments.items()}
    with torch.device("meta"):
        wanted = cls(**given).state_dict()
    assert found.shapes == {key: tuple(tensor.shape) for key, tensor in wanted.items()}


LAYERS = [
    "nn.Linear(3, 4)", "nn.Linear(3, 4, False)", "nn.Linear(3, 4, bias=False)", "nn.Conv1d(4, 6, 3)",
    "nn.Conv2d(4, 6, (1, 2), groups=2)", "nn.Conv2d(4, 6, 3, 1, 0, 1, 2, False)",
    "nn.Conv3d(4, 6, (1, 2, 2), bias=False)", "nn.ConvTranspose2d(4, 6, 3)", "nn.ConvTranspose1d(4, 6, 3, groups=2)",
    "nn.ConvTranspose2d(4, 6, 3, 1, 0, 0, 2, False)",
    "nn.LayerNorm(5)", "nn.LayerNorm((5, 6), elementwise_affine=False)", "nn.LayerNorm(5, 1e-5, True, False)",
    "nn.RMSNorm(5)", "nn.GroupNorm(2, 4)", "nn.GroupNorm(2, 4, affine=False)", "nn.BatchNorm2d(4)",
    "nn.BatchNorm1d(4, track_running_stats=False)", "nn.Embedding(7, 3)", "nn.MultiheadAttention(8, 2)",
    "nn.MultiheadAttention(8, 2, bias=False)", "nn.Sequential(nn.SiLU(), nn.Linear(2, 3))", "nn.Identity()",
    "nn.ModuleList([nn.Linear(i + 1, 2) for i in range(3)])", "nn.ModuleDict({'x': nn.Linear(1, 2)})",
    "nn.Parameter(torch.zeros(2, 3) / 4)", "nn.Parameter(torch.randn((2, 3)))", "nn.Parameter(torch.full((2,), 1.0))",
]  # fmt: skip


@pytest.mark.verify
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_has_what_torchs_has(layer: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class M(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.x = eval(layer, {"nn": torch.nn, "torch": torch})  # our own text

    assert of(tmp_path, f"self.x = {layer}").shapes == {k: tuple(t.shape) for k, t in M().state_dict().items()}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("for i in range(b):\n    setattr_ = i\n    self.l = nn.ModuleList([])\nself.l.append(nn.Identity())", []),
        ("if a == 1:\n    self.x = nn.Linear(1, 1, bias=False)\nelse:\n    self.y = nn.Identity()", ["x.weight"]),
        ("self.x = nn.Linear(1, 1, bias=False) if more.get('c') else None", []),
        ("self.x = nn.Linear(b, 1, bias=False)\nself.x = None", []),
        ("self.register_buffer('t', torch.zeros(2), persistent=False)", []),
        ("self.register_buffer('t', torch.zeros(2))", ["t"]),
        ("c = {'k': 3}\nself.x = nn.Linear(c['k'], c.get('z', 4), bias=False)", ["x.weight"]),
        ("self.x, self.n = nn.Linear(1, 1, bias=False), 5", ["x.weight"]),
        (
            "self.l = nn.ModuleList()\nfor i in range(2):\n    self.l.append(nn.Linear(1, i + 1, bias=False))",
            ["l.0.weight", "l.1.weight"],
        ),
        ("assert a, 'x'\nself.x = nn.Linear(a * 2, b // 2, bias=False)\nself.apply(print)", ["x.weight"]),
    ],
)  # fmt: skip
def test_statements(body: str, names: list[str], tmp_path: Path) -> None:
    assert list(of(tmp_path, body).shapes) == names


def test_an_unknown_size_stays_open(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "from torch import nn\nclass M(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
        "        self.x = nn.Linear(width, 3)\n",
        "utf-8",
    )
    assert read(tmp_path, "m.py", "M", {}).shapes == {"x.weight": (3, None), "x.bias": (3,)}
    assert read(tmp_path, "m.py", "M", {"width": 5}).shapes["x.weight"] == (3, 5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("self.x = nn.Linear(1, 1, bias=more['c'].d)", "KeyError"),
        ("while a:\n    pass", "not followed"),
        ("raise ValueError(a)", "the constructor raises"),
        ("self.x = nn.LSTM(1, 1)", r"nn\.LSTM is a layer that is not known"),
        ("from timm import Mlp\nself.x = nn.ModuleList([Mlp()])", "an element of a list"),
        ("self.register_buffer('t', torch.tensor([a]))", "the shape of t is not shown"),
        ("for i in range(10**9):\n    pass", "is long"),
        ("x = [1] * 10**9", "too large"),
        ("x = 2 ** 10 ** 9", "too large"),
    ],
)
def test_what_the_text_does_not_show_is_an_error(body: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=reason) as raised:
        of(tmp_path, body)
    assert raised.value.file == "m.py"


def test_a_class_of_another_package_is_an_error_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "from timm.layers import Mlp\nfrom torch import nn\n\n\nclass M(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.mlp = Mlp(3)\n",
        "utf-8",
    )
    with pytest.raises(UnsupportedError, match=r"made by timm\.layers\.Mlp") as raised:
        read(tmp_path, "m.py", "M", {})
    assert (raised.value.file, raised.value.line) == ("m.py", 8)
