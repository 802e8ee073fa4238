"""``verify`` of custom repositories' ports: what is proved without the original, and what is said of the rest."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from omniport.custom.into import scaffold_custom
from omniport.plan.todos import IDS
from omniport.target.manifest import load
from omniport.verify import custom
from omniport.verify.api import make_job, run_jobs
from omniport.verify.features import FEATURES
from omniport.verify.port import find_port
from omniport.verify.results import FeatureResult
from tests.custom.test_remap_loading import published_stack, stack, tensors
from tests.support.ports import copy_tree, installed_package

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"
LENIENT = ("        if missing or unexpected:\n", "        if False:\n")

#: port -> the repository, whether a checkpoint of other names is published, and what of the port is broken
PORTS: dict[str, tuple[str, bool, tuple[str, str] | None]] = {
    "native": ("studio", False, None),
    "renamed": ("studio", False, ("self.x_embedder", "self.embedder")),
    "wider": ("studio", False, ("self.x_embedder = nn.Linear(16,", "self.x_embedder = nn.Linear(17,")),
    "lenient": ("studio", False, LENIENT),
    "verbatim": ("unified", False, None),
    "mapped": ("fusion", True, None),
    "fused": ("fusion", False, None),
    "unbridged": ("fusion", False, ("self.bridge = nn.Linear(64, 64)", "self.bridge = nn.Linear(64, 65)")),
    "gone": ("fusion", True, ("    ('layers', 'blocks'),\n", "")),
    "broken": ("studio", False, ("def __init__(self, width, heads,", "def __init__(self, width, heads, more,")),
}
WANTED = ("import", "load", "parity", "tp2", "sp2", "cfg2", "e2e")
Results = dict[str, dict[str, FeatureResult]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    pytest.importorskip("vllm_omni")
    root = tmp_path_factory.mktemp("custom")
    tree = root / "tree"
    shutil.copytree(installed_package(), tree / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__"))
    names = root / "names.json"
    shapes = {name: list(t.shape) for name, t in published_stack(tensors(stack())).items()}
    names.write_text(json.dumps(shapes), "utf-8")
    for name, (repository, published, edit) in PORTS.items():
        weights = names if published else None
        scaffold_custom("org/toy", FIXTURES / repository, into=tree, name=name, weights=weights)
        files = sorted((tree / "vllm_omni" / "diffusion" / "models" / name).glob("*.py"))
        old, new = edit or ("", "")
        texts = {file: re.sub(r'"(\w+)"', r"'\1'", file.read_text("utf-8")) for file in files} if edit else {}
        texts = {file: text for file, text in texts.items() if old in text}
        assert len(texts) == (edit is not None), name
        for file, text in texts.items():
            file.write_text(text.replace(old, new), "utf-8")
    found, _ = run_jobs([make_job(tree, WANTED, name) for name in PORTS])
    return {name: {r.feature: r for r in rows} for name, rows in zip(PORTS, found, strict=True)}


@pytest.mark.verify
@pytest.mark.parametrize("name", ["native", "mapped", "fused"])
def test_a_sound_port_is_imported_and_loaded(results: Results, name: str) -> None:
    assert results[name]["import"].state == "validated", results[name]["import"].reason
    loaded = results[name]["load"]
    assert loaded.state == "validated", loaded.reason
    said = "; ".join(loaded.evidence)
    assert re.search(r"the original's \d\d parameters, by its source, fill \d\d", said)
    assert ("the original's 70 parameters" in said) is (name == "fused")
    assert ("through weight_names.py" in said) is (name == "mapped")
    assert ("published checkpoint was not read" in said) is (name != "mapped")


@pytest.mark.verify
@pytest.mark.parametrize(
    ("name", "state", "reason"),
    [
        ("renamed", "unsupported", "unexpected: .'x_embedder"),
        ("wider", "unsupported", "the original's .* are loaded"),
        ("unbridged", "unsupported", "the original's .* are loaded"),
        ("lenient", "limited", "an incomplete or foreign checkpoint is refused: accepted: without"),
        ("gone", "unsupported", "the published checkpoint, through weight_names.py, are loaded"),
        ("broken", "unsupported", "missing 1 required positional argument"),
    ],
)
def test_a_broken_twin_is_found(results: Results, name: str, state: str, reason: str) -> None:
    found = results[name]["load"]
    assert found.state == state
    assert re.search(reason, found.reason), found.reason


@pytest.mark.verify
def test_what_is_not_proved_says_why_and_which_gap_is_in_the_way(results: Results) -> None:
    native, verbatim = results["native"], results["verbatim"]
    assert verbatim["import"].state == "validated" and verbatim["load"].state == "not tested"
    assert "does not show what SketchForImages is built with: config" in verbatim["load"].reason
    assert native["parity"].state == native["tp2"].state == "not tested"
    assert "never imported" in native["parity"].reason
    assert "OMNIPORT-TODO(NATIVE)" in verbatim["parity"].reason
    assert verbatim["tp2"].state == "unsupported" and not verbatim["tp2"].declared
    assert not native["sp2"].declared and not native["cfg2"].declared
    assert "OMNIPORT-TODO(DENOISE)" in native["e2e"].reason and native["e2e"].declared
    assert not any(
        r.state == "validated" for found in results.values() for f, r in found.items() if f not in WANTED[:2]
    )


def test_every_feature_has_an_answer_of_its_own(tmp_path: Path) -> None:
    """Nothing but ``import`` and ``load`` can come out validated, whatever is left to do."""
    tree = copy_tree(tmp_path / "tree")
    scaffold_custom("org/toy", FIXTURES / "studio", into=tree, name="toy")
    port = find_port(tree)
    plan = load(port.manifest_path).port_plan()
    assert {"REMAP", "ENCODE_PROMPT", "DENOISE", "DECODE"} < set(custom.left(port)) <= set(IDS)
    for todos in (custom.left(port), tuple(IDS), ()):
        for feature in FEATURES[2:]:
            found = custom._not_tested(feature, plan, todos)
            assert found.state in ("not tested", "unsupported") and found.reason


def test_the_record_holds_what_the_source_shows(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    names = tmp_path / "names.json"
    names.write_text(json.dumps({k: list(v) for k, v in stack().items()}), "utf-8")
    scaffold_custom("org/toy", FIXTURES / "fusion", into=tree, name="toy", weights=names)
    original = load(find_port(tree).manifest_path).inputs["original"]
    assert original["published"] == original["parameters"] == {k: list(v) for k, v in stack().items()}
    assert original["arguments"]["depth"] == 2 and original["dropped"] == []
