"""Settings in one object of a dataclass become parameters, on every level; other uses of the object leave it alone."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import libcst as cst
import pytest

from omniport.custom.idioms.settings_object import settings_object
from tests.custom.test_submodels import port

SOURCE = '''\
from dataclasses import dataclass
from typing import Optional

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


@dataclass
class NetConfig:
    """Sizes."""

    width: int
    heads: int = 4
    depth: int = 2
    inner: Optional[int] = None


SMALL = NetConfig(width=32, depth=3)


class NetBlock(nn.Module):
    def __init__(self, index, config: NetConfig):
        super().__init__()
        self.index = index
        self.heads = config.heads
        self.to_q = nn.Linear(config.width, config.width)
        self.to_k = nn.Linear(config.width, config.width)
        self.to_v = nn.Linear(config.width, config.width)
        self.to_out = nn.Linear(config.width, config.width)

    def forward(self, x):
        b, n, c = x.shape
        q = self.to_q(x).view(b, n, self.heads, c // self.heads).transpose(1, 2)
        k = self.to_k(x).view(b, n, self.heads, c // self.heads).transpose(1, 2)
        v = self.to_v(x).view(b, n, self.heads, c // self.heads).transpose(1, 2)
        out = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        return x + self.to_out(out)


class NetDiT(nn.Module):
    def __init__(self, config: NetConfig, channels=16):
        super().__init__()
        self.x_embedder = nn.Linear(channels, config.inner or config.width)
        self.t_embedder = nn.Linear(1, config.width)
        self.blocks = nn.ModuleList([NetBlock(i, config) for i in range(config.depth)])
        self.final_layer = nn.Linear(config.width, channels)

    def forward(self, x, timestep):
        x = self.x_embedder(x) + self.t_embedder(timestep[:, None])[:, None]
        for block in self.blocks:
            x = block(x)
        return self.final_layer(x)


def load(path):
    model = NetDiT(SMALL)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model
'''
INIT = "        super().__init__()\n        self.x_embedder"


def written(source: str) -> str:
    module, settings = settings_object(cst.parse_module(source), "NetDiT")
    assert (settings is None) is (module.code == source)
    return module.code


def scope(source: str) -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": "net"}
    exec(compile(source, "net", "exec", dont_inherit=True), found)  # our own text
    return found


@pytest.mark.verify
def test_the_same_model_is_built() -> None:
    torch = pytest.importorskip("torch")
    old, text = scope(SOURCE), written(SOURCE)
    shown = "(self, width: int, channels=16, heads: int = 4, depth: int = 2, inner: Optional[int] = None)"
    signature = str(inspect.signature(scope(text)["NetDiT"].__init__))
    assert signature.replace("typing.", "") == shown
    x, time = torch.randn(2, 5, 16), torch.rand(2)
    results = []
    for made in (text, text.replace("heads=heads", "heads=1")):
        net, port = old["NetDiT"](old["NetConfig"](width=32, depth=3)), scope(made)["NetDiT"](width=32, depth=3)
        port.load_state_dict(net.state_dict())
        results.append((net(x, time) - port(x, time)).abs().max().item())
    assert results[0] == 0 < results[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (INIT, "        self.config = config\n" + INIT),
        (INIT, "        config.width = 3\n" + INIT),
        (INIT, "        config = other(config)\n" + INIT),
        (INIT, "        width = 3\n" + INIT),
        (INIT, "        print(config.other)\n" + INIT),
        (INIT, "        print([depth for depth in range(config.depth)])\n" + INIT),
        ("channels=16):", "channels=16, heads=4):"),
        ("channels=16):", "channels=16, **rest):"),
        ("NetBlock(i, config)", "NetBlock(i, *[config])"),
        ("@dataclass\n", "@dataclass\n@register\n"),
        ("class NetConfig:", "class NetConfig(Base):"),
        ("inner: Optional[int] = None", "inner: Optional[int] = field(default=None)"),
        (
            "    inner: Optional[int] = None\n",
            "    inner: Optional[int] = None\n\n    def double(self):\n        pass\n",
        ),
        ("    model = NetDiT(SMALL)", "    NetBlock(1, SMALL)\n    model = NetDiT(SMALL)"),
        ("config: NetConfig, channels", "config, channels"),
    ],
)
def test_other_uses_leave_it_alone(old: str, new: str) -> None:
    assert old in SOURCE
    source = SOURCE.replace(old, new)
    assert written(source) == source


def test_a_port_has_the_values_with_their_lines(tmp_path: Path) -> None:
    source = tmp_path / "source" / "net"
    source.mkdir(parents=True)
    (source / "model.py").write_text(SOURCE, "utf-8")
    result, files = port(tmp_path, source.parent)
    assert "NATIVE" not in [t.subject for t in result.plan.todos] and "NetConfig" not in files["toy_transformer.py"]
    assert (
        'SMALL_CONFIG = {\n    "width": 32,  # net/model.py:19\n    "depth": 3,  # net/model.py:19\n}'
        in files["pipeline_toy.py"]
    )
    assert "CONFIG" not in [t.subject for t in result.plan.todos]
    assert "width=width" in files["toy_transformer.py"]
    record = json.loads((tmp_path / "tree" / ".omniport" / "toy.json").read_text("utf-8"))["inputs"]["original"]
    assert record["arguments"] == {"width": 32, "depth": 3}
    assert record["parameters"]["blocks.2.to_q.weight"] == [32, 32] and len(record["parameters"]) == 30
