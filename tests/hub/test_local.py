"""Local folders: the same layout, read as hostile input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.hub import Repo, TensorInfo, open_model
from omniport.source.tree import SourceTree

INDEX = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}


def write(folder: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def shard(*names: str) -> bytes:
    entries = {name: {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i, name in enumerate(names)}
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + b"\0" * len(names)


@pytest.fixture
def model(tmp_path: Path, source: SourceTree):  # type: ignore[no-untyped-def]
    def build(files: dict[str, object], *, index: bool = True, require_index: bool = True) -> Repo:
        write(tmp_path, {**({"model_index.json": INDEX} if index else {}), **files})
        return open_model(str(tmp_path), source=source, require_index=require_index)

    return build


def test_open(model, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    repo = model({"transformer/config.json": {"num_layers": 2}, "scheduler/scheduler_config.json": {"shift": 3.0}})
    assert (repo.form, repo.revision, repo.model) == ("local", None, str(tmp_path))
    assert repo.config("transformer") == {"num_layers": 2}
    assert repo.config("scheduler") == {"shift": 3.0}
    assert repo.config("vae") == {} and repo.weights("transformer") is None
    assert repo.index.place("transformer") == ("model_index.json", 1)


def test_no_index(model) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        OmniportError, match="no model_index.json, so this is no diffusers pipeline; the folder is empty"
    ):
        model({}, index=False)
    with pytest.raises(OmniportError, match="needs Path B"):
        model({"config.json": {}}, index=False)
    with pytest.raises(OmniportError, match="there is one in prior/: give that folder"):
        model({"prior/model_index.json": INDEX}, index=False)
    assert not model({}, index=False, require_index=False).index.present


def test_modular_index_alone(model) -> None:  # type: ignore[no-untyped-def]
    repo = model({"modular_model_index.json": {**INDEX, "_blocks_class_name": "Blocks"}}, index=False)
    assert repo.index.modular and repo.index.place("transformer") == ("modular_model_index.json", 1)


def test_broken_config_names_file_line_and_column(model, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    repo = model({"transformer/config.json": b'{\n  "a": 1,\n  "a": 2\n}'})
    with pytest.raises(OmniportError, match="transformer/config.json:3:3: key 'a' appears twice"):
        repo.config("transformer")


def test_revision_needs_a_hub_id(tmp_path: Path, source: SourceTree) -> None:
    with pytest.raises(OmniportError, match="--revision applies to a Hub id"):
        open_model(str(write(tmp_path, {"model_index.json": INDEX})), revision="main", source=source)


def test_link_out_of_the_folder(model, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:  # type: ignore[no-untyped-def]
    outside = tmp_path_factory.mktemp("outside") / "config.json"
    outside.write_text("{}")
    repo = model({"transformer/a.json": {}})
    (tmp_path / "transformer" / "config.json").symlink_to(outside)
    with pytest.raises(OmniportError, match="a link that leads out of the model folder"):
        repo.config("transformer")


def test_snapshot_of_the_hub_cache(tmp_path: Path, source: SourceTree) -> None:
    commit = "0" * 39 + "1"
    write(tmp_path / "blobs", {"abc": INDEX})
    snapshot = tmp_path / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").symlink_to("../../blobs/abc")
    repo = open_model(str(snapshot), source=source)
    assert repo.index.pipeline_class == "FluxPipeline" and repo.revision == commit


INDEX_NAME = "t/diffusion_pytorch_model.safetensors.index.json"
FIRST, SECOND = (
    "diffusion_pytorch_model-00001-of-00002.safetensors",
    "diffusion_pytorch_model-00002-of-00002.safetensors",
)


def test_single_file(model) -> None:  # type: ignore[no-untyped-def]
    assert model({"t/model.safetensors": shard("a", "b")}).weights("t") == {
        "a": TensorInfo("U8", (1,)),
        "b": TensorInfo("U8", (1,)),
    }


def test_shards(model) -> None:  # type: ignore[no-untyped-def]
    files = {INDEX_NAME: {"weight_map": {"a": FIRST, "b": SECOND}}, f"t/{FIRST}": shard("a"), f"t/{SECOND}": shard("b")}
    assert set(model(files).weights("t")) == {"a", "b"}


def test_variants(model) -> None:  # type: ignore[no-untyped-def]
    only = {"t/diffusion_pytorch_model.fp16.safetensors": shard("h")}
    assert set(model(only).weights("t")) == {"h"}
    both = {**only, "t/diffusion_pytorch_model.safetensors": shard("f")}
    assert set(model(both).weights("t")) == {"f"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"t/model.safetensors": shard("a"), "t/diffusion_pytorch_model.safetensors": shard("a")},
            "two sets of weights",
        ),
        ({"t/model.fp16.safetensors": b"", "t/model.bf16.safetensors": b""}, "several variants: bf16, fp16"),
        ({INDEX_NAME: {"weight_map": {"a": FIRST}}}, "which is not in the folder"),
        ({INDEX_NAME: {"weight_map": {"a": "../../x.safetensors"}}}, "which is not in the folder"),
        ({INDEX_NAME: {"weight_map": {"a": 1}}}, "no weight_map"),
        ({INDEX_NAME: {}}, "no weight_map"),
        (
            {INDEX_NAME: {"weight_map": {"b": FIRST}}, f"t/{FIRST}": shard("a")},
            "does not hold 'b' \\(1 tensors missing\\)",
        ),
        (
            {
                INDEX_NAME: {"weight_map": {"a": FIRST, "b": SECOND}},
                f"t/{FIRST}": shard("a"),
                f"t/{SECOND}": shard("a", "b"),
            },
            "'a' is in two shards",
        ),
        ({"t/model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"}, "a Git-LFS pointer"),
        ({"t/model.safetensors": b"\x80\x04."}, "too short for a safetensors file"),
    ],
)
def test_weights_refused(model, files: dict[str, object], message: str) -> None:  # type: ignore[no-untyped-def]
    repo = model(files)
    with pytest.raises(OmniportError, match=message):
        repo.weights("t")


def test_pickles_are_not_read(model) -> None:  # type: ignore[no-untyped-def]
    assert model({"t/diffusion_pytorch_model.bin": b"\x80\x04."}).weights("t") is None
