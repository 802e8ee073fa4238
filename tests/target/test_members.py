"""Attributes and keywords that the tree's classes do not have are found; those they have are not reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.target.members import missing_members
from omniport.target.write import FileChange, prepare

TREE = {
    "inputs/data.py": """
@dataclass
class OmniDiffusionSamplingParams:
    height: int | None = None

    def __post_init__(self):
        self.made = 1

    @property
    def rate(self):
        return 1
""",
    "diffusion/data.py": "@dataclass\nclass OmniDiffusionConfig:\n    model: str = ''\n",
    "diffusion/request.py": "@dataclass\nclass OmniDiffusionRequest:\n    prompts: list\n",
    "diffusion/base.py": """
class Base(Mixin):
    def step(self, a, *, b=1):
        pass
class Mixin:
    def other(self, **kw): ...
""",
    "diffusion/layer.py": """
class Layer:
    def __init__(self, heads, *, scale=1):
        pass
@dataclass
class Options(More):
    one: int = 1
@dataclass
class More:
    two: int = 1
class Opaque(Unknown):
    one: int
def anything(**kwargs): ...
""",
    "diffusion/package/__init__.py": "from vllm_omni.diffusion.layer import Options as Options\n",
}

GOOD = """
from vllm_omni.diffusion.base import Base
from vllm_omni.diffusion.layer import Layer, Opaque, anything
from vllm_omni.diffusion.package import Options
from vllm_omni.diffusion.request import OmniDiffusionRequest

class Port(Base):
    def __init__(self, od_config):
        self.od_config = od_config
        self.layer = Layer(4, scale=2)
        Options(one=1, two=2)
        Opaque(whatever=1)
        anything(x=1)
        self.step(1, b=2)
        self.other(x=1)
        self.mine(c=1)
        print(od_config.model, self.od_config.model)

    def mine(self, c): ...

    def forward(self, req: OmniDiffusionRequest):
        params = req.sampling_params_of_somebody if False else None
        return params.height, params.made, params.rate, req.prompts
""".replace("req.sampling_params_of_somebody if False else None", "make(req)")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / "vllm_omni" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        (path.parent / "__init__.py").touch()
    return tmp_path / "vllm_omni"


def test_what_is_there_is_not_reported(package: Path):
    assert missing_members({"port.py": GOOD}, package) == ()


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("params.height", "params.width", "params.width"),
        ("req.prompts", "req.prompt", "req.prompt"),
        ("self.od_config.model", "self.od_config.models", "self.od_config.models"),
        ("scale=2", "role=2", "Layer(role=...)"),
        ("two=2", "three=3", "Options(three=...)"),
        ("b=2", "c=2", "self.step(c=...)"),
    ],
)
def test_what_is_not_there_is_named(package: Path, old: str, new: str, name: str):
    (found,) = missing_members({"port.py": GOOD.replace(old, new)}, package)
    assert (found.file, found.name) == ("port.py", name)
    assert found.line > 1


def test_it_is_not_written(package: Path):
    text = "from vllm_omni.diffusion.layer import Layer\n\nLayer(1, role='cross')\n"
    with pytest.raises(OmniportError, match=r"port\.py:3: Layer\(role=\.\.\.\): Layer takes no argument role"):
        prepare(package.parent, [FileChange("port.py", text, "create")], package=package)
