"""A manifest goes to disk and back unchanged, and nothing else is taken for one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from omniport.emit import port_entry
from omniport.errors import OmniportError
from omniport.plan.serial import to_data
from omniport.target import manifest
from omniport.target.manifest import FileEntry, Manifest
from tests.support.ports import port_plan


def made(name: str = "toy") -> Manifest:
    plan = port_plan(name)
    files = [FileEntry("vllm_omni/b.py", "b" * 64, "create"), FileEntry("vllm_omni/a.py", "a" * 64, "edit")]
    return manifest.build(
        plan,
        port_entry(plan, plugin=False),
        files,
        inputs={"model": "toy/toy-dev", "options": {"name": None}},
        model_index={"_class_name": "ToyPipeline"},
        configs={"transformer": {"dim": 8}},
    )


def saved(root: Path, value: Manifest) -> Path:
    path = root / value.path
    path.parent.mkdir(exist_ok=True)
    path.write_text(manifest.dumps(value), encoding="utf-8")
    return path


def test_a_scheduler_without_a_lower_bound_comes_back(tmp_path: Path):
    """DPMSolverMultistepScheduler is published with ``lambda_min_clipped`` -Infinity: PixArt-Sigma has one."""
    value = replace(made(), configs={"scheduler": {"lambda_min_clipped": float("-inf")}})
    assert manifest.load(saved(tmp_path, value)) == value


def test_there_and_back(tmp_path: Path):
    value = made()
    path = saved(tmp_path, value)
    read = manifest.load(path)
    assert read == value
    assert manifest.dumps(read) == path.read_text("utf-8")
    assert read.port_plan() == port_plan()
    assert [f.path for f in read.files] == ["vllm_omni/a.py", "vllm_omni/b.py"]
    assert read.todos == (to_data(port_plan().todos[0]),)


def test_keys_are_those_of_the_format():
    data = json.loads(manifest.dumps(made()))
    assert list(data)[:3] == ["schema", "omniport", "name"]
    assert set(data) == {
        "schema",
        "omniport",
        "name",
        "inputs",
        "port",
        "model_index",
        "configs",
        "files",
        "plan",
        "todos",
    }
    assert data["port"]["pipeline_module"] == "vllm_omni.diffusion.models.toy.pipeline_toy"


def test_find_takes_manifests_only(tmp_path: Path):
    saved(tmp_path, made("toy"))
    saved(tmp_path, made("other"))
    (tmp_path / ".omniport" / "toy.evidence.json").write_text("{}")
    (tmp_path / ".omniport" / "journal.json").write_text("{}")
    assert sorted(manifest.find(tmp_path)) == ["other", "toy"]
    assert manifest.owned(tmp_path) == {"vllm_omni/b.py": "b" * 64}
    assert manifest.find(tmp_path / "nowhere") == {}


def change(key: str, value: object, **port: object) -> str:
    data = json.loads(manifest.dumps(made()))
    data["port"] |= port
    if value is ...:
        del data[key]
    elif key:
        data[key] = value
    return json.dumps(data)


BROKEN = {
    "empty": "",
    "no object": "[]",
    "no JSON": "{",
    "twice": '{"schema": 1, "schema": 1}',
    "deep": "[" * 100_000,
    "schema": change("schema", 2),
    "name": change("name", "other"),
    "no name": change("name", 1),
    "missing": change("inputs", ...),
    "unknown": change("more", 1),
    "inputs": change("inputs", []),
    "todos": change("todos", {}),
    "files": change("files", {}),
    "sum": change("files", [{"path": "a", "sha256": "x", "verb": "create"}]),
    "verb": change("files", [{"path": "a", "sha256": "a" * 64, "verb": "delete"}]),
    "parent": change("files", [{"path": "../a", "sha256": "a" * 64, "verb": "create"}]),
    "absolute": change("files", [{"path": "/a", "sha256": "a" * 64, "verb": "create"}]),
    "module": change("", None, pipeline_module="os; import x"),
    "class": change("", None, pipeline_class="a.b"),
    "hook": change("", None, post_process=1),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_broken_ones_are_refused_by_name(tmp_path: Path, text: str):
    (tmp_path / ".omniport").mkdir()
    path = tmp_path / ".omniport" / "toy.json"
    path.write_text(text)
    with pytest.raises(OmniportError, match=r"toy\.json(: no valid manifest|:\d+:\d+: |: nested)"):
        manifest.load(path)
    assert manifest.problem(path)
    with pytest.raises(OmniportError):
        manifest.find(tmp_path)


def test_a_missing_one_is_refused(tmp_path: Path):
    with pytest.raises(OmniportError, match="cannot be read"):
        manifest.load(tmp_path / "toy.json")


def test_names_of_a_port_are_checked():
    entry = port_entry(port_plan(), plugin=False)
    manifest.check_port(entry)
    with pytest.raises(OmniportError, match="architecture"):
        manifest.check_port(replace(entry, architecture='x"\n'))
