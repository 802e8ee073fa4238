"""Hybrids: known components are loaded with their own classes, own ones brought along; nothing is imported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from omniport.custom.code import read_code
from omniport.custom.hybrid import denoiser, model_plan, own, stock
from omniport.custom.into import scaffold_custom
from omniport.errors import OmniportError
from omniport.scaffold import ScaffoldResult
from tests.classify.shapes import SHAPES
from tests.classify.test_shapes import written
from tests.support.ports import copy_tree

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"
HYBRIDS = sorted(
    file.stem
    for file in (FIXTURES.parent / "goldens" / "classify").glob("*.golden")
    if file.read_text("utf-8").startswith("path: hybrid")
)


def port(tmp_path: Path, model: Path) -> tuple[ScaffoldResult, dict[str, str]]:
    tree = copy_tree(tmp_path / "tree")
    result = scaffold_custom(str(model), model, into=tree, name="toy")
    folder = tree / "vllm_omni" / "diffusion" / "models" / "toy"
    script = tree / "examples" / "offline_inference" / "toy" / "download_toy.py"
    files = {path.name: path.read_text("utf-8") for path in [*folder.iterdir(), script]}
    return result, files


@pytest.mark.parametrize("repository", ["hybrid_subfolder", "hybrid_auto_map"])
def test_full_text(
    repository: str, tmp_path: Path, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / repository
    shutil.copytree(FIXTURES / repository, model)
    monkeypatch.chdir(tmp_path)
    result, files = port(tmp_path, Path(repository))
    assert result.plan.model.path == "hybrid"
    for name, text in files.items():
        golden(f"custom/{repository}/{name}.golden", text)


def test_each_component_goes_its_way(tmp_path: Path) -> None:
    result, files = port(tmp_path, FIXTURES / "hybrid_subfolder")
    pipeline = files["pipeline_toy.py"]
    assert result.plan.transformer.class_name == "SketcherTransformer"
    assert result.plan.pipeline.class_name == "SketcherPipeline"
    assert "from diffusers import AutoencoderKL\n" in pipeline
    assert "from transformers import T5EncoderModel, T5TokenizerFast\n" in pipeline
    assert "self.vae = AutoencoderKL.from_pretrained(" in pipeline
    assert '_vae_modules: ClassVar[list[str]] = ["vae"]' in pipeline
    assert '_encoder_modules: ClassVar[list[str]] = ["text_encoder"]' in pipeline
    assert "safety_checker" not in pipeline
    assert "class ShiftScheduler" in files["scheduler.py"]
    assert "OMNIPORT-TODO(COMPONENT): ShiftScheduler in scheduler.py" in pipeline
    assert "COMPONENT" in [t.subject for t in result.plan.todos]
    assert '"vae": ["diffusers", "AutoencoderKL"]' in files["download_toy.py"]
    assert '"_class_name": "SketcherPipeline"' in files["download_toy.py"]
    assert "transformer_sketcher" not in files["download_toy.py"]


def test_a_missing_module_is_an_error_of_the_index(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(FIXTURES / "hybrid_subfolder", model)
    (model / "transformer" / "transformer_sketcher.py").rename(model / "transformer" / "other.py")
    with pytest.raises(OmniportError, match=r"model_index\.json:\d+: SketcherTransformer is in the module"):
        port(tmp_path, model)


def test_another_missing_component_is_counted(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(FIXTURES / "hybrid_subfolder", model)
    (model / "scheduler" / "scheduling_shift.py").unlink()
    result, files = port(tmp_path, model)
    assert "scheduler.py" not in files
    (todo,) = [t for t in result.plan.todos if t.subject == "SUBMODEL"]
    assert "the source has no scheduling_shift.py with ShiftScheduler" in str(todo.value)


@pytest.mark.parametrize("name", HYBRIDS)
def test_the_published_shapes(name: str, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    """Which components are loaded as they are, which is ported, which are brought along; or the error."""
    folder = written(tmp_path / "MODEL", SHAPES[name])
    plan = model_plan(str(folder), revision=None, offline=True)
    lines = []
    if plan is None:
        lines.append("no index: the source's roles decide")
    else:
        lines += [f"loaded {c.name}: {c.library}.{c.class_name}" for c in stock(plan)]
        try:
            tree = read_code(folder)
            lines.append(f"ported {denoiser(plan, tree) or 'by the roles of the source'}")
            brought, left = own(plan, folder, tree, ())
            lines += [f"brought {o.component.name}: {o.component.class_name}" for o in brought]
            lines += [f"left {t.subject}: {t.value}" for t in left]
        except OmniportError as error:
            lines.append(f"error: {error}".replace(str(folder), "MODEL"))
    golden(f"custom/hybrids/{name}.golden", "\n".join(lines) + "\n")


def test_there_are_hybrids_among_the_shapes() -> None:
    assert len(HYBRIDS) >= 8
