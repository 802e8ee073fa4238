"""The blocks of a written port, shared by the stages of a pipeline."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.errors import UnsupportedError
from omniport.plan.model import StagedList, StagesPlan, Why
from omniport.rewrite.root import LOAD_PLAIN, LOAD_WEIGHTS
from omniport.rewrite.stages import share_blocks


def port(load: str = LOAD_PLAIN) -> str:
    text = (
        "class Root(nn.Module):\n"
        "    def __init__(self, a=4, b=2):\n"
        "        super().__init__()\n\n"
        "        self.first = nn.ModuleList([Block(i) for i in range(a)])\n"
        "        self.second = nn.ModuleList([Block(i) for i in range(b)])\n\n"
        "    def forward(self, x, y, return_dict: bool = True) -> torch.Tensor:\n"
        "        for block in self.first:\n            x, y = block(x, y)\n"
        "        for block in self.second:\n            x, y = block(x, y)\n"
        "        return (x,)\n"
    )
    return text + "\n" + "\n".join(f"    {line}" if line else "" for line in load.strip().splitlines()) + "\n"


def shared(text: str, fresh: tuple[str, ...] = ()) -> str:
    plan = StagesPlan((StagedList("first", "a"), StagedList("second", "b")), ("x", "y"), fresh, Why(""))
    return share_blocks(cst.parse_module(text), plan, "Root").code


def test_each_stage_makes_and_runs_its_own_blocks() -> None:
    code = shared(port())
    assert "get_pp_indices(\n    a + b, get_pipeline_parallel_rank()" in code.replace("        ", "")
    assert "[Block(i) if self.start_layer <= i < self.end_layer else PPMissingLayer() for i in range(a)]" in code
    assert "[Block(i) if self.start_layer <= a + i < self.end_layer else PPMissingLayer() for i in range(b)]" in code
    assert "in islice(self.first, self.start_layer, self.end_layer)" in code
    second = "max(self.start_layer - len(self.first), 0), max(self.end_layer - len(self.first), 0)"
    assert f"in islice(self.second, {second})" in code
    assert 'x = intermediate_tensors["x"]' in code and 'y = intermediate_tensors["y"]' in code
    assert 'IntermediateTensors({"x": x.contiguous(), "y": y.contiguous()})' in code
    assert "y, intermediate_tensors: IntermediateTensors | None = None, return_dict" in code
    assert "-> torch.Tensor | tuple[IntermediateTensors]" in code


@pytest.mark.parametrize("load", [LOAD_PLAIN, LOAD_WEIGHTS])
def test_tensors_of_other_stages_alone_are_passed_over(load: str) -> None:
    code = shared(port(load))
    assert code.count(".startswith(other_stages):") == 1 and code.count("unexpected.append(") == 1
    assert "if isinstance(module, PPMissingLayer)" in code


def test_stages_in_the_middle_need_no_latents() -> None:
    assert "get_pipeline_parallel_world_size() > 2" not in shared(port())
    code = shared(port(), ("temb",))
    assert "if get_pipeline_parallel_world_size() > 2:" in code and "# temb depends on the latents" in code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[Block(i) for i in range(a)]", "make(a)"),
        ("        self.second = nn.ModuleList([Block(i) for i in range(b)])\n", ""),
        ("for block in self.second", "for block in self.first"),
        ("return_dict: bool = True", "return_dict: bool = True, *, z"),
        ("unexpected.append(name)", "pass"),
    ],
)
def test_code_of_another_form_is_refused(old: str, new: str) -> None:
    text = port()
    assert old in text
    if new.endswith("z"):
        text = text.replace("y, return_dict: bool = True", "y, return_dict, z")
    with pytest.raises(UnsupportedError):
        shared(text.replace(old, new))
