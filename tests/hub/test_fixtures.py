"""The fixture repositories: complete, marked, and true to the installed diffusers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omniport.hub import open_model
from omniport.hub.synthetic import constructor
from omniport.source.tree import SourceTree
from tests.support.hubserver import BYTES, FIXTURES, expand, load_repo

REPOS = sorted(path.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("*/*"))
WELL_KNOWN = {
    "black-forest-labs/FLUX.1-dev",
    "black-forest-labs/FLUX.1-schnell",
    "stabilityai/stable-diffusion-3.5-large",
    "Qwen/Qwen-Image",
    "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
    "Wan-AI/Wan2.2-I2V-A14B-Diffusers",
    "THUDM/CogVideoX-5b",
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    "hunyuanvideo-community/HunyuanVideo",
    "Lightricks/LTX-Video",
    "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
}
# A key of the published file that no constructor of diffusers 0.40 has; diffusers warns and ignores it.
IGNORED = {("Qwen/Qwen-Image", "transformer"): {"pooled_projection_dim"}}


def test_well_known_repositories_are_there() -> None:
    assert set(REPOS) >= WELL_KNOWN


@pytest.mark.parametrize("name", REPOS)
def test_every_file_is_marked(name: str) -> None:
    folder = FIXTURES / name
    marks = json.loads((folder / "SOURCE.json").read_text("utf-8"))
    assert marks["repository"] == name
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"SOURCE.json"}
    assert set(marks["files"]) == files
    for entry in marks["files"].values():
        assert entry["status"] in ("verbatim", "reconstructed") and len(entry["from"]) > 10
        if entry["status"] == "verbatim":
            assert " at " in entry["from"]  # a public copy, at a commit


@pytest.mark.parametrize("name", REPOS)
def test_opens_and_every_class_exists(name: str, source: SourceTree) -> None:
    repo = open_model(str(FIXTURES / name), source=source)
    assert source.resolve("diffusers", repo.index.pipeline_class) is not None
    for component, entry in repo.index.components.items():
        if entry is not None and entry.library == "diffusers":
            assert source.resolve("diffusers", entry.class_name) is not None
            assert repo.config(component)["_class_name"] == entry.class_name


@pytest.mark.parametrize("name", REPOS)
def test_configs_fit_the_constructors(name: str, source: SourceTree) -> None:
    """No key that the class of diffusers does not take (a key with an underscore apart)."""
    repo = open_model(str(FIXTURES / name), source=source)
    checked = 0
    for component, entry in repo.index.components.items():
        if entry is None or entry.library != "diffusers":
            continue
        found = source.resolve("diffusers", entry.class_name)
        assert found is not None
        known = {parameter.name for parameter in constructor(source, *found)[1]}
        keys = {key for key in repo.config(component) if not key.startswith("_")}
        assert keys - known == IGNORED.get((name, component), set()), component
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize("name", REPOS)
def test_headers_are_small_and_cover_the_denoisers(name: str) -> None:
    path = FIXTURES / name / "headers.json"
    assert path.stat().st_size < 150_000
    headers = json.loads(path.read_text("utf-8"))
    assert set(headers) == {part.parent.name for part in (FIXTURES / name).glob("transformer*/config.json")}
    for entry in headers.values():
        tensors = expand(entry["tensors"])
        assert len(tensors) == len({tensor for tensor, _ in tensors}) == sum(entry["shards"])
        assert entry["dtype"] in BYTES


def test_flux_has_its_published_size() -> None:
    """FLUX.1-dev's own index gives a total of 23802816640 bytes, schnell's 23782357120."""
    for name, total in (("FLUX.1-dev", 23802816640), ("FLUX.1-schnell", 23782357120)):
        repo = load_repo(FIXTURES / "black-forest-labs" / name)
        index = json.loads(repo.files["transformer/diffusion_pytorch_model.safetensors.index.json"].head)
        assert index["metadata"]["total_size"] == total
        assert len(set(index["weight_map"].values())) == 3


def test_commit_is_deterministic_and_follows_content(tmp_path: Path) -> None:
    folder = FIXTURES / "Lightricks" / "LTX-Video"
    assert load_repo(folder).sha == load_repo(folder).sha
    for path in folder.rglob("*.json"):
        target = tmp_path / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert load_repo(tmp_path).sha == load_repo(folder).sha
    (tmp_path / "model_index.json").write_text("{}")
    assert load_repo(tmp_path).sha != load_repo(folder).sha


def test_no_source_code_among_the_fixtures() -> None:
    assert {path.suffix for path in FIXTURES.rglob("*") if path.is_file()} == {".json"}


@pytest.mark.verify
@pytest.mark.parametrize("name", ["black-forest-labs/FLUX.1-dev", "Efficient-Large-Model/Sana_1600M_1024px_diffusers"])
def test_headers_are_what_diffusers_builds(name: str) -> None:
    from fixtures.make_headers import headers

    folder = FIXTURES / name
    assert headers(folder / "transformer") == json.loads((folder / "headers.json").read_text("utf-8"))["transformer"]


def test_compact_and_expand_are_inverse() -> None:
    from fixtures.make_headers import compact

    shapes = [("a.weight", [2]), *((f"blocks.{i}.{name}", [3, i % 2]) for i in range(4) for name in ("x", "y.0"))]
    shapes += [("blocks.4.x", [1]), ("other.0.x", [1]), ("other.2.x", [1]), ("z", [])]
    assert expand(compact(shapes)) == shapes
    even = [(f"blocks.{i}.x", [3]) for i in range(50)]
    assert len(compact(even)) == 1 and expand(compact(even)) == even
