"""The four outcomes, each with evidence, and a twin beside each that must come out otherwise."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from omniport.classify import classify
from omniport.errors import OmniportError
from omniport.hub import open_model
from omniport.plan import serial
from omniport.plan.model import ModelPlan
from omniport.source.tree import SourceTree
from tests.support.hubserver import FIXTURES


@dataclass(frozen=True)
class Row:
    folder: str
    module: str
    cls: str
    line: int


@dataclass(frozen=True)
class View:
    models: dict[str, Row] = field(default_factory=dict)
    file: str = "vllm_omni/diffusion/registry.py"


FLUX = View({"FluxPipeline": Row("flux", "pipeline_flux", "FluxPipeline", 42)})
STOCK = {"vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"]}


@pytest.fixture(scope="module")
def source() -> SourceTree:
    return SourceTree.locate()


@pytest.fixture
def plan(tmp_path: Path, source: SourceTree):  # type: ignore[no-untyped-def]
    def build(
        index: dict[str, object] | None, files: dict[str, object] | None = None, view: View | None = None
    ) -> ModelPlan:
        contents = {**({"model_index.json": index} if index else {}), **(files or {})}
        for name, content in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=1))
        repo = open_model(str(tmp_path), source=source, require_index=False)
        return classify(repo, source, view)

    return build


def reasons(plan: ModelPlan) -> str:
    return "\n".join(f"{why.file}:{why.line}: {why.reason}" for why in plan.why)


def test_already_supported(plan) -> None:  # type: ignore[no-untyped-def]
    index = {"_class_name": "FluxPipeline", **STOCK}
    found = plan(index, view=FLUX)
    assert found.path == "already supported" and "step 5" in found.follows
    assert (found.why[0].file, found.why[0].line) == (FLUX.file, 42)
    assert plan(index, view=View()).path == "path A"
    assert plan(index, view=None).path == "path A"


def test_path_a_with_the_line_of_the_class(plan, source: SourceTree) -> None:  # type: ignore[no-untyped-def]
    found = plan({"_class_name": "FluxPipeline", **STOCK})
    assert found.path == "path A" and "A1 to A5" in found.follows
    assert found.source == f"diffusers {source.version}"
    for why in [found.why[0], found.components[0].why]:
        text = (source.root.parent / why.file).read_text("utf-8").splitlines()[why.line - 1]
        assert text.startswith("class ")


@pytest.mark.parametrize(
    ("index", "files", "reason"),
    [
        (
            {"_class_name": "FluxPipeline", "transformer": ["transformer_x", "XTransformer2DModel"]},
            {"transformer/transformer_x.py": ""},
            "own code in transformer/transformer_x.py",
        ),
        (
            {"_class_name": "FluxPipeline", "transformer": ["transformer_x", "XTransformer2DModel"]},
            {},
            "the repository lacks transformer/transformer_x.py",
        ),
        ({"_class_name": ["pipeline", "StableMaterialsPipeline"]}, {}, "_class_name is a list"),
        (
            {
                "_class_name": "FluxPipeline",
                "_diffusers_version": "0.30.0.dev0",
                "transformer": ["diffusers", "EasyAnimateTransformer9DModel"],
            },
            {},
            "version gap: .* defines no EasyAnimateTransformer9DModel; the repository was saved with 0.30.0.dev0",
        ),
        (
            {"_class_name": "FluxPipeline", "transformer": ["diffusers", "AutoModel"]},
            {"transformer/config.json": {"a": 1, "auto_map": {"AutoModel": "my_model.MyModel"}}},
            "transformer/config.json:3: transformer: auto_map names the repository's own my_model.MyModel",
        ),
        ({"_class_name": "NobodysPipeline", "transformer": ["transformer_x", "X"]}, {}, "defines no NobodysPipeline"),
    ],
)
def test_hybrid_with_stock_and_path_b_without(plan, index, files, reason: str) -> None:  # type: ignore[no-untyped-def]
    import re

    found = plan({**index, **STOCK}, files)
    assert found.path == "hybrid" and re.search(reason, reasons(found))
    assert "stock components: vae, text_encoder" in reasons(found)
    assert plan(index, files).path == "path B"


def test_custom_component_beside_a_registered_pipeline_stays_in_the_evidence(plan) -> None:  # type: ignore[no-untyped-def]
    found = plan({"_class_name": "FluxPipeline", "transformer": ["transformer_x", "X"], **STOCK}, view=FLUX)
    assert found.path == "already supported" and "transformer_x" in reasons(found)


def test_pipeline_package_is_not_custom(plan) -> None:  # type: ignore[no-untyped-def]
    found = plan({"_class_name": "StableCascadeDecoderPipeline", "vqgan": ["wuerstchen", "PaellaVQModel"], **STOCK})
    assert found.path == "path A"
    assert found.components[0].library == "wuerstchen" and found.components[0].role == "vae"
    twin = plan({"_class_name": "StableCascadeDecoderPipeline", "vqgan": ["wuerstchen", "NoSuchModel"], **STOCK})
    assert twin.path == "hybrid"


def test_modular(plan) -> None:  # type: ignore[no-untyped-def]
    extra = {"pretrained_model_name_or_path": "org/elsewhere", "type_hint": ["diffusers", "AutoencoderKL"]}
    found = plan({"_class_name": "XModularPipeline", "_blocks_class_name": "B", "vae": [None, None, extra]})
    assert found.path == "hybrid" and "modular" in reasons(found)
    assert "its files are in org/elsewhere" in found.components[0].why.reason


def test_no_index(plan) -> None:  # type: ignore[no-untyped-def]
    found = plan(None, {"config.json": {}})
    assert found.path == "path B" and "no model_index.json" in reasons(found)
    twin = plan(None, {"vae/config.json": {"_class_name": "AutoencoderKL"}, "dit/config.json": {"_class_name": "Own"}})
    assert twin.path == "hybrid" and [item.name for item in twin.components] == ["vae"]


def test_unknown_pipeline_class(plan) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        OmniportError, match="model_index.json:2: unknown pipeline class FluxPipelin: .*did you mean FluxPipeline"
    ):
        plan({"_class_name": "FluxPipelin", **STOCK})
    view = View({"FluxPipelin": Row("flux", "pipeline_flux", "FluxPipeline", 1)})
    assert plan({"_class_name": "FluxPipelin", **STOCK}, view=view).path == "already supported"


def test_auto_map_must_name_a_module_and_a_class(plan) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OmniportError, match="transformer/config.json:2: auto_map '../evil.X' is no module and class"):
        plan(
            {"_class_name": "FluxPipeline", "transformer": ["diffusers", "AutoModel"]},
            {"transformer/config.json": {"auto_map": {"AutoModel": "../evil.X"}}},
        )


def test_roles_of_flux(source: SourceTree) -> None:
    repo = open_model("diffusers:FluxPipeline", source=source)
    found = classify(repo, source, None)
    assert {item.name: item.role for item in found.components} == {
        "scheduler": "scheduler",
        "vae": "vae",
        "text_encoder": "encoder",
        "tokenizer": "tokenizer",
        "text_encoder_2": "encoder",
        "tokenizer_2": "tokenizer",
        "transformer": "dit",
        "image_encoder": "absent",
        "feature_extractor": "absent",
    }
    assert found.path == "path A"
    assert serial.loads(ModelPlan, serial.dumps(found)) == found


def test_retired_class_is_followed_by_the_table_of_diffusers(source: SourceTree) -> None:
    repo = open_model(str(FIXTURES / "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS"), source=source)
    found = {item.name: item for item in classify(repo, source, None).components}
    assert found["transformer"].class_name == "PixArtTransformer2DModel"
    assert "Transformer2DModel with norm_type ada_norm_single" in found["transformer"].why.reason


@pytest.mark.parametrize("name", sorted(path.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("*/*")))
def test_fixtures_are_path_a(name: str, source: SourceTree) -> None:
    found = classify(open_model(str(FIXTURES / name), source=source), source, None)
    assert found.path == "path A"
    roles = [item.role for item in found.components]
    assert "dit" in roles and "vae" in roles and "scheduler" in roles and "other" not in roles


def test_the_real_registry(source: SourceTree) -> None:
    registry = pytest.importorskip("omniport.target.registry")
    spec = importlib.util.find_spec("vllm_omni")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vllm_omni is not installed")
    package = Path(spec.submodule_search_locations[0])
    view = registry.read_registry(package.parent)
    found = classify(open_model("diffusers:FluxPipeline", source=source), source, view)
    assert found.path == "already supported"
    line = (package.parent / found.why[0].file).read_text("utf-8").splitlines()[found.why[0].line - 1]
    assert "FluxPipeline" in line
    assert classify(open_model("diffusers:SanaPipeline", source=source), source, view).path == (
        "already supported" if "SanaPipeline" in view.models else "path A"
    )
