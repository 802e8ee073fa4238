"""The heavy half of the corpus run: sound ports pass, and each deliberately broken twin is caught."""

from __future__ import annotations

import importlib.util
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from omniport.corpus.classes import corpus_classes
from omniport.corpus.produce import MODELS, fresh_tree, produce
from omniport.corpus.results import FEATURES, PARITY, StageResult
from omniport.corpus.run import jobs_of, verify_ports
from omniport.source.tree import SourceTree

pytestmark = pytest.mark.verify

FLUX, OVIS = "FluxTransformer2DModel", "OvisImageTransformer2DModel"
QWEN, WAN = "QwenImageTransformer2DModel", "WanTransformer3DModel"
CHROMA, NUCLEUS = "ChromaTransformer2DModel", "NucleusMoEImageTransformer2DModel"
PROVEN = ("layerwise", "compile", "cache", "lora")


@dataclass(frozen=True)
class Twin:
    """A mistake in a port's text: every match of ``pattern`` is replaced; ``stage`` must fail."""

    name: str
    pattern: str
    replacement: str
    stage: str = "parity"


TWINS = {
    "swapped q and k": Twin(FLUX, r'"\.to_(?P<a>[qk])", "[qk]"', r'".to_\g<a>", "SWAP\g<a>"'),
    "dropped mask": Twin(QWEN, r"attn_mask=(?!None)[\w.]+", "attn_mask=None"),
    "mask of four axes": Twin(QWEN, r"(attention_mask = torch\.cat\(.*\))", r"\1[:, None, None, :]", "flash"),
    "additive mask": Twin(
        QWEN, r"(attention_mask = )(torch\.cat\(.*\))", r"\1(~\2)[:, None, None, :] * -10000.0", "flash"
    ),
    "wrong norm": Twin(WAN, r"\(self\.norm_k, (\w+)\)", r"(self.norm_q, \1)"),
    "swapped gate and value": Twin(OVIS, r"(\w+), (\w+) = (\w+\.chunk\(2, dim=-1\))", r"\2, \1 = \3"),
    "wrong rope pairing": Twin(
        FLUX, r"(apply_rotary_emb\(\w+, \w+), sequence_dim=1\)", r"\1, sequence_dim=1, use_real_unbind_dim=-2)"
    ),
    "lost bias": Twin(FLUX, r"bias=True", "bias=False", "load"),
    "forgotten float32": Twin(WAN, r"parameter\.data = parameter\.data\.float\(\)", "pass", "bf16"),
    "float32 lost to sharding": Twin(WAN, r"(_hsdp_preserve_parameter_dtypes) = True", r"\1 = False", "hsdp2"),
    "nothing to offload": Twin(WAN, r"_layerwise_offload_blocks_attrs = .*", "_other = []", "layerwise"),
    "number read in a block": Twin(
        WAN, r"(\n +)(norm_hidden_states = )", r"\1hidden_states.sum().item()\1\2", "compile"
    ),
    "norms reduced apart": Twin(
        WAN,
        r"query, key = norm_together\(\(self\.norm_q, query\), \(self\.norm_k, key\)\)",
        r"query, key = self.norm_q(query), self.norm_k(key)",
        "tp2",
    ),
    "experts not summed up": Twin(NUCLEUS, r"out \+ tensor_model_parallel_all_reduce\(", "out + (", "tp2"),
    "number of ranks not checked": Twin(WAN, r"% tp_size", "% 1", "tp2"),
    "swapped pattern": Twin(FLUX, "ForwardPattern.Pattern_1", "ForwardPattern.Pattern_0", "cache"),
    "blocks that differ as one": Twin(CHROMA, r"cached_adapter_cls=\w+,", "", "cache"),
    "stream not restored": Twin(CHROMA, r"hidden_states - start,", "hidden_states - hidden_states,", "cache"),
    "adapters of q for k": Twin(
        FLUX,
        r"(stacked_params_mapping = \[\s+)(\(.*?\),)(\s+)(\(.*?\),)",
        r"\1\4\3\2",
        "lora",
    ),
    "streams not received": Twin(
        WAN, r'(hidden_states = )intermediate_tensors\["hidden_states"\]', r"\1hidden_states", "pp2"
    ),
    "every block on each stage": Twin(WAN, r"if self\.start_layer <= i < self\.end_layer", "if i >= 0", "pp2"),
    "a later stage that runs one block less": Twin(
        WAN,
        r"self\.start_layer, self\.end_layer\)",
        "self.start_layer + min(self.start_layer, 1), self.end_layer)",
        "pp2",
    ),
    "streams joined by every stage": Twin(CHROMA, r"if self\.start_layer <= len\(\S+\):", "if True:", "pp2"),
    "streams handed on unjoined": Twin(CHROMA, r" and self\.end_layer <= len\(\S+\)", "", "pp2"),
    "lost block": Twin(WAN, r"range\(num_layers\)", "range(num_layers - 1)", "load"),
}


