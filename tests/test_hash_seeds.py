"""Plans and ports do not depend on the order of sets, which PYTHONHASHSEED sets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SEEDS = ("1", "3", "4")  # sets of names come in other orders under each: see the last test
TRANSFORMERS = ("HunyuanVideo15Transformer3DModel", "PixArtTransformer2DModel", "Krea2Transformer2DModel")
PIPELINES = ("StableDiffusion3Pipeline", "LTX2Pipeline")

_PLANS = """
import json, sys
from dataclasses import asdict
from omniport.port import analyse_transformer
from omniport.source.tree import SourceTree
tree = SourceTree.locate(None)
for name in sys.argv[1:]:
    found = analyse_transformer(tree, name)
    print(json.dumps(asdict(found.plan)))
    print(found.normal.code)
"""
_SCAFFOLD = "import sys; from omniport.__main__ import main; sys.argv[0] = 'omniport'; main()"
_SETS = "print(*{'hidden_states', 'encoder_hidden_states', 'image_rotary_emb', 'timestep'})"


def _run(seed: str, code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_plans_and_normal_forms_are_equal_under_every_seed() -> None:
    first, *others = (_run(seed, _PLANS, *TRANSFORMERS) for seed in SEEDS)
    assert first.count('"class_name": "') > len(TRANSFORMERS)
    assert others == [first] * len(others)


def test_ports_are_equal_under_every_seed(tmp_path: Path) -> None:
    written = []
    for seed in SEEDS:
        for name in PIPELINES:
            _run(seed, _SCAFFOLD, "scaffold", f"diffusers:{name}", "--plugin", str(tmp_path / seed / name), "--offline")
        files = (file for file in sorted((tmp_path / seed).rglob("*")) if file.is_file())
        written.append({str(file.relative_to(tmp_path / seed)): file.read_bytes() for file in files})
    assert sum(name.endswith("_transformer.py") for name in written[0]) == len(PIPELINES)
    assert written[1:] == written[:1] * (len(SEEDS) - 1)


def test_the_seeds_do_change_the_order_of_sets() -> None:
    assert len({_run(seed, _SETS) for seed in SEEDS}) == len(SEEDS)
