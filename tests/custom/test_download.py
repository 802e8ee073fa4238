"""The download script of a port, run against a Hub on loopback: pinned, converted, indexed; hostile pickles refused."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omniport.custom import download
from omniport.custom.download import Source
from omniport.custom.into import scaffold_custom
from tests.support.hubserver import HubServer, environment, serve
from tests.support.ports import copy_tree

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


def publish(root: Path, *, hostile: bool = False) -> None:
    """``org/toy``: a denoiser and an autoencoder as pickles, and a configuration."""
    torch = pytest.importorskip("torch")
    folder = root / "org" / "toy"
    folder.mkdir(parents=True)
    (folder / "notes.md").write_text("not asked for", "utf-8")
    (folder / "readme.json").write_text("{}", "utf-8")
    shared = torch.ones(2, 2)
    torch.save({"epoch": 3, "state_dict": {"a.weight": shared, "b.weight": shared}}, folder / "duet.pth")
    if hostile:
        (folder / "duet.pth").write_bytes(pickle.dumps(Hostile()))


def script(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, source: Path = FIXTURES / "fusion") -> Path:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for key, value in environment(hub.endpoint, tmp_path / "home").items():
        monkeypatch.setenv(key, value)
    tree = copy_tree(tmp_path / "tree")
    scaffold_custom("org/toy", source, into=tree, name="toy")
    return tree / "examples" / "offline_inference" / "toy" / "download_toy.py"


def run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=path.parent)


@pytest.mark.verify
def test_a_run_and_a_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    publish(tmp_path / "hub")
    with serve(tmp_path / "hub") as hub:
        path = script(tmp_path, hub, monkeypatch)
        assert hub.repo("org/toy").sha in path.read_text("utf-8")  # type: ignore[union-attr]
        output = tmp_path / "out"
        shown = run(path, str(output), "--dry-run")
        assert "org/toy@" in shown.stdout and "duet.pth" in shown.stdout and not output.exists()
        done = run(path, str(output))
        assert done.returncode == 0, done.stderr
        names = {p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file() and ".cache" not in p.parts}
        assert names == {
            "duet.pth", "duet.safetensors", "readme.json", "model_index.json", "transformer/config.json"
        }  # fmt: skip
        assert set(load_file(output / "duet.safetensors")) == {"a.weight", "b.weight"}
        index = json.loads((output / "model_index.json").read_text("utf-8"))
        assert index["_class_name"] == "ToyPipeline"
        config = json.loads((output / "transformer" / "config.json").read_text("utf-8"))
        sizes = {"width": 64, "heads": 4, "depth": 2}
        assert config == {"_class_name": "DuetModel", "video_config": sizes, "audio_config": sizes}
        before = {p: p.stat().st_mtime_ns for p in output.rglob("*.safetensors")}
        (output / "transformer" / "config.json").write_text('{"depth": 9}', "utf-8")
        assert run(path, str(output)).returncode == 0
        assert {p: p.stat().st_mtime_ns for p in output.rglob("*.safetensors")} == before
        assert json.loads((output / "transformer" / "config.json").read_text("utf-8")) == {"depth": 9}


@pytest.mark.verify
def test_a_hostile_pickle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "hub", hostile=True)
    with serve(tmp_path / "hub") as hub:
        path = script(tmp_path, hub, monkeypatch)
        done = run(path, str(tmp_path / "out"))
    assert done.returncode != 0
    assert "weights_only" in done.stderr.lower() or "unpickl" in done.stderr.lower()
    assert not list(tmp_path.rglob("pwned"))
    assert not (tmp_path / "out" / "duet.safetensors").exists()


@pytest.mark.verify
@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"ema": {"a": 1.0}, "module": {"a": 1.0}}, "holds 2 tables of tensors"),
        ({"epoch": 1}, "holds 0 tables of tensors"),
        ({"tensor": 0, "text": "x"}, "is no table of tensors"),
    ],
)
def test_what_is_no_one_table_of_tensors(
    state: dict[str, Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    publish(tmp_path / "hub")
    given = {k: torch.zeros(1) if k == "tensor" else v for k, v in state.items()}
    torch.save(given, tmp_path / "hub" / "org" / "toy" / "duet.pth")
    with serve(tmp_path / "hub") as hub:
        done = run(script(tmp_path, hub, monkeypatch), str(tmp_path / "out"))
    assert done.returncode == 1
    assert reason in done.stderr
    assert not (tmp_path / "out" / "model_index.json").exists()


def test_sources_of_the_code_are_pinned_or_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.py").write_text((FIXTURES / "external" / "model.py").read_text("utf-8"), "utf-8")
    (source / "download_weights.py").write_text(
        "from huggingface_hub import hf_hub_download, snapshot_download\n"
        "snapshot_download('org/toy', allow_patterns=['x.pth'])\n"
        "snapshot_download(repo_id='org/other', allow_patterns=['a.pth', 'b/*'], local_dir='x')\n"
        "hf_hub_download('org/gone', 'c.pt', revision='v1')\n"
        "hf_hub_download('org/gone', 'd.pt')\n"
        "snapshot_download(NAME)\nsnapshot_download('../x')\n",
        "utf-8",
    )
    for name in ("toy", "other"):
        (tmp_path / "hub" / "org" / name).mkdir(parents=True)
        (tmp_path / "hub" / "org" / name / "config.json").write_text(json.dumps({"of": name}), "utf-8")
    with serve(tmp_path / "hub") as hub:
        path = script(tmp_path, hub, monkeypatch, source)
        commits = [hub.repo(f"org/{name}").sha for name in ("toy", "other")]  # type: ignore[union-attr]
    text = path.read_text("utf-8")
    assert [text.count(commit) for commit in commits] == [1, 1]
    assert '["a.pth", "b/*"], "other"),  # download_weights.py:3' in text
    assert '("org/gone", "v1", ["c.pt", "d.pt"], "gone"),  # download_weights.py:4' in text
    assert "OMNIPORT-TODO(REVISION)" in text and "org/gone" in text
    assert "../x" not in text


@pytest.mark.parametrize(
    ("files", "pickles"),
    [(("*.json", "*.safetensors"), False), (("*.json", "ae.pth"), True), (("*",), True), (None, True)],
)
def test_pickles_are_converted_where_some_may_come(files: tuple[str, ...] | None, pickles: bool) -> None:
    sources = (Source("org/toy", "main", files, "", "the model"),) if files else ()
    text = download.script("ToyPipeline", "x.py", "Toy", sources, "org/toy", {}, {})
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert ({"convert", "PICKLES"} <= names, "convert" in text) == (pickles, pickles)