def broken(text: str, twin: Twin) -> str:
    changed, count = re.subn(twin.pattern, twin.replacement, text)
    assert count, f"nothing in the port matches {twin.pattern}"
    return changed.replace("SWAPq", "k").replace("SWAPk", "q")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[StageResult]]:
    tree = tmp_path_factory.mktemp("corpus") / "tree"
    package = importlib.util.find_spec("vllm_omni")
    assert package is not None and package.submodule_search_locations
    fresh_tree(Path(package.submodule_search_locations[0]), tree)
    classes = {
        n: f for n, f in corpus_classes(SourceTree.locate()).items() if n in (FLUX, OVIS, QWEN, WAN, CHROMA, NUCLEUS)
    }
    produced = {name: produce(None, tree, name, file) for name, file in classes.items()}
    sound = {job["name"]: job for job in jobs_of(classes, produced, features=())}
    sound[WAN]["features"] = ("tp2", "pp2", "hsdp2", *PROVEN)
    sound[CHROMA]["features"] = ("flash", "pp2", "cache")
    sound[QWEN]["features"] = ("flash",)
    sound[NUCLEUS]["features"] = ("tp2", "compile")
    sound[FLUX]["features"] = ("pp2", "cache", "lora")
    jobs: list[dict[str, Any]] = [*sound.values()]
    for number, (what, twin) in enumerate(TWINS.items()):
        job = sound[twin.name]
        folder, module = job["module"].split(".")[-2:]
        copy = tree / MODELS / f"{folder}_{number}"
        shutil.copytree(tree / MODELS / folder, copy)
        of_port = [copy / f"{module}.py", *copy.glob("cached_blocks.py")]
        file = next((f for f in of_port if re.search(twin.pattern, f.read_text())), of_port[0])
        file.write_text(broken(file.read_text(), twin))
        features = (twin.stage,) if twin.stage in FEATURES else ()
        jobs.append(
            {
                **job,
                "features": features,
                "key": what.replace(" ", "_"),
                "module": job["module"].replace(folder, copy.name),
            }
        )
    found, versions = verify_ports(tree, jobs)
    assert versions["vllm-omni"]
    return found


@pytest.mark.parametrize("name", [FLUX, OVIS, QWEN, WAN, CHROMA, NUCLEUS])
def test_sound_ports_pass(name: str, results: dict[str, list[StageResult]]) -> None:
    stages = {s.stage: s for s in results[name]}
    features = {WAN: 7, FLUX: 3, CHROMA: 3, NUCLEUS: 2, QWEN: 1}.get(name, 0)
    assert [s.state for s in stages.values()] == ["ok"] * (4 + features), [s.reason for s in stages.values()]
    figure = stages["parity"].figure
    assert figure is not None and figure <= PARITY


@pytest.mark.parametrize("what", TWINS)
def test_broken_twins_are_caught(what: str, results: dict[str, list[StageResult]]) -> None:
    stages = {s.stage: s for s in results[what.replace(" ", "_")]}
    stage = TWINS[what].stage
    assert stage in stages, f"it ended before {stage}: {stages}"
    assert stages[stage].state == "failed" and stages[stage].reason, f"{what} was not caught"
    if stage == "parity":
        figure = stages[stage].figure
        assert figure is not None and figure > 100 * PARITY, f"caught by other means: {stages[stage].reason}"
