"""A generated port is clean under every rule, and each of its broken twins is caught by the rule it breaks."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from omniport.check.engine import check
from omniport.port import scaffold

Twin = Callable[[str], str]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The Python files of FLUX as a plugin, by name."""
    root = tmp_path_factory.mktemp("plugin")
    result = scaffold("diffusers:FluxPipeline", into=None, plugin=root, offline=True)
    return {
        Path(f.path).name: (root / f.path).read_text("utf-8")
        for f in result.files
        if f.path.endswith("_transformer.py") or Path(f.path).name.startswith("pipeline_")
    }


def codes(folder: Path, files: dict[str, str]) -> set[str]:
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return {finding.code for finding in check([folder]).findings}


def test_a_generated_port_has_no_finding(generated: dict[str, str], tmp_path: Path) -> None:
    assert len(generated) == 2
    assert codes(tmp_path, generated) == set()


def without_keyword(keyword: str, *calls: str) -> Twin:
    """Leave a keyword out of every call of these functions."""

    class Drop(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.Call:
            self.generic_visit(node)
            if ast.unparse(node.func).rpartition(".")[2] in calls:
                node.keywords = [k for k in node.keywords if k.arg != keyword]
            return node

    return lambda text: ast.unparse(Drop().visit(ast.parse(text)))


def replaced(pattern: str, by: str) -> Twin:
    """Replace a pattern in every line."""
    return lambda text: re.sub(pattern, by, text, flags=re.M)


def tensors_dropped(text: str) -> str:
    """Let ``load_weights`` go on without the names that it does not know."""
    loader = "for n, w in weights:\n    if n not in p:\n        continue\n    p[n].weight_loader(p[n], w)"
    return with_loader(text, f"p = dict(self.named_parameters())\n{loader}")


def shards_not_counted(text: str) -> str:
    """Let ``load_weights`` report a fused parameter by its first shard."""
    loader = (
        "for n, w in weights:\n    n, shard = self.place(n)\n    p[n].weight_loader(p[n], w, shard)\n    seen.add(n)"
    )
    return with_loader(text, f"p, seen = dict(self.named_parameters()), set()\n{loader}")


def matched_by_prefix(text: str) -> str:
    """Match checkpoint names by the bare part."""
    mapping = "for f, p, s in [('.to_qkv', '.to_q', 'q'), ('.to_qkv', '.to_k', 'k')]"
    return with_loader(text, f"for n, w in weights:\n    {mapping}:\n        if p in n:\n            break")


def with_loader(text: str, body: str) -> str:
    """Replace the body of ``load_weights``."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "load_weights":
            node.body = ast.parse(body).body
    return ast.unparse(tree)


LINEARS = (
    "ColumnParallelLinear",
    "MergedColumnParallelLinear",
    "QKVParallelLinear",
    "ReplicatedLinear",
    "RowParallelLinear",
)
TWINS: dict[str, tuple[str, Twin]] = {
    "OP101": ("_transformer.py", tensors_dropped),
    "OP102": ("_transformer.py", shards_not_counted),
    "OP103": ("_transformer.py", matched_by_prefix),
    "OP201": ("_transformer.py", replaced(r"num_heads=self\.to_qkv\.num_heads", "num_heads=query_dim // dim_head")),
    "OP301": ("_transformer.py", without_keyword("split_output", "SequenceParallelInput")),
    "OP401": ("pipeline_", without_keyword("cfg_normalize", "predict_noise_maybe_with_cfg")),
    "OP402": (
        "pipeline_",
        replaced(r"(\w+)\.guidance_scale if \1\.guidance_scale_provided else", r"\1.guidance_scale or"),
    ),
    "OP501": ("_transformer.py", replaced(r"^    _repeated_blocks = ", "    _blocks = ")),
    "OP601": ("_transformer.py", replaced(r"stacked_params_mapping", "fused_parts")),
    "OP602": ("_transformer.py", without_keyword("quant_config", *LINEARS)),
    "OP603": ("_transformer.py", without_keyword("quant_config", "FluxAttention", "FeedForward")),
    "OP701": ("pipeline_", replaced(r"get_local_device\(\)$", "torch.device('cuda')")),
}


@pytest.mark.parametrize("code", TWINS)
def test_a_broken_twin_is_caught(generated: dict[str, str], tmp_path: Path, code: str) -> None:
    part, twin = TWINS[code]
    (name,) = [n for n in generated if part in n]
    broken = twin(generated[name])
    assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(generated[name])), "the twin is not broken"
    assert code in codes(tmp_path, {**generated, name: broken})
