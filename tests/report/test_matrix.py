"""``omniport matrix``: declared, validated, and what the docs say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omniport.check.tree import FEATURES_PAGE
from omniport.report import matrix as room
from omniport.report.evidence import write_evidence
from omniport.verify.port import find_port
from omniport.verify.results import FeatureResult

MODELS = "vllm_omni/diffusion/models"
TRANSFORMER = """
class Transformer(nn.Module):
    _sp_plan = {"proj_out": SequenceParallelOutput(gather_dim=1)}
    _layerwise_offload_blocks_attrs = []
    def __init__(self):
        self.to_qkv = QKVParallelLinear(64, 16, 4, quant_config=None)
"""
REGISTRY = '_DIFFUSION_MODELS = {"AModelPipeline": ("a", "pipeline_a", "AModelPipeline")}\n'
PAGE = (
    "# Features\n\n| Model | Tensor-Parallel | HSDP | SP (Ulysses & Ring) |\n|---|:---:|---|---|\n"
    "| **A-Model** | \u274c | \u2705 (one node) | \u2705\ufe0e |\n| **Other** | \u2705 | \u2705 | \u2705 |\n"
)
PORT = {
    "architecture": "AModelPipeline",
    "pipeline_module": "vllm_omni.diffusion.models.a.pipeline_a",
    "pipeline_class": "AModelPipeline",
    "transformer_module": "vllm_omni.diffusion.models.a.a_transformer",
    "transformer_class": "Transformer",
    "reference_pipeline": "diffusers.A",
    "reference_transformer": "diffusers.B",
    "pre_process": None,
    "post_process": None,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "vllm_omni/__init__.py": "",
        "vllm_omni/diffusion/registry.py": REGISTRY,
        f"{MODELS}/a/pipeline_a.py": "class AModelPipeline:\n    pass\n",
        f"{MODELS}/a/a_transformer.py": TRANSFORMER,
        FEATURES_PAGE: PAGE,
        ".omniport/a.json": json.dumps(
            {"schema": 1, "omniport": "0", "name": "a", "inputs": {}, "port": PORT}
            | {"model_index": {}, "configs": {}, "files": [], "plan": {}, "todos": []}
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def proven(tree: Path, feature: str, digest: str) -> None:
    result = FeatureResult(feature, "validated", 0.0, "", (), (), 1.0, "omniport verify", {}, "2026-01-01", digest)
    write_evidence(tree / ".omniport/a.evidence.json", "a", [result])


def test_what_is_declared_and_where_the_docs_disagree(tree: Path) -> None:
    (row,) = room.matrix(tree)
    assert row.port == "a"
    assert row.declared == ("sequence-parallel", "tensor-parallel", "quantization")
    assert (row.states, row.parity) == ({}, "not tested")
    page = (tree / FEATURES_PAGE).as_posix()
    assert row.disagreements == (
        f"{page}:5: a: Tensor-Parallel is declared, and the docs say \u274c",
        f"{page}:5: a: HSDP is ticked, and nowhere declared",
    )


def test_evidence_counts_for_the_source_it_was_measured_on_only(tree: Path) -> None:
    proven(tree, "tp2", find_port(tree, "a").digest())
    assert next(room.matrix(tree)).cell("tensor-parallel") == "validated"
    assert next(room.matrix(tree)).cell("sequence-parallel") == "declared"
    file = tree / MODELS / "a/a_transformer.py"
    file.write_text(file.read_text("utf-8") + "\n# edited\n", "utf-8")
    assert next(room.matrix(tree)).cell("tensor-parallel") == "declared"


def test_the_table_and_its_json(tree: Path) -> None:
    text = room.render(room.matrix(tree))
    heading, line, *_ = text.splitlines()
    assert heading.split() == ["port", "parity", "cache", "SP", "CFG", "TP", "HSDP", "offload", "quant", "steps"]
    assert line.split() == ["a", "not", "tested", "-", "declared", "-", "declared", "-", "-", "declared", "-"]
    assert "The docs disagree:" in text and "TP 1" in text
    (port,) = json.loads(room.to_json(room.matrix(tree)))["ports"]
    assert port["declared"] == ["sequence-parallel", "tensor-parallel", "quantization"]
